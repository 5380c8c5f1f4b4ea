//! The host's user and group IDs that a pod with `--private-users` gets for its own.
//!
//! Responsible for: choosing the range, its text, moving an ID into it. Must not know: who uses it. Follows
//! rkt-reference.md 1.5 and 2.2 (`private-users-prepared`).

use std::fmt;
use std::io;

use crate::error::{Context, Result};

/// IDs of one pod, as many as programs with 16-bit IDs know.
const COUNT: u32 = 0x1_0000;

/// A range of IDs: ID n of the pod is `shift + n` on the host, for n below `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRange {
    shift: u32,
}

impl UserRange {
    /// A range chosen at random: neither the one that is the host's own nor the last, which holds the ID that means none.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 8];
        // The kernel fills up to 256 bytes in one call.
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .context("cannot choose user IDs")?;
        let ranges = u64::from(u32::MAX / COUNT) - 1;
        let index =
            u32::try_from(u64::from_ne_bytes(bytes) % ranges + 1).context("cannot choose user IDs")?;
        Ok(UserRange { shift: index * COUNT })
    }

    /// An ID of the pod as the host sees it. Errors: it is beyond the range.
    pub fn shift(self, id: u32) -> io::Result<u32> {
        if id < COUNT {
            return Ok(self.shift + id);
        }
        let text = format!("ID {id} is beyond the {COUNT} IDs of a pod with --private-users");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

impl fmt::Display for UserRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{COUNT}", self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_neither_the_hosts_own_nor_beyond_the_last_id() {
        for _ in 0..1000 {
            let range = UserRange::random().unwrap();

            let (first, last) = (range.shift(0).unwrap(), range.shift(COUNT - 1).unwrap());
            assert!(first >= COUNT && last < u32::MAX && first.is_multiple_of(COUNT), "{range}");
            assert!(range.shift(COUNT).is_err());
        }
    }

    #[test]
    fn the_text_is_what_stage1_reads() {
        assert_eq!(UserRange { shift: 131_072 }.to_string(), "131072:65536");
    }
}
