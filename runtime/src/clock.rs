//! Wall-clock time: for people, for retention, and for the two ways out of a doubt that take time. No owner's life is
//! decided by it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn now_ms() -> i64 {
    millis(SystemTime::now())
}

/// When this machine started, in milliseconds since 1970, by the clock as it stands: somebody who sets the clock moves it,
/// and time that passes does not, also not while the machine sleeps. `None` where there is no clock to compare with.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn origin_ms() -> Option<i64> {
    use nix::time::{ClockId, clock_gettime};
    let running = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    Some(now_ms() - i64::try_from(running.as_millis()).ok()?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn origin_ms() -> Option<i64> {
    None
}

/// Milliseconds since 1970; before it, 0.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// For people: `2026-11-24T02:30:00Z`.
pub(crate) fn when(millis: i64) -> String {
    // Year 9999 is where the format ends.
    let shown = time(millis.min(253_402_300_799_000));
    humantime::format_rfc3339_seconds(shown).to_string()
}
