//! Other crates' macros on a guarded function: each with the real crate, above and below.
//!
//! `async_trait`, `#[tokio::main]` and `macro_rules!` are in the tests of the macros, a renamed dependency has a package of its own.

mod cached;
mod instrument;
mod mcp;
mod rig;
mod tokio_test;

use std::sync::{Arc, Mutex, PoisonError};

use portcullis::testing::{Answer, Gate};

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

    /// How many events begin with this word.
    fn count(&self, word: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|event| event.starts_with(word)).count()
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
