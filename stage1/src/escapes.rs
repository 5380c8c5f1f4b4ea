//! The keys that end a pod whose app has the terminal.
//!
//! Responsible for: noticing them among everything that is typed. Must not know: the terminal, the app. Follows
//! systemd-nspawn(1) (`^]` three times within a second) and the console of rkt's kvm flavour (Ctrl-A x).
//!
//! Every key reaches the app, these too: what ends the pod has no use for them, and whoever types only a part of a sequence
//! means the app. The one exception is a second Ctrl-A, which only takes back the meaning of the first, as in screen(1)
//! and QEMU: `Ctrl-A Ctrl-A x` is a Ctrl-A and an x.

use std::time::{Duration, Instant};

/// Ctrl-].
const BRACKET: u8 = 0x1d;

/// How often it has to come.
const BRACKETS: u8 = 3;

/// Ctrl-A.
const PREFIX: u8 = 0x01;

/// A sequence takes no longer than this from its first key to its last.
const WINDOW: Duration = Duration::from_secs(1);

/// What was typed of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Typed {
    #[default]
    Nothing,
    Brackets {
        count: u8,
        since: Instant,
    },
    Prefix {
        since: Instant,
    },
}

/// Watches what is typed.
#[derive(Debug, Default)]
pub struct Escapes {
    typed: Typed,
}

/// What becomes of what was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Keys {
    /// It is the app's.
    Pass(Vec<u8>),
    /// It ends the pod.
    End,
}

impl Escapes {
    /// Takes the next bytes, which were typed at `now`.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Keys {
        let mut passed = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            let in_time = |since: Instant| now.saturating_duration_since(since) <= WINDOW;
            self.typed = match (byte, self.typed) {
                (BRACKET, Typed::Brackets { count, since }) if in_time(since) => {
                    if count + 1 >= BRACKETS {
                        return Keys::End;
                    }
                    Typed::Brackets { count: count + 1, since }
                }
                (BRACKET, _) => Typed::Brackets { count: 1, since: now },
                (PREFIX, Typed::Prefix { since }) if in_time(since) => {
                    self.typed = Typed::Nothing;
                    continue;
                }
                (PREFIX, _) => Typed::Prefix { since: now },
                (b'x', Typed::Prefix { since }) if in_time(since) => return Keys::End,
                _ => Typed::Nothing,
            };
            passed.push(byte);
        }
        Keys::Pass(passed)
    }
}
