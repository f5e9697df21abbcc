//! The attributes hide no lint of the user's.
#![deny(dead_code, unused_variables, unused_mut, unreachable_code, unused_must_use)]

use portcullis::{Refused, boundary};

#[boundary(before_cost)]
fn never_called() {}

#[boundary(before_cost)]
pub async fn careless(unused: u64) -> Result<(), Refused> {
    let mut never_changed = 1;
    Ok::<u64, Refused>(never_changed);
    return Ok(());
    drop(never_changed);
}

#[must_use]
#[boundary(before_cost)]
pub fn important() -> u64 {
    1
}

fn main() {
    important();
}
