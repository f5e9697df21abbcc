//! Where a refusal can be returned, the return type must be able to carry one. The message stands at the type.
use portcullis::{boundary, budgeted, once};

pub enum Declined {}

#[budgeted(max_steps = 5)]
pub fn spend() -> Result<u64, Declined> {
    Ok(1)
}

#[once(key = "order")]
pub async fn refund(order: u64) -> Result<u64, Declined> {
    Ok(order)
}

#[boundary(before_cost, on_deny = "return")]
pub async fn ask() {}

fn main() {}
