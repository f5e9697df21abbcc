//! A permit is of one boundary, of this call, and one of it.
use portcullis::permit::{BeforeCost, BeforeSideEffect, Kind};
use portcullis::{Locked, Permit, boundary};

fn charge(_: &Permit<'_, BeforeSideEffect>) {}

#[boundary(before_cost, permit = allowed)]
fn of_another_boundary() {
    charge(&allowed);
}

#[boundary(before_cost, permit = allowed)]
fn to_a_lock_of_another_boundary(mailer: &Locked<String, BeforeSideEffect>) {
    mailer.unlock(&allowed);
}

#[boundary(before_cost)]
#[boundary(before_side_effect)]
fn not_bound() {
    charge(&allowed);
}

#[boundary(before_side_effect, permit = allowed)]
fn cloned() {
    charge(&allowed.clone());
}

#[boundary(before_side_effect, permit = allowed)]
fn shadowed() {
    let allowed = "a yes of mine";
    charge(&allowed);
}

#[boundary(before_side_effect, permit = allowed)]
fn in_a_function_of_its_own() {
    fn inner() {
        charge(&allowed);
    }
    inner();
}

fn of_any_boundary<K: Kind>(permit: &Permit<'_, K>) {
    charge(permit);
}

fn read_as_another(permit: Permit<'_, BeforeCost>) -> Permit<'_, BeforeSideEffect> {
    permit as Permit<'_, BeforeSideEffect>
}

fn main() {}
