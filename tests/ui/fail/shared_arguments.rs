//! Arguments of the function, which stand once on any of its attributes.
use portcullis::{Refused, boundary, budgeted, once};

#[boundary(before_cost, action = "orders.refund")]
#[once(key = "order", action = "orders.refund")]
fn twice(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[budgeted(max_steps = 5, action = "")]
fn empty() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 5, crate = portcullis)]
fn relative() -> Result<(), Refused> {
    Ok(())
}

#[budgeted(max_steps = 5, refused = |refused| Err(refused))]
fn closure() -> Result<(), Refused> {
    Ok(())
}

fn main() {}
