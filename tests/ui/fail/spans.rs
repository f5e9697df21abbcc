//! Mistakes in the body are reported in the body.
use portcullis::{Refused, boundary};

#[boundary(before_cost)]
fn missing_value() -> u64 {
    1;
}

#[boundary(before_cost)]
async fn missing_value_async() -> u64 {
    1;
}

#[boundary(before_cost)]
fn wrong_value() -> Result<u64, Refused> {
    "one"
}

#[boundary(before_cost)]
async fn wrong_early_exit(n: u64) -> Result<u64, Refused> {
    if n == 0 {
        return 0;
    }
    Ok(n)
}

#[boundary(before_cost)]
fn unknown_name() -> u64 {
    call
}

fn main() {}
