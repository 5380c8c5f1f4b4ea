//! One process that PID 1 looks after, an app's or a command's, with its descriptors.
//!
//! Responsible for: what is known of the process, and signals to it. Must not know: what its end means. Follows kill(2).

use std::time::Instant;

use nix::unistd::Pid;
use rustix::process::{Pid as Group, Signal, kill_process_group};

use crate::app::descriptors::{Descriptors, Handed};
use crate::app::pty::Terminal;
use crate::app::report::Report;
use crate::app::start::Started;

/// First and last of the signals that have a number and no meaning of their own. The two before them belong to the
/// C library.
const REAL_TIME_SIGNALS: std::ops::RangeInclusive<u8> = 34..=64;

/// A process and its descriptors; the descriptors of an app stay when the process has ended.
#[derive(Debug)]
pub struct Child {
    /// None once it was reaped: the kernel gives the number to somebody else.
    pub pid: Option<i32>,
    /// Open until it is known whether the program was executed.
    pub report: Option<Report>,
    /// PID 1's ends.
    pub descriptors: Descriptors,
    /// The process ended, and its last output is on its way.
    pub draining: bool,
    /// The app's own ends, for the processes of it that are still to come.
    pub handed: Option<Handed>,
    /// One of the app's programs was executed, so that its outputs count.
    pub has_run: bool,
    /// When a command that nobody waits for is killed.
    pub deadline: Option<Instant>,
    /// Its process group, for as long as anybody is in it.
    group: i32,
    /// Signals that came before the program was executed, one bit each.
    waiting_signals: u64,
}

impl Child {
    /// Looks after a process that was just made.
    pub fn new(started: Started) -> Self {
        let pid = started.pid.as_raw();
        Self {
            pid: Some(pid),
            report: Some(started.report),
            descriptors: started.descriptors,
            draining: false,
            handed: None,
            has_run: false,
            deadline: None,
            group: pid,
            waiting_signals: 0,
        }
    }

    /// Looks after an app, whose processes are made one after the other.
    pub fn of_app(started: Started, handed: Handed) -> Self {
        Self { handed: Some(handed), ..Self::new(started) }
    }

    /// Another process takes the place of the one that ended.
    pub fn go_on(&mut self, pid: Pid, report: Report) {
        self.pid = Some(pid.as_raw());
        self.group = pid.as_raw();
        self.report = Some(report);
    }

    /// Signals the foreground of its terminal, or its own group. A signal waits for the program that it is meant for.
    pub fn signal(&mut self, number: u8) {
        if self.report.is_some() {
            self.waiting_signals |= bit(number);
            return;
        }
        let foreground = self.descriptors.terminal().and_then(Terminal::foreground);
        if let Some(group) = foreground.or(self.pid) {
            send(group, number);
        }
    }

    /// The program was executed: it gets what waited for it.
    pub fn deliver_waiting_signals(&mut self) {
        let waiting = std::mem::take(&mut self.waiting_signals);
        (1..=64).filter(|number| waiting & bit(*number) != 0).for_each(|number| self.signal(number));
    }

    /// Signals its own process group, wherever its terminal's foreground is. Not later than when its end is told: after
    /// that, the number may be somebody else's.
    pub fn signal_own_group(&self, signal: Signal) {
        if let Some(group) = Group::from_raw(self.group) {
            // Nobody may be left in it, which is what the signal is for.
            let _ = kill_process_group(group, signal);
        }
    }
}

fn bit(number: u8) -> u64 {
    number.checked_sub(1).and_then(|shift| 1_u64.checked_shl(shift.into())).unwrap_or(0)
}

fn send(group: i32, number: u8) {
    let named = Signal::from_named_raw(number.into());
    // SAFETY: the kernel knows these signals, and the C library has no use for them.
    let real_time = || unsafe { Signal::from_raw_unchecked(number.into()) };
    let signal = named.or_else(|| REAL_TIME_SIGNALS.contains(&number).then(real_time));
    // 1 would be PID 1's own group, and a group that is gone needs no signal.
    if let (Some(group), Some(signal)) = (Group::from_raw(group).filter(|_| group > 1), signal) {
        let _ = kill_process_group(group, signal);
    }
}
