//! Sizes as rkt prints them.
//!
//! Responsible for: IEC units without a space. Must not know: whose size it is. Follows rkt-reference.md 1.1, "Sizes".

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const STEP: f64 = 1024.0;

/// `9B`, `1.5KiB`, `12MiB`: one decimal only when there is a single digit before it.
pub fn humanised(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes}B");
    }
    // Past 2^53 the last bits are lost, which no rounded figure shows.
    let mut value = bytes as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while value >= STEP {
        let Some(next) = units.next() else { break };
        value /= STEP;
        unit = next;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_rkt_rounds_them() {
        let cases = [
            (0, "0B"),
            (9, "9B"),
            (10, "10B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1536, "1.5KiB"),
            (10 * 1024 - 1, "10KiB"),
            (12 * 1024 * 1024 + 600 * 1024, "13MiB"),
            (5 * 1024 * 1024 * 1024, "5.0GiB"),
            (u64::MAX, "16EiB"),
        ];

        for (bytes, expected) in cases {
            assert_eq!(humanised(bytes), expected, "{bytes}");
        }
    }
}
