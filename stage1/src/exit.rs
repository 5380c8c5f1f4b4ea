//! The exit code of a pod.
//!
//! Responsible for: rkt's rule, first failing app's status, else 0, and rkt's own failures 254. Must not know: who asks.
//! Follows rkt-reference 1.1 (exit codes) and 6.8.

use guest_api::AppExit;

/// Added to the number of the signal that ended something, as shells do.
const SIGNAL_CODES: u8 = 128;

/// Exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// Every failure that is rkt's and not an app's.
    pub const RKT_FAILED: Self = Self(254);
    /// Nothing failed.
    pub const SUCCESS: Self = Self(0);

    /// Of a command or an attachment that a signal ended.
    pub const fn of_signal(number: u8) -> Self {
        Self(SIGNAL_CODES.saturating_add(number))
    }
}

/// How a pod has fared so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodOutcome {
    first_failure: Option<u8>,
    rkt_failed: bool,
}

impl PodOutcome {
    /// Takes note of an app's end; the first failing one decides.
    pub fn app_ended(&mut self, exit: AppExit) {
        let status = exit.status();
        if status != 0 && self.first_failure.is_none() {
            self.first_failure = Some(status);
        }
    }

    /// The pod itself failed, whatever its apps say.
    pub fn fail(&mut self) {
        self.rkt_failed = true;
    }

    /// The code of the pod.
    pub fn exit_code(self) -> ExitCode {
        if self.rkt_failed { ExitCode::RKT_FAILED } else { ExitCode(self.first_failure.unwrap_or(0)) }
    }
}
