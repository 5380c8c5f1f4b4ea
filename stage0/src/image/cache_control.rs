//! `Cache-Control`: for how long a server need not be asked again.

/// Longest time believed: a year, the most that HTTP's caching rules recommend.
const MAX_AGE_LIMIT: u64 = 365 * 24 * 60 * 60;

/// Seconds of freshness that a `Cache-Control` header grants; 0 without one (rkt-reference.md 3.4).
pub(crate) fn max_age(header: Option<&str>) -> u64 {
    let mut age = 0;
    for directive in header.unwrap_or_default().split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return 0,
            "max-age" => age = value.trim().trim_matches('"').parse().unwrap_or(0),
            _ => {}
        }
    }
    age.min(MAX_AGE_LIMIT)
}
