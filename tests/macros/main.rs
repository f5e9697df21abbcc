//! What the attributes do to a function, seen in the order of what happens.

mod arguments;
mod body;
mod cut_short;
mod guarded;
mod identity;
mod matrix;
mod neighbours;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis::Refused;
use portcullis::testing::{Answer, Gate};

type Done = Result<u64, Refused>;
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What happened, in order.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, event: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has(&self, event: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == event)
    }

    /// A gate that allows everything, and writes down what it was asked.
    fn gate(&self) -> Gate {
        let log = self.clone();
        Gate::answering(move |question| {
            log.add(format!("ask {}", question.action));
            Answer::Allow
        })
    }
}

/// Polls until something has happened, and no longer.
fn poll_until(log: &Log, event: &str, future: &mut Pin<Box<impl Future + ?Sized>>) {
    let mut cx = Context::from_waker(Waker::noop());
    while !log.has(event) {
        assert!(matches!(future.as_mut().poll(&mut cx), Poll::Pending), "it ended before `{event}`");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn code<T: std::fmt::Debug>(result: Result<T, Refused>) -> &'static str {
    result.expect_err("it was to be refused").code()
}
