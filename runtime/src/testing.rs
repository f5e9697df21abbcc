//! Gates for tests: an in-memory ledger and a scripted authority.
//!
//! A gate made here is the only one that does not end the process: it unwinds with [`Ended`], so that the test process lives.
//! Every other gate ends the process also where this feature is on.
//!
//! ```
//! use portcullis::testing::{self, Gate};
//! use portcullis::{Boundary, boundary};
//!
//! #[boundary(before_cost)]
//! fn ask_model(prompt: &str) -> String {
//!     format!("an answer to {prompt}")
//! }
//!
//! let gate = Gate::allowing();
//! gate.scope_sync(|| ask_model("2 + 2"));
//! assert_eq!(gate.crossed(), [(Boundary::BeforeCost, "ask_model".to_owned())]);
//!
//! let gate = Gate::denying("DEVICE_REVOKED");
//! let ended = testing::catch(|| gate.scope_sync(|| ask_model("2 + 2"))).unwrap_err();
//! assert_eq!((ended.code(), ended.reason()), ("denied", "DEVICE_REVOKED"));
//! ```

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::authority::{
    Answering, Authority, DecisionId, Denial, Device, Fault, FaultKind, Grant, Question, Registration, Verdict,
};
use crate::boundary::Boundary;
use crate::budget::Limits;
use crate::gate::Portcullis;
use crate::halt::Notice;
use crate::refused::Kind;

/// A gate for one test. Dereferences to [`Portcullis`], so `gate.scope(…)` and `with = gate` work.
#[derive(Clone, Debug)]
pub struct Gate {
    portcullis: Portcullis,
    script: Arc<Script>,
}

/// One answer of the scripted authority.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Yes.
    Allow,
    /// No, with the authority's code.
    Deny(String),
    /// No usable answer.
    Fault(FaultKind),
    /// Never an answer: the deadline decides.
    Silence,
}

impl Gate {
    /// Every question is allowed.
    #[must_use]
    pub fn allowing() -> Self {
        Gate::answering(|_| Answer::Allow)
    }

    /// Every question is denied with `code`.
    #[must_use]
    pub fn denying(code: impl Into<String>) -> Self {
        let code = code.into();
        Gate::answering(move |_| Answer::Deny(code.clone()))
    }

    /// The questions get these answers, in order; every further question is denied as `SCRIPT_ENDED`.
    #[must_use]
    pub fn scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Vec<_> = answers.into_iter().collect();
        let answers = Mutex::new(answers.into_iter());
        Gate::answering(move |_| lock(&answers).next().unwrap_or_else(|| Answer::Deny("SCRIPT_ENDED".into())))
    }

    /// Every question gets the answer that `answer` gives.
    #[must_use]
    pub fn answering(answer: impl Fn(&Question) -> Answer + Send + Sync + 'static) -> Self {
        Gate::with_limits(Limits::new(), answer)
    }

    /// The same, with limits on every scope.
    ///
    /// # Panics
    /// If the machine gives no threads or no memory for the gate.
    #[must_use]
    pub fn with_limits(limits: Limits, answer: impl Fn(&Question) -> Answer + Send + Sync + 'static) -> Self {
        let script =
            Arc::new(Script { answer: Box::new(answer), crossed: Mutex::default(), registered: Mutex::default() });
        let device = Device::parse("test:local:worker:1").unwrap_or_else(|error| panic!("{error}"));
        let portcullis = Portcullis::builder()
            .unwinding()
            .authority(Arc::clone(&script))
            .device(device)
            .limits(limits)
            .deadline(Duration::from_millis(500))
            .ledger_from(Box::new(|| Ok(crate::ledger::open_in_memory())))
            .build()
            .unwrap_or_else(|error| panic!("a gate for testing could not be made: {error}"));
        Gate { portcullis, script }
    }

    /// The boundaries that were allowed so far, with their actions, in order.
    #[must_use]
    pub fn crossed(&self) -> Vec<(Boundary, String)> {
        lock(&self.script.crossed).clone()
    }

    /// Forgets the boundaries that were crossed so far.
    pub fn forget_crossed(&self) {
        lock(&self.script.crossed).clear();
    }

    /// The devices that were registered so far.
    #[must_use]
    pub fn registered(&self) -> Vec<Device> {
        lock(&self.script.registered).clone()
    }
}

impl Deref for Gate {
    type Target = Portcullis;
    fn deref(&self) -> &Portcullis {
        &self.portcullis
    }
}

impl AsRef<Portcullis> for Gate {
    fn as_ref(&self) -> &Portcullis {
        &self.portcullis
    }
}

struct Script {
    answer: Box<dyn Fn(&Question) -> Answer + Send + Sync>,
    crossed: Mutex<Vec<(Boundary, String)>>,
    registered: Mutex<Vec<Device>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Authority for Arc<Script> {
    fn name(&self) -> &str {
        "scripted"
    }

    fn register<'a>(&'a self, device: &'a Device) -> Answering<'a, Registration> {
        lock(&self.registered).push(device.clone());
        Box::pin(async { Registration::Accepted })
    }

    fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict> {
        Box::pin(async move {
            match (self.answer)(question) {
                Answer::Allow => match DecisionId::new("scripted") {
                    Some(id) => {
                        lock(&self.crossed).push((question.boundary, question.action.clone()));
                        Verdict::Allow(Grant::new(id))
                    }
                    None => Verdict::Fault(Fault::new(FaultKind::Malformed, "no decision id")),
                },
                Answer::Deny(code) => Verdict::Deny(Denial::new(code)),
                Answer::Fault(kind) => Verdict::Fault(Fault::new(kind, "scripted")),
                Answer::Silence => std::future::pending().await,
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With what a testing gate unwinds where a production gate ends the process.
#[derive(Clone, PartialEq, Eq)]
pub struct Ended {
    kind: Kind,
    boundary: &'static str,
    action: String,
    reason: String,
}

impl Ended {
    /// Which refusal it was.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The boundary's name; `-` where it was not a boundary that refused.
    #[must_use]
    pub fn boundary(&self) -> &'static str {
        self.boundary
    }

    /// The action that was refused.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The authority's own code, or what went wrong.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("code", &self.code())
            .field("boundary", &self.boundary)
            .field("action", &self.action)
            .field("reason", &self.reason)
            .finish()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the process would have ended: {} at {} of `{}`: {}",
            self.kind, self.boundary, self.action, self.reason
        )
    }
}

impl std::error::Error for Ended {}

/// What a testing gate does instead of ending the process. While the thread is unwinding already it can't: then this returns.
pub(crate) fn unwind(notice: &Notice) {
    if std::thread::panicking() {
        return;
    }
    panic::resume_unwind(Box::new(Ended {
        kind: notice.kind,
        boundary: notice.boundary,
        action: notice.action.clone(),
        reason: notice.code.clone(),
    }))
}

/// Runs `f`; `Err` where a testing gate would have ended the process. Any other panic goes on.
///
/// # Errors
/// The process would have ended.
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Ended> {
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(ended)
}

/// The same for a future.
pub fn catch_async<F: Future>(future: F) -> Catch<F> {
    Catch { future }
}

fn ended(payload: Box<dyn std::any::Any + Send>) -> Ended {
    match payload.downcast::<Ended>() {
        Ok(ended) => *ended,
        Err(other) => panic::resume_unwind(other),
    }
}

pin_project! {
    /// Made by [`catch_async`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Catch<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Catch<F> {
    type Output = Result<F::Output, Ended>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch(|| self.project().future.poll(cx)) {
            Ok(polled) => polled.map(Ok),
            Err(ended) => Poll::Ready(Err(ended)),
        }
    }
}
