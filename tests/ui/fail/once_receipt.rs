//! A retry gets the original result, so it has to be stored.
use portcullis::{Refused, once};

pub struct Receipt;

#[once(key = "order")]
pub fn not_serialize(order: u64) -> Result<Receipt, Refused> {
    let _ = order;
    Ok(Receipt)
}

#[once(key = "order")]
pub async fn not_serialize_async(order: u64) -> Result<Receipt, Refused> {
    let _ = order;
    Ok(Receipt)
}

#[once(key = "order")]
pub fn not_nameable(order: u64) -> Result<impl Iterator<Item = u64>, Refused> {
    Ok(std::iter::once(order))
}

#[once(key = "order")]
pub fn never(order: u64) -> ! {
    panic!("{order}")
}

fn main() {}
