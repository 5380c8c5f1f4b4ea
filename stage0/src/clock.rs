//! Points in time as rkt prints them.
//!
//! Responsible for: the full and the humanised rendering of a time. Must not know: whose time it is. Follows
//! rkt-reference.md 1.1, "Time stamps".

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// What the full layout shows for a time nobody knows: Go's zero time.
const UNKNOWN_FULL: &str = "0001-01-01 00:00:00 +0000 UTC";
/// What the humanised layout shows for it.
const UNKNOWN_HUMAN: &str = "a long while ago";

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 12 * MONTH;
const LONG_TIME: u64 = 37 * YEAR;

/// `2006-01-02 15:04:05.999 -0700 MST` in the machine's time zone; milliseconds without trailing zeros.
pub fn full(time: Option<SystemTime>) -> String {
    full_in(time, TimeZone::system())
}

fn full_in(time: Option<SystemTime>, zone: TimeZone) -> String {
    let Some(timestamp) = time.and_then(|time| Timestamp::try_from(time).ok()) else {
        return UNKNOWN_FULL.to_owned();
    };
    let zoned = Zoned::new(timestamp, zone);
    let seconds = zoned.strftime("%Y-%m-%d %H:%M:%S");
    let offset = zoned.strftime("%z %Z");
    match zoned.millisecond() {
        0 => format!("{seconds} {offset}"),
        milliseconds => {
            let fraction = format!("{milliseconds:03}");
            format!("{seconds}.{} {offset}", fraction.trim_end_matches('0'))
        }
    }
}

/// `3 minutes ago`, counted from `now`.
pub fn humanised(time: Option<SystemTime>, now: SystemTime) -> String {
    let Some(time) = time else { return UNKNOWN_HUMAN.to_owned() };
    let (seconds, direction) = match now.duration_since(time) {
        Ok(past) => (past.as_secs(), "ago"),
        Err(future) => (future.duration().as_secs(), "from now"),
    };
    let text = match seconds {
        0 => return "now".to_owned(),
        1 => "1 second".to_owned(),
        _ if seconds < MINUTE => format!("{seconds} seconds"),
        _ if seconds < 2 * MINUTE => "1 minute".to_owned(),
        _ if seconds < HOUR => format!("{} minutes", seconds / MINUTE),
        _ if seconds < 2 * HOUR => "1 hour".to_owned(),
        _ if seconds < DAY => format!("{} hours", seconds / HOUR),
        _ if seconds < 2 * DAY => "1 day".to_owned(),
        _ if seconds < WEEK => format!("{} days", seconds / DAY),
        _ if seconds < 2 * WEEK => "1 week".to_owned(),
        _ if seconds < MONTH => format!("{} weeks", seconds / WEEK),
        _ if seconds < 2 * MONTH => "1 month".to_owned(),
        _ if seconds < YEAR => format!("{} months", seconds / MONTH),
        _ if seconds < 18 * MONTH => "1 year".to_owned(),
        _ if seconds < 2 * YEAR => "2 years".to_owned(),
        _ if seconds < LONG_TIME => format!("{} years", seconds / YEAR),
        _ => "a long while".to_owned(),
    };
    format!("{text} {direction}")
}

/// A time in nanoseconds since the Unix epoch as Go prints times by default: `2006-01-02 15:04:05.999999999 -0700 MST`.
pub fn go_default(nanoseconds: i64) -> String {
    let Ok(timestamp) = Timestamp::from_nanosecond(i128::from(nanoseconds)) else {
        return UNKNOWN_FULL.to_owned();
    };
    let zoned = Zoned::new(timestamp, TimeZone::system());
    let (seconds, offset) = (zoned.strftime("%Y-%m-%d %H:%M:%S"), zoned.strftime("%z %Z"));
    match zoned.subsec_nanosecond() {
        0 => format!("{seconds} {offset}"),
        nanoseconds => {
            let fraction = format!("{nanoseconds:09}");
            format!("{seconds}.{} {offset}", fraction.trim_end_matches('0'))
        }
    }
}

/// Whole seconds since the Unix epoch.
pub fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

/// Nanoseconds since the Unix epoch.
pub fn unix_nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

/// A Go duration as `time.Duration.String` prints it (`30m0s`), whole seconds being fine enough here.
pub fn go_duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC` of the first call in this process.
pub fn process_start_ns() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(|| {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(milliseconds: u64) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_millis(milliseconds))
    }

    #[test]
    fn full_layout_drops_trailing_zeros_of_the_fraction() {
        let cases = [
            (at(1_500_000_000_000), "2017-07-14 02:40:00 +0000 UTC"),
            (at(1_500_000_000_120), "2017-07-14 02:40:00.12 +0000 UTC"),
            (at(1_500_000_000_007), "2017-07-14 02:40:00.007 +0000 UTC"),
            (None, "0001-01-01 00:00:00 +0000 UTC"),
        ];

        for (time, expected) in cases {
            assert_eq!(full_in(time, TimeZone::UTC), expected);
        }
    }

    #[test]
    fn times_are_humanised_with_the_words_of_rkt() {
        let now = UNIX_EPOCH + Duration::from_secs(100 * YEAR);
        let cases = [
            (0, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (3 * MINUTE + 5, "3 minutes ago"),
            (HOUR, "1 hour ago"),
            (23 * HOUR, "23 hours ago"),
            (DAY, "1 day ago"),
            (6 * DAY, "6 days ago"),
            (WEEK, "1 week ago"),
            (3 * WEEK, "3 weeks ago"),
            (MONTH, "1 month ago"),
            (11 * MONTH, "11 months ago"),
            (YEAR, "1 year ago"),
            (18 * MONTH, "2 years ago"),
            (30 * YEAR, "30 years ago"),
            (40 * YEAR, "a long while ago"),
        ];

        for (seconds, expected) in cases {
            assert_eq!(humanised(Some(now - Duration::from_secs(seconds)), now), expected);
        }
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        let cases = [(1800, "30m0s"), (86_400, "24h0m0s"), (5, "5s"), (0, "0s")];

        for (seconds, expected) in cases {
            assert_eq!(go_duration(Duration::from_secs(seconds)), expected);
        }
    }
}
