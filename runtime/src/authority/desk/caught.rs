//! A provider is foreign code: its panics end here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A provider's future whose panics become `None`, whether in making, polling or dropping it.
pub(super) struct Caught<'a, T>(Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>);

impl<'a, T> Caught<'a, T> {
    pub(super) fn new(make: impl FnOnce() -> Pin<Box<dyn Future<Output = T> + Send + 'a>>) -> Self {
        Caught(quietly(make))
    }
}

/// The panic's payload is foreign too, and dropping it may panic again.
fn quietly<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(std::mem::forget).ok()
}

impl<T> Future for Caught<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(future) = self.0.as_mut() else { return Poll::Ready(None) };
        match quietly(|| future.as_mut().poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(value)) => {
                let done = self.0.take();
                // An answer of a future that panics while it is dropped is not one.
                Poll::Ready(quietly(|| drop(done)).map(|()| value))
            }
            None => {
                let broken = self.0.take();
                quietly(|| drop(broken));
                Poll::Ready(None)
            }
        }
    }
}

impl<T> Drop for Caught<'_, T> {
    fn drop(&mut self) {
        let rest = self.0.take();
        quietly(|| drop(rest));
    }
}
