//! There is one permit of a call: given away, it is gone.
use portcullis::permit::BeforeSideEffect;
use portcullis::{Permit, boundary};

fn given(_: Permit<'_, BeforeSideEffect>) {}

#[boundary(before_side_effect, permit = allowed)]
fn given_twice() {
    given(allowed);
    given(allowed);
}

fn out_of_a_borrow(permit: &Permit<'_, BeforeSideEffect>) {
    given(*permit);
}

fn main() {}
