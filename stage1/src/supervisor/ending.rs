//! How a pod ends when somebody wants it to, and what is still said then.
//!
//! Responsible for: what is stopped, how long who has for it, and that nothing an app wrote is lost. Must not know: who asks
//! (`user`, `clients`). Follows docs/architecture.md, "While the pod runs", and rkt-reference 4.3.

use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};

use super::waiting::poll_until;
use super::{Supervisor, SupervisorError};
use crate::plan::STOP_GRACE_MS;

/// How much longer than the apps' grace period the guest has to sync and unmount before the VM is killed.
pub(super) const HALT_GRACE: Duration = Duration::from_secs(10);

/// The apps' grace period.
const STOP_GRACE: Duration = Duration::from_millis(STOP_GRACE_MS as u64);

/// How long the guest has to kill everything, sync and halt when the pod is stopped by force. `stop --force` waits a little longer
/// before it kills the supervisor.
const KILL_GRACE: Duration = Duration::from_secs(3);

/// How long the pod's end waits for clients to take what their commands said last.
pub(super) const LAST_WORDS_GRACE: Duration = Duration::from_secs(1);

impl Supervisor<'_> {
    /// The pod is to end in order.
    pub(super) fn stop(&mut self) -> Result<(), SupervisorError> {
        self.stop_requested = true;
        self.manager.stopping();
        // Whoever connects from now on waits for the next start.
        self.tunnels.stop_listening();
        self.sessions.pod_ends();
        self.apps.pod_ends();
        let actions = self.conversation.stop();
        self.carry_out(actions)?;
        self.kill_within(self.stop_grace() + HALT_GRACE, "it did not stop in time");
        Ok(())
    }

    /// The pod is to end at once.
    pub(super) fn kill(&mut self) -> Result<(), SupervisorError> {
        self.stop_requested = true;
        self.asked_to_stop = true;
        self.forced = true;
        self.manager.stopping();
        self.tunnels.stop_listening();
        self.sessions.pod_ends();
        self.apps.pod_ends();
        let (asked, actions) = self.conversation.kill();
        if !asked {
            return Err(SupervisorError::Killed("it was stopped by force before its guest had started"));
        }
        self.carry_out(actions)?;
        self.kill_within(KILL_GRACE, "it was stopped by force");
        Ok(())
    }

    /// Event handlers that run after apps have a grace period of their own, which begins when the apps were killed.
    pub(super) fn stop_grace(&self) -> Duration {
        let of_pod = self.pod.guest.apps.iter().any(|app| !app.lifecycle.post_stop.is_empty());
        if of_pod || self.apps.clean_up() { STOP_GRACE * 2 + HALT_GRACE } else { STOP_GRACE }
    }

    pub(super) fn kill_within(&mut self, time: Duration, reason: &'static str) {
        self.kill_at.within(Instant::now(), time, reason);
    }

    /// Writes everything the apps wrote. With `signals`, waits until its readers have taken it, or until a signal says that
    /// nobody wants to wait for whoever does not read.
    pub(super) fn drain(&mut self, signals: Option<&SignalFd>) -> Result<(), SupervisorError> {
        while self.kernel.descriptor().is_some() {
            self.relay_kernel_messages();
        }
        // Streams that a guest without last words left open.
        self.outputs.close_all();
        self.outputs.finish_logs(LAST_WORDS_GRACE);
        self.attachments.close_all();
        loop {
            self.flush()?;
            self.flush_clients()?;
            let Some(signals) = signals.filter(|_| self.is_waiting() && !self.forced) else {
                return Ok(());
            };
            let mut descriptors = vec![PollFd::new(signals, PollFlags::IN)];
            descriptors.extend(self.outputs.blocked().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
            let clients =
                self.pod.clients.interests(true).into_iter().chain(self.attachments.interests(true));
            descriptors.extend(clients.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
            poll_until(&mut descriptors, self.visit_at())?;
            if self.was_told_to_leave(signals)? {
                return Ok(());
            }
            self.serve_clients()?;
            self.hear_attached()?;
        }
    }
}
