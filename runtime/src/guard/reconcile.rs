//! Calls without a reconcile function.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::ledger::{Doubt, Reconciled};

/// For a sync function without one. A ledger that is told of no such function gives nobody a doubt to ask about.
pub(super) fn never_asked<T>(_: &Doubt) -> Reconciled<T> {
    Reconciled::Unknown
}

/// The same for an async function. It takes no room.
#[derive(Debug)]
pub(super) struct NeverAsked<T>(PhantomData<fn() -> T>);

impl<T> NeverAsked<T> {
    pub(super) const fn new() -> Self {
        NeverAsked(PhantomData)
    }
}

impl<T> Future for NeverAsked<T> {
    type Output = Reconciled<T>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Reconciled<T>> {
        Poll::Ready(Reconciled::Unknown)
    }
}
