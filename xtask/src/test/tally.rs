//! Counts of tests, and the one line that tells them.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// One check that succeeded or not.
    pub(crate) fn of(success: bool) -> Self {
        Self { passed: usize::from(success), failed: usize::from(!success), skipped: 0 }
    }

    /// Reads what [`Tally`] prints.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut counts = text.trim().split(", ").map(|part| part.split_once(' '));
        let mut next = |name: &str| {
            let (count, word) = counts.next()??;
            (word == name).then(|| count.parse().ok())?
        };
        Some(Self { passed: next("passed")?, failed: next("failed")?, skipped: next("skipped")? })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}
