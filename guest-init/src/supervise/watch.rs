//! Waiting for something to happen.
//!
//! Responsible for: which descriptors are worth waiting for, until when, and whose each is. Must not know: what is done
//! about it. Follows poll(2).

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use guest_api::{AppId, Process, StdioStream};
use rustix::event::{PollFd, PollFlags};

use super::Supervisor;
use super::child::Child;
use crate::app::descriptors::Descriptors;
use crate::{pod, session};

/// What a ready descriptor belongs to.
#[derive(Clone, Copy, Debug)]
enum Source {
    Control,
    Signals,
    Report(Process),
    Output(Process, StdioStream),
    Input(Process),
    Notification(AppId),
    /// Any of the tunnels.
    Tunnel,
}

impl Supervisor {
    pub(super) fn wait(&mut self) {
        let deadlines = self.children.values().filter_map(|child| child.deadline).chain(self.deadline);
        let until = if self.may_send_what_is_owed() { Some(Instant::now()) } else { deadlines.min() };
        let timeout = until.map(|it| it.saturating_duration_since(Instant::now()));
        for source in self.poll(timeout) {
            match source {
                Source::Control => self.receive(),
                Source::Report(process) => self.read_report(process),
                Source::Output(process, stream) => {
                    self.relay(process, stream);
                }
                Source::Input(process) => {
                    if let Some(child) = self.children.get_mut(&process) {
                        child.descriptors.input.write();
                    }
                    self.grant_input(process);
                }
                // They are relayed whatever it was that happened.
                Source::Tunnel => {}
                Source::Notification(app) => self.hear_notifications(app),
                Source::Signals => {
                    // One SIGCHLD may stand for many ended processes; what counts is that one was read.
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                    self.reap();
                }
            }
        }
        self.notice_deadlines(Instant::now());
    }

    /// A terminal that owes nothing any more does not become readable, so nobody would wake.
    fn may_send_what_is_owed(&self) -> bool {
        let owes = |child: &Child| {
            let streams = Descriptors::STREAMS.map(|stream| child.descriptors.stream(stream));
            streams.iter().any(|stream| !stream.owes_nothing() && stream.readable().is_some())
        };
        self.control.has_room() && self.children.values().any(owes)
    }

    fn notice_deadlines(&mut self, now: Instant) {
        if self.deadline.take_if(|deadline| *deadline <= now).is_some() {
            self.events.push_back(pod::Event::DeadlinePassed.into());
        }
        for (process, child) in &mut self.children {
            if child.deadline.take_if(|deadline| *deadline <= now).is_some() {
                self.events.push_back(match process {
                    Process::App(app) => pod::Event::AppDeadlinePassed(*app).into(),
                    Process::Session(session) => session::Event::DeadlinePassed(*session).into(),
                });
            }
        }
    }

    /// Waits, and says what is ready, in the order in which it should be looked at: a process's start before its output,
    /// its output before its end.
    fn poll(&self, timeout: Option<Duration>) -> Vec<Source> {
        let mut sources = vec![Source::Control];
        let mut descriptors = vec![PollFd::new(&self.control, self.control.interest())];
        for (process, child) in &self.children {
            if let Some(report) = &child.report {
                sources.push(Source::Report(*process));
                descriptors.push(PollFd::new(report, PollFlags::IN));
            }
            if let Some(input) = child.descriptors.input.writable() {
                sources.push(Source::Input(*process));
                descriptors.push(PollFd::from_borrowed_fd(input, PollFlags::OUT));
            }
        }
        if self.control.has_room() {
            for (process, child) in self.children.iter().filter(|(_, child)| child.report.is_none()) {
                for stream in Descriptors::STREAMS {
                    if let Some(output) = child.descriptors.stream(stream).readable() {
                        sources.push(Source::Output(*process, stream));
                        descriptors.push(PollFd::from_borrowed_fd(output, PollFlags::IN));
                    }
                }
            }
        }
        for (socket, flags) in self.tunnels.interests(self.control.has_room()) {
            sources.push(Source::Tunnel);
            descriptors.push(PollFd::from_borrowed_fd(socket, flags));
        }
        for (app, socket) in &self.notify {
            sources.push(Source::Notification(*app));
            descriptors.push(PollFd::new(socket, PollFlags::IN));
        }
        sources.push(Source::Signals);
        descriptors.push(PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN));
        let timeout = timeout.and_then(|time| time.try_into().ok());
        match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) => sources
                .into_iter()
                .zip(&descriptors)
                .filter(|(_, descriptor)| !descriptor.revents().is_empty())
                .map(|(source, _)| source)
                .collect(),
            Err(_) => Vec::new(),
        }
    }
}
