//! How long an account has been open, by a monotonic clock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// Another clock than the machine's, for tests and simulations.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Time that only ever passes, since any moment.
    fn monotonic(&self) -> Duration;

    /// When it is, for whoever reads it after a restart.
    fn stamp(&self) -> Stamp;
}

/// A moment that can be understood after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Which start of the machine it was; empty if that is unknown.
    pub boot: String,
    /// How long the machine had been up, sleep included.
    pub since_boot: Duration,
    /// The wall clock, which somebody may set.
    pub wall: SystemTime,
}

impl Stamp {
    /// Now, by this machine's clocks.
    #[must_use]
    pub fn now() -> Self {
        // Without the time since the start of the machine, which start it was says nothing.
        let (boot, since_boot) = since_boot().map_or_else(Default::default, |since| (boot(), since));
        Stamp { boot, since_boot, wall: SystemTime::now() }
    }

    /// How much time has passed since `earlier`. While the machine has been up, that can't be set; over a restart of the machine
    /// it is what the wall clock says, and never less than nothing.
    #[must_use]
    pub fn since(&self, earlier: &Stamp) -> Duration {
        if !self.boot.is_empty() && self.boot == earlier.boot {
            self.since_boot.saturating_sub(earlier.since_boot)
        } else {
            self.wall.duration_since(earlier.wall).unwrap_or_default()
        }
    }
}

#[cfg(target_os = "linux")]
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).ok()
}

#[cfg(not(target_os = "linux"))]
fn boot() -> String {
    String::new()
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Duration> {
    None
}

/// A running stopwatch.
///
/// Reading the precise clock is most of what a step costs. For limits of a second and more, where it is under one per cent,
/// Linux' coarse clock does: it lags by at most one tick of the kernel, 1 to 10 ms, and costs a fifth.
#[derive(Debug)]
pub(super) enum Stopwatch {
    Precise(Instant),
    #[cfg(target_os = "linux")]
    Coarse(Duration),
    By(Arc<dyn Clock>, Duration),
}

impl Stopwatch {
    pub(super) fn start(limit: Option<Duration>) -> Self {
        #[cfg(target_os = "linux")]
        if limit.is_some_and(|limit| limit >= Duration::from_secs(1))
            && let Some(now) = coarse_now()
        {
            return Stopwatch::Coarse(now);
        }
        let _ = limit;
        Stopwatch::Precise(Instant::now())
    }

    pub(super) fn start_by(clock: &Arc<dyn Clock>) -> Self {
        Stopwatch::By(Arc::clone(clock), clock.monotonic())
    }

    /// Another one, by the same clock.
    pub(super) fn another(&self, limit: Option<Duration>) -> Self {
        match self {
            Stopwatch::By(clock, _) => Stopwatch::start_by(clock),
            #[cfg(target_os = "linux")]
            Stopwatch::Coarse(_) => Stopwatch::start(limit),
            Stopwatch::Precise(_) => Stopwatch::start(limit),
        }
    }

    #[inline]
    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Stopwatch::Precise(started) => started.elapsed(),
            // A clock that worked when the watch was started and fails now: all the time there is has passed.
            #[cfg(target_os = "linux")]
            Stopwatch::Coarse(started) => coarse_now().map_or(Duration::MAX, |now| now.saturating_sub(*started)),
            Stopwatch::By(clock, started) => clock.monotonic().saturating_sub(*started),
        }
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn coarse_now() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_limit_is_measured_too() {
        let watch = Stopwatch::start(Some(Duration::from_secs(60)));
        // The coarse clock moves once a tick.
        while watch.elapsed().is_zero() {
            std::thread::yield_now();
        }
        assert!(watch.elapsed() < Duration::from_secs(10));
    }
}
