//! `on_err = "record"` stores the error too.
use portcullis::{Refused, once};

pub struct Declined;

impl From<Refused> for Declined {
    fn from(_: Refused) -> Self {
        Declined
    }
}

#[once(key = "order", on_err = "record")]
pub fn pay(order: u64) -> Result<u64, Declined> {
    Ok(order)
}

#[once(key = "order", on_err = judge)]
pub fn judged(order: u64) -> Result<u64, Declined> {
    Ok(order)
}

fn judge(_: &String) -> portcullis::OnErr {
    portcullis::OnErr::Hold
}

fn main() {}
