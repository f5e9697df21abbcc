//! Wall-clock time: for people and for retention. No claim is decided by it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn now_ms() -> i64 {
    millis(SystemTime::now())
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
