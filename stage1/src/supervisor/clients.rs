//! The supervisor's part in the control socket.
//!
//! Responsible for: carrying out what clients ask for and commands say. Must not know: what may pass between the two
//! (`control_socket::sessions`). Follows docs/architecture.md, "The control socket".

use std::time::Instant;

use rustix::event::PollFd;

use super::Supervisor;
use super::ending::LAST_WORDS_GRACE;
use super::error::SupervisorError;
use super::waiting::poll_until;
use crate::control_socket::protocol::{Reply, Request};
use crate::control_socket::server::Event;
use crate::control_socket::sessions::Effect;

/// What may wait for the guest to read it before clients are not listened to any more. A command line is the longest message, and a
/// pod's specification.
const MAX_WAITING_FOR_GUEST_BYTES: usize = 1024 * 1024;

impl Supervisor<'_> {
    /// Whether what clients say has somewhere to go.
    pub(super) fn may_hear_clients(&self) -> bool {
        self.pod.control.outgoing_bytes() < MAX_WAITING_FOR_GUEST_BYTES
    }

    /// Hears clients, and does what they ask for.
    pub(super) fn serve_clients(&mut self) -> Result<(), SupervisorError> {
        let events = self.pod.clients.serve(self.may_hear_clients(), Instant::now());
        self.take_events(events)
    }

    /// Writes what clients take.
    pub(super) fn flush_clients(&mut self) -> Result<(), SupervisorError> {
        let events = self.pod.clients.flush();
        self.take_events(events)
    }

    /// Lets programs attach to apps, and passes on what they say.
    pub(super) fn hear_attached(&mut self) -> Result<(), SupervisorError> {
        for message in self.attachments.hear(self.may_hear_clients(), Instant::now()) {
            self.pod.control.send(&message)?;
        }
        Ok(())
    }

    /// Writes what attached programs take.
    pub(super) fn flush_attached(&mut self) -> Result<(), SupervisorError> {
        let outcome = self.attachments.flush(Instant::now());
        for warning in outcome.warnings {
            self.outputs.say(&warning);
        }
        for taken in outcome.taken {
            self.taken(taken)?;
        }
        Ok(())
    }

    fn take_events(&mut self, events: Vec<Event>) -> Result<(), SupervisorError> {
        for event in events {
            self.pod.metrics.counts.requests.add(u64::from(matches!(event, Event::Request(..))));
            let effects = match event {
                Event::Request(client, Request::Metrics) => {
                    vec![Effect::Reply(client, Reply::Metrics(self.metrics_text()))]
                }
                Event::Request(client, request) => {
                    let is_running = self.conversation.is_running();
                    match self.apps.request(client, &request, is_running) {
                        Some(effects) => {
                            self.carry_out_for_apps(effects)?;
                            continue;
                        }
                        None => self.sessions.request(client, request),
                    }
                }
                Event::Gone(client) => self.sessions.gone(client),
            };
            self.carry_out_effects(effects)?;
        }
        Ok(())
    }

    pub(super) fn carry_out_effects(&mut self, effects: Vec<Effect>) -> Result<(), SupervisorError> {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.pod.control.send(&message)?,
                Effect::Reply(client, reply) => {
                    let gone = self.pod.clients.reply(client, reply);
                    self.take_events(gone.into_iter().collect())?;
                }
                Effect::Disconnect(client) => {
                    let gone = self.pod.clients.remove(client);
                    self.take_events(gone.into_iter().collect())?;
                }
                Effect::Stop { force: false } => {
                    self.asked_to_stop = true;
                    self.stop()?;
                }
                Effect::Stop { force: true } => {
                    // The client is to know before a pod that has not started dies of it.
                    self.flush_clients()?;
                    self.kill()?;
                }
            }
        }
        Ok(())
    }

    /// The pod has ended: tells everybody, and gives those a moment who have not yet taken what was said.
    pub(super) fn dismiss_clients(&mut self) -> Result<(), SupervisorError> {
        let effects = self.sessions.pod_ended();
        self.carry_out_effects(effects)?;
        let effects = self.apps.pod_ended();
        self.carry_out_for_apps(effects)?;
        let until = Instant::now() + LAST_WORDS_GRACE;
        loop {
            self.pod.clients.flush();
            if !self.pod.clients.owes_last_words() || Instant::now() >= until {
                return Ok(());
            }
            let clients = self.pod.clients.interests(true).into_iter();
            let mut descriptors: Vec<PollFd<'_>> =
                clients.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
            poll_until(&mut descriptors, Some(until))?;
            self.pod.clients.serve(true, Instant::now());
        }
    }
}
