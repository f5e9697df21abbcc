//! Neither a lock nor a permit comes apart.
use portcullis::permit::BeforeSideEffect;
use portcullis::{Locked, Permit};

struct Mailer;

fn taken_apart(lock: Locked<Mailer, BeforeSideEffect>) -> Mailer {
    let Locked { inner, .. } = lock;
    inner
}

fn put_together(permit: Permit<'_, BeforeSideEffect>) -> Permit<'_, BeforeSideEffect> {
    let Permit { 0: inside } = permit;
    Permit { 0: inside }
}

fn main() {}
