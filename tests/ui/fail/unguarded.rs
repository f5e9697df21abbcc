//! A reason says something, and a function is guarded or unguarded.
use portcullis::{boundary, unguarded};

#[unguarded]
fn without_a_reason() {}

#[unguarded(reason = "…")]
fn without_a_word() {}

#[unguarded(reson = "pure", effect)]
fn misspelt() {}

#[unguarded(reason = "pure")]
#[boundary(before_cost)]
fn both() {}

#[boundary(before_cost)]
#[unguarded(reason = "pure")]
fn both_the_other_way() {}

trait Sells {
    #[unguarded(reason = "pure")]
    fn price(&self) -> u64;
}

struct Shop;

#[unguarded(reason = "pure")]
impl Shop {}

fn main() {}
