//! What the attributes expand to can be written by hand, and gives no more.
use portcullis::__private::{Asked, Entered, Passed};
use portcullis::Permit;
use portcullis::permit::BeforeSideEffect;

fn charge(_: &Permit<'_, BeforeSideEffect>) {}

fn a_witness_of_mine() {
    charge(&BeforeSideEffect::grant(&Passed(())));
}

fn a_witness_of_theirs() {
    charge(&BeforeSideEffect::grant(&Passed::every_boundary()));
}

fn what_a_body_is_handed(permit: Permit<'_, BeforeSideEffect>) -> Entered<'_, BeforeSideEffect> {
    Entered { permit: permit.clone() }
}

fn main() {}
