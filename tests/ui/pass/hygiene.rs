//! Names in scope that ours could be confused with.
#![deny(warnings)]
#![no_implicit_prelude]

mod core {}
mod std {}
#[allow(dead_code)]
mod portcullis {}

#[allow(dead_code)]
enum Outcome {
    Ok,
    Err,
    Some,
    None,
}
#[allow(unused_imports)]
use self::Outcome::{Err, None, Ok, Some};

type Refusable = ::core::result::Result<u64, ::portcullis::Refused>;

#[::portcullis::once(key = "call")]
#[::portcullis::boundary(before_cost, permit = run)]
fn names(call: u64, key: u64, payload: u64, body: u64, edge: u64, refused: u64, __ret: u64) -> Refusable {
    let _ = run;
    Refusable::Ok(call + key + payload + body + edge + refused + __ret)
}

#[::portcullis::once(key = "call")]
#[::portcullis::budgeted(max_steps = 5)]
async fn names_async(call: u64, key: u64, payload: u64, body: u64, edge: u64, refused: u64, __ret: u64) -> Refusable {
    if call == 0 {
        return Refusable::Ok(0);
    }
    Refusable::Ok(call + key + payload + body + edge + refused + __ret)
}

#[::portcullis::once(key = "type")]
fn r#match(r#type: u64) -> Refusable {
    Refusable::Ok(r#type)
}

macro_rules! functions {
    ($name:ident, $arg:ident, $ty:ty, $body:block, $later:ty, $work:block) => {
        #[::portcullis::once(key = $arg)]
        #[::portcullis::boundary(before_cost)]
        fn $name($arg: u64) -> $ty $body

        mod later {
            #[::portcullis::boundary(before_cost)]
            pub(super) fn $name() -> $later $work
        }
    };
}
functions!(
    from_macro,
    id,
    Refusable,
    { Refusable::Ok(id) },
    ::std::pin::Pin<::std::boxed::Box<dyn ::std::future::Future<Output = u64>>>,
    { ::std::boxed::Box::pin(async { 1 }) }
);

fn main() {
    if false {
        let _ = (
            names(1, 2, 3, 4, 5, 6, 7),
            names_async(1, 2, 3, 4, 5, 6, 7),
            r#match(1),
            from_macro(1),
            later::from_macro(),
        );
    }
}
