//! A key must come from the call, and the call must get as far as being guarded.
use portcullis::{Refused, once};

#[once(key = "refunds")]
fn names_no_parameter(order: u64, cents: u64) -> Result<u64, Refused> {
    Ok(order + cents)
}

#[once(key = "refund of today")]
fn text(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = 7)]
fn number(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = "refund:{{order}}")]
fn escaped_braces(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = "{order}{cents}")]
fn run_together(order: u64, cents: u64) -> Result<u64, Refused> {
    Ok(order + cents)
}

#[once(key = "100%:{order}")]
fn percent(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = "refund:{order")]
fn open(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = "refund:{order:?}")]
fn formatted(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = "refund:{ordr}")]
fn unknown(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = "order.")]
fn half_typed(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = { return Ok(7) })]
fn returns(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = order.checked_add(1).ok_or(Missing)?)]
fn propagates(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

#[once(key = find(order).await)]
async fn awaits(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

fn main() {}
