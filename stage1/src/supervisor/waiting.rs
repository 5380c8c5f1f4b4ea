//! What the supervisor waits for.
//!
//! Responsible for: which descriptors are worth waiting for, until when, and which of them are ready. Must not know: what is done about
//! it. Follows poll(2).

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Console, PortForwarder, Supervisor, SupervisorError};

/// What the loop waits for.
enum Source {
    Control,
    Signals,
    Vmm,
    Files,
    Nodes,
    Forwarder,
    Serial,
    Sink,
    Tunnel,
    Clients,
    Attached,
    Console,
    Clock,
    Tree,
}

/// What the loop woke up for.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) control: bool,
    pub(super) signals: bool,
    pub(super) vmm: bool,
    pub(super) files: bool,
    pub(super) nodes: bool,
    pub(super) forwarder: bool,
    pub(super) serial: bool,
    pub(super) clients: bool,
    pub(super) attached: bool,
    pub(super) tree: bool,
    pub(super) console: bool,
    pub(super) clock: bool,
}

impl Supervisor<'_> {
    pub(super) fn wait(&self, files_alive: bool, signals: &SignalFd) -> Result<Ready, SupervisorError> {
        let mut waited: Vec<(Source, PollFd<'_>)> = Vec::new();
        let mut add = |source, fd, flags| waited.push((source, PollFd::from_borrowed_fd(fd, flags)));
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.pod.control.is_closed() && self.may_hear_guest());
        flags.set(PollFlags::OUT, self.pod.control.has_outgoing());
        if !flags.is_empty() {
            add(Source::Control, self.pod.control.descriptor(), flags);
        }
        add(Source::Signals, signals.as_fd(), PollFlags::IN);
        add(Source::Vmm, self.pod.vmm.descriptor(), PollFlags::IN);
        if files_alive {
            add(Source::Files, self.pod.files.descriptor(), PollFlags::IN);
        }
        if let Some(nodes) = self.pod.nodes.descriptor() {
            add(Source::Nodes, nodes, PollFlags::IN);
        }
        if let Some(forwarder) = self.pod.forwarder.as_ref().and_then(PortForwarder::descriptor) {
            add(Source::Forwarder, forwarder, PollFlags::IN);
        }
        if let Some(serial) = self.kernel.descriptor() {
            add(Source::Serial, serial, PollFlags::IN);
        }
        if let Some(log) = self.outputs.blocked_log() {
            add(Source::Sink, log, PollFlags::OUT);
        }
        for descriptor in self.outputs.blocked() {
            add(Source::Sink, descriptor, PollFlags::OUT);
        }
        let may_hear = self.may_hear_clients();
        for (descriptor, flags) in self.attachments.interests(may_hear) {
            add(Source::Attached, descriptor, flags);
        }
        for (descriptor, flags) in self.pod.clients.interests(may_hear) {
            add(Source::Clients, descriptor, flags);
        }
        for (descriptor, flags) in self.tunnels.interests(self.may_hear_clients()) {
            add(Source::Tunnel, descriptor, flags);
        }
        if let Some(stdin) = self.console.as_ref().and_then(Console::descriptor) {
            add(Source::Console, stdin, PollFlags::IN);
        }
        add(Source::Clock, self.clock.descriptor(), PollFlags::IN);
        if let Some(change) = self.tree.descriptor() {
            add(Source::Tree, change, PollFlags::IN);
        }
        let (sources, mut descriptors): (Vec<_>, Vec<_>) = waited.into_iter().unzip();
        let visit = self.visit_at();
        let due = self.pod.forwarder.as_ref().and_then(PortForwarder::due);
        let until = [self.kill_at.at(), self.call_at(), visit, self.tunnels.deadline(), due];
        let until = until.into_iter().flatten().min();
        poll_until(&mut descriptors, until)?;
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        let (overdue, forwarder) = (is_over(visit), is_over(due));
        let mut ready = Ready { clients: overdue, attached: overdue, forwarder, ..Ready::default() };
        for (source, descriptor) in sources.into_iter().zip(descriptors) {
            let woken = !descriptor.revents().is_empty();
            match source {
                Source::Control => ready.control = woken,
                Source::Signals => ready.signals = woken,
                Source::Vmm => ready.vmm = woken,
                Source::Files => ready.files = woken,
                Source::Nodes => ready.nodes = woken,
                Source::Forwarder => ready.forwarder |= woken,
                Source::Serial => ready.serial = woken,
                Source::Clients => ready.clients |= woken,
                Source::Console => ready.console = woken,
                Source::Tree => ready.tree = woken,
                Source::Clock => ready.clock = woken,
                Source::Attached => ready.attached |= woken,
                Source::Sink | Source::Tunnel => {}
            }
        }
        Ok(ready)
    }

    /// When clients are to be looked at even if none of them does anything.
    pub(super) fn visit_at(&self) -> Option<Instant> {
        [self.pod.clients.deadline(), self.attachments.deadline()].into_iter().flatten().min()
    }

    /// Until when the guest has to call, if it has not yet. A time beyond what the clock can tell is never.
    pub(super) fn call_at(&self) -> Option<Instant> {
        if self.conversation.has_begun() { None } else { self.pod.started.checked_add(self.pod.boot_timeout) }
    }

    /// Whether somebody has still to take something of an app's output.
    pub(super) fn is_waiting(&self) -> bool {
        self.outputs.is_waiting() || self.attachments.is_waiting()
    }
}

/// Waits until one of the descriptors is ready, or until `at`.
pub fn poll_until(descriptors: &mut [PollFd<'_>], at: Option<Instant>) -> Result<(), SupervisorError> {
    let timeout = at.map(|at| {
        // Rounded up, so that the time has come when the wait is over.
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    match poll(descriptors, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(SupervisorError::Wait(errno.into())),
    }
}
