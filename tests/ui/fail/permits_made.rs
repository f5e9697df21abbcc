//! Only the checked path makes a permit.
use std::marker::PhantomData;

use portcullis::permit::{BeforeSideEffect, Kind};
use portcullis::{Boundary, Permit};

fn charge(_: &Permit<'_, BeforeSideEffect>) {}

fn written_down() {
    charge(&Permit(PhantomData));
}

fn asked_for_without_a_boundary() {
    charge(&Permit::granted());
}

fn by_default() {
    charge(&Default::default());
}

fn out_of_another_type() {
    charge(&().into());
}

struct OfMine;

impl Kind for OfMine {
    const BOUNDARY: Boundary = Boundary::BeforeSideEffect;
}

fn main() {}
