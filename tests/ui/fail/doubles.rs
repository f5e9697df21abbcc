//! One layer, and one attribute of each kind in it.
use portcullis::{Refused, boundary, budgeted, budgeted as limited, once};

#[budgeted(max_steps = 5)]
#[boundary(before_cost)]
#[budgeted(max_depth = 5)]
fn twice() -> Result<(), Refused> {
    Ok(())
}

#[once(key = "order")]
#[portcullis::once(key = "order")]
fn twice_by_path(order: u64) -> Result<u64, Refused> {
    Ok(order)
}

// The boundary can't know that `limited` is one of its siblings.
#[boundary(before_cost)]
#[limited(max_steps = 5)]
fn renamed() -> Result<(), Refused> {
    Ok(())
}

// This looks like another crate's.
#[budgeted(max_steps = 5)]
#[once(time = 10, sync_writes = true)]
fn cached() -> Result<(), Refused> {
    Ok(())
}

fn main() {}
