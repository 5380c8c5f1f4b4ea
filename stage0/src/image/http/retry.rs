//! When a request that failed is worth another try, and how long to wait before it.

use std::io;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Requests in all for one answer. Three pauses of 0.5, 1 and 2 s outlast a restart of a web server; a longer outage is for
/// the user to know about.
pub(super) const MAX_ATTEMPTS: u32 = 4;
/// Longest first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that a server may ask for. Nobody watches a command wait for longer than that without a reason in sight.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Whether a status says that the same request may succeed later.
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

/// Whether a failure says that the same request may succeed later: the connection failed, not what was said over it.
pub(super) fn is_worth_another_try(error: &ureq::Error) -> bool {
    match error {
        // A certificate that is not accepted comes as invalid data.
        ureq::Error::Io(e) => !matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput),
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}

/// The pause before the next attempt, `attempt` (from 1) having failed. `None`: the server asks for a longer one than
/// anybody waits.
pub(super) fn pause(attempt: u32, retry_after: Option<&str>) -> Option<Duration> {
    if let Some(asked) = retry_after.and_then(|header| requested(header, SystemTime::now())) {
        return (asked <= MAX_RETRY_AFTER).then_some(asked);
    }
    let longest = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(8));
    // Clients that failed together must not come back together: between half of it and all of it.
    Some(longest.div_f64(2.0).saturating_add(longest.mul_f64(random_fraction() / 2.0)))
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
pub(super) fn requested(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until: Timestamp = rfc2822::parse(header).ok()?.timestamp();
    Some(SystemTime::from(until).duration_since(now).unwrap_or_default())
}

/// Between 0 and 1, different in every process.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
