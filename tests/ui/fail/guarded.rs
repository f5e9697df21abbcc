//! In a guarded item, every function is guarded or says why not.
use portcullis::{boundary, guarded, unguarded};

#[guarded]
mod mail {
    use super::*;

    #[boundary(before_side_effect)]
    pub fn send() {}

    pub fn send_all() {}

    #[unguarded(reason = "pure")]
    pub fn subject() {}

    pub mod inner {
        pub struct Queue;

        impl Queue {
            pub async fn flush(&self) {}
        }
    }
}

struct Shop;

#[guarded]
impl Shop {
    fn refund(&self) {}
}

#[guarded]
trait Sells {
    fn price(&self) -> u64;
    fn sell(&self) {}
}

#[guarded]
mod switched {
    use super::*;

    #[cfg_attr(not(windows), boundary(before_cost))]
    pub fn may_be_off() {}

    #[portcullis::once(key = "id", action = "switched.on")]
    pub fn on(id: u64) -> Result<u64, portcullis::Refused> {
        Ok(id)
    }
}

fn main() {}
