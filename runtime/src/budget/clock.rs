//! How long an account has been open, by a monotonic clock.

use std::time::{Duration, Instant};

/// A running stopwatch.
///
/// Reading the precise clock is most of what a step costs. For limits of a second and more, where it is under one per cent,
/// Linux' coarse clock does: it lags by at most one tick of the kernel, 1 to 10 ms, and costs a fifth.
#[derive(Debug)]
pub(super) enum Stopwatch {
    Precise(Instant),
    #[cfg(target_os = "linux")]
    Coarse(Duration),
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

    #[inline]
    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Stopwatch::Precise(started) => started.elapsed(),
            // A clock that worked when the watch was started and fails now: all the time there is has passed.
            #[cfg(target_os = "linux")]
            Stopwatch::Coarse(started) => coarse_now().map_or(Duration::MAX, |now| now.saturating_sub(*started)),
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
