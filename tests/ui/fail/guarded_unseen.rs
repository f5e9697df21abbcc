//! What can't be seen into is refused, and so is what has no functions.
use portcullis::guarded;

macro_rules! methods {
    ($name:ident) => {
        fn $name(&self) {}
    };
}

struct Shop;

#[guarded]
impl Shop {
    methods!(refund);
}

#[guarded]
mod cells {
    thread_local! {
        static CELL: u8 = const { 1 };
    }

    pub struct Hidden;

    const _: () = {
        impl Hidden {
            fn effect() {}
        }
    };
}

#[guarded]
#[path = "../lib.rs"]
mod another_file;

#[guarded]
fn function() {}

#[guarded]
struct Data;

#[guarded(crat = ::portcullis)]
mod misspelt {}

fn main() {}
