//! A permit is made behind the boundary, for this call, and stays there.
use portcullis::permit::{BeforeCost, BeforeSideEffect};
use portcullis::{Permit, Refused, boundary};

fn charge(_: &Permit<'_, BeforeSideEffect>) {}

#[boundary(before_cost, permit = allowed)]
fn another_boundary() {
    charge(&allowed);
}

#[boundary(before_side_effect)]
fn not_bound() {
    charge(&allowed);
}

#[boundary(before_cost, permit = allowed)]
fn handed_out() -> Option<Permit<'static, BeforeCost>> {
    Some(allowed)
}

#[boundary(before_cost, permit = allowed)]
fn kept_for_later() -> Result<(), Refused> {
    std::thread::spawn(move || drop(allowed));
    Ok(())
}

#[boundary(before_cost, permit = allowed)]
fn cloned() {
    let _ = allowed.clone();
}

fn main() {}
