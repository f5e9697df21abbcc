//! Tier 1: trying again, later each time.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::refusal;
use crate::refused::{Kind, Refused};

/// How long to wait before trying again: `base · factor^(attempt − 1)`, with jitter up to half as much again, and never over the cap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    max_retries: u32,
    base: Duration,
    factor: f64,
    cap: Duration,
    jitter: bool,
}

impl Default for Backoff {
    /// Three calls in all; 1 s, then twice as long each time, at most 2 min, with jitter.
    fn default() -> Self {
        Backoff {
            max_retries: 3,
            base: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_secs(120),
            jitter: true,
        }
    }
}

impl Backoff {
    /// How often it is tried in all.
    #[must_use]
    pub const fn max_retries(mut self, most: u32) -> Self {
        self.max_retries = most;
        self
    }

    /// The first wait.
    #[must_use]
    pub const fn base(mut self, wait: Duration) -> Self {
        self.base = wait;
        self
    }

    /// How many times as long each wait is as the one before. What is below 1 or no number counts as 1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = if factor >= 1.0 { factor } else { 1.0 };
        self
    }

    /// The longest wait, jitter included.
    #[must_use]
    pub const fn cap(mut self, wait: Duration) -> Self {
        self.cap = wait;
        self
    }

    /// Whether waits are spread, so that many who failed together do not come back together.
    #[must_use]
    pub const fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// How long to wait after the attempt of this number, the first one being 1. `None`: it was one too many. `chance` is between 0 and
    /// 1, and decides the jitter.
    ///
    /// # Errors
    /// `invalid_argument` for attempt 0.
    pub fn delay(&self, attempt: u32, chance: f64) -> Result<Option<Duration>, Refused> {
        if attempt == 0 {
            return Err(Refused::new(Kind::InvalidArgument, "retry", "there is no attempt 0")
                .advise("the first attempt is number 1"));
        }
        if attempt > self.max_retries {
            return Ok(None);
        }
        let cap = self.cap.as_secs_f64();
        // A power that is too large for a number is infinite, and infinity is over the cap; nothing times that is no number.
        let wait =
            if self.base.is_zero() { 0.0 } else { self.base.as_secs_f64() * self.factor.powf(f64::from(attempt - 1)) };
        let jitter = if self.jitter { wait.min(cap) * 0.5 * chance.clamp(0.0, 1.0) } else { 0.0 };
        let wait = (wait.min(cap) + jitter).min(cap);
        Ok(Some(Duration::try_from_secs_f64(wait).unwrap_or(self.cap)))
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else to do")]
pub enum Next {
    /// Try again after this wait.
    Again {
        /// Which attempt has failed, from 1.
        failed: u32,
        /// How long to wait.
        after: Duration,
    },
    /// Do not.
    GiveUp,
}

/// How often each task was tried, and what that means for the next failure.
pub struct Retries {
    backoff: Backoff,
    inner: Mutex<Inner>,
}

struct Inner {
    counts: HashMap<String, u32>,
    chance: fastrand::Rng,
}

impl fmt::Debug for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retries").field("backoff", &self.backoff).finish_non_exhaustive()
    }
}

impl Retries {
    /// Nothing was tried yet.
    ///
    /// # Errors
    /// `invalid_argument` if nothing may be tried at all: the work would silently never run.
    pub fn new(backoff: Backoff) -> Result<Self, Refused> {
        Retries::seeded(backoff, fastrand::u64(..))
    }

    /// The same, with jitter that is the same for the same seed.
    ///
    /// # Errors
    /// As [`new`](Retries::new).
    pub fn seeded(backoff: Backoff, seed: u64) -> Result<Self, Refused> {
        if backoff.max_retries == 0 {
            return Err(Refused::new(Kind::InvalidArgument, "retry", "with `max_retries` 0 the work would never run")
                .advise("1 means: once, and not again"));
        }
        let inner = Inner { counts: HashMap::new(), chance: fastrand::Rng::with_seed(seed) };
        Ok(Retries { backoff, inner: Mutex::new(inner) })
    }

    /// Counts a failure of a task, and says how many there are now.
    pub fn record(&self, task: &str) -> u32 {
        let mut inner = self.lock();
        let count = inner.counts.entry(task.into()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Whether a task may be tried again.
    #[must_use]
    pub fn should_retry(&self, task: &str) -> bool {
        self.lock().counts.get(task).is_none_or(|&count| count < self.backoff.max_retries)
    }

    /// Forgets the failures of a task: it went on.
    pub fn reset(&self, task: &str) {
        self.lock().counts.remove(task);
    }

    /// Counts a failure, and decides what follows. Of refusals only those are tried again that say `try again`: a running
    /// duplicate, and an authority or a ledger that can't be reached. Everything else will be refused the same way; and a
    /// denial is an answer.
    pub fn after_failure(&self, task: &str, error: &(dyn StdError + 'static)) -> Next {
        let failed = self.record(task);
        if refusal(error).is_some_and(|refused| !passes(refused.kind())) || failed >= self.backoff.max_retries {
            return Next::GiveUp;
        }
        let chance = self.lock().chance.f64();
        match self.backoff.delay(failed, chance) {
            Ok(Some(after)) => Next::Again { failed, after },
            Ok(None) | Err(_) => Next::GiveUp,
        }
    }

    /// Calls `work` until it succeeds or [`after_failure`](Retries::after_failure) gives up. Between two calls `wait` is given the number of
    /// the attempt that failed, how long to wait, and the error; it does the waiting. Nothing is waited for after the last call.
    ///
    /// # Errors
    /// The last one.
    ///
    /// ```
    /// use portcullis::tasks::escalation::{Backoff, Retries};
    ///
    /// let retries = Retries::new(Backoff::default().jitter(false))?;
    /// let mut waits = Vec::new();
    /// let failed = retries.run("t", || Err::<(), _>(std::io::Error::other("busy")), |_, wait, _| waits.push(wait.as_secs()));
    /// assert_eq!(failed.unwrap_err().to_string(), "busy");
    /// assert_eq!(waits, [1, 2]);
    /// # Ok::<(), portcullis::Refused>(())
    /// ```
    pub fn run<T, E: StdError + 'static>(
        &self,
        task: &str,
        mut work: impl FnMut() -> Result<T, E>,
        mut wait: impl FnMut(u32, Duration, &E),
    ) -> Result<T, E> {
        loop {
            let error = match work() {
                Ok(done) => {
                    self.reset(task);
                    return Ok(done);
                }
                Err(error) => error,
            };
            match self.after_failure(task, &error) {
                Next::Again { failed, after } => wait(failed, after, &error),
                Next::GiveUp => return Err(error),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic half-way runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refusals that pass by themselves.
const fn passes(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::InFlight
            | Kind::AuthorityUnreachable
            | Kind::AuthorityTimeout
            | Kind::LedgerUnavailable
            | Kind::TaskRunning
            | Kind::TaskServiceUnavailable
    )
}
