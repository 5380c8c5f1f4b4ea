//! What the host says.
//!
//! Responsible for: carrying each message to the process or the state machine that it is about; messages about processes that
//! are gone crossed the news of it on the wire and go nowhere. Must not know: framing. Follows guest-api.

use guest_api::{AppId, AppSpec, Process, SessionSpec, ToGuest, ToHost};

use super::{Event, Supervisor};
use crate::control::{Received, name};
use crate::session::{self, Refusal};
use crate::{InitError, app, clock, console, pod, sentence};

use super::child::Child;

impl Supervisor {
    pub(super) fn receive(&mut self) {
        match self.control.receive() {
            Ok(Received::Bytes) => self.obey_messages(),
            Ok(Received::Closed) => self.events.push_back(pod::Event::ControlLost.into()),
            Err(error) => self.lose_control(&error),
        }
    }

    pub(super) fn obey_messages(&mut self) {
        loop {
            match self.control.next_message().and_then(|message| message.map(|it| self.obey(it)).transpose())
            {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => return self.lose_control(&error),
            }
        }
    }

    fn lose_control(&mut self, error: &InitError) {
        console::say(&sentence(error));
        self.events.push_back(pod::Event::ControlLost.into());
    }

    fn obey(&mut self, message: ToGuest) -> Result<(), InitError> {
        match message {
            ToGuest::Configure(_) => return Err(InitError::UnexpectedMessage(name(&message))),
            ToGuest::Stop => self.events.push_back(pod::Event::StopRequested.into()),
            ToGuest::Kill => self.events.push_back(pod::Event::KillRequested.into()),
            ToGuest::Exec(spec) => self.exec(&spec)?,
            ToGuest::StartApp(spec) => self.add_app(*spec)?,
            ToGuest::StopApp(app) => self.events.push_back(pod::Event::AppStopRequested(app).into()),
            ToGuest::ForgetApp(app) => self.forget_app(app)?,
            ToGuest::HangUp(session) => self.events.push_back(session::Event::HungUp(session).into()),
            ToGuest::Credit { process, stream, bytes } => {
                if let Some(child) = self.children.get_mut(&process) {
                    child.descriptors.stream_mut(stream).grant(bytes);
                }
            }
            ToGuest::Input { process, data } => self.input(process, &data)?,
            ToGuest::InputClosed(process) => {
                if let Some(child) = self.children.get_mut(&process) {
                    child.descriptors.input.finish();
                }
            }
            ToGuest::Resize { process, size } => {
                if let Some(terminal) =
                    self.children.get(&process).and_then(|child| child.descriptors.terminal())
                    && let Err(error) = terminal.resize(size)
                {
                    console::say(&format!("cannot resize a terminal: {error}"));
                }
            }
            ToGuest::Signal { process, signal } => {
                if let Some(child) = self.children.get_mut(&process) {
                    child.signal(signal);
                }
            }
            ToGuest::Tunnel(message) => self.tunnels.receive(&message).map_err(InitError::Tunnel)?,
            ToGuest::Clock { realtime_ns } => {
                if let Err(error) = clock::follow(realtime_ns) {
                    console::say(&sentence(&error));
                }
            }
        }
        Ok(())
    }

    fn input(&mut self, process: Process, data: &[u8]) -> Result<(), InitError> {
        let Some(child) = self.children.get_mut(&process) else { return Ok(()) };
        child.descriptors.input.accept(data).map_err(|_| InitError::InputBeyondCredit)?;
        self.grant_input(process);
        Ok(())
    }

    /// Starts a command, or says why not.
    fn exec(&mut self, spec: &SessionSpec) -> Result<(), InitError> {
        let session = spec.id;
        if let Err(refusal) = self.sessions.admit(spec) {
            if let Refusal::InUse(_) = refusal {
                // The host would take the answer for that of the other one.
                return Err(InitError::SessionNumber(refusal));
            }
            self.control.queue(&ToHost::SessionFailed { session, reason: refusal.to_string() });
            return Ok(());
        }
        match self.start_session(spec) {
            Ok(child) => drop(self.children.insert(Process::Session(session), child)),
            Err(error) => {
                let reason = sentence(&error);
                self.events.push_back(session::Event::StartFailed { session, reason }.into());
            }
        }
        Ok(())
    }

    /// Starts another app, or says why not.
    fn add_app(&mut self, spec: AppSpec) -> Result<(), InitError> {
        let app = spec.id;
        let step = match self.pod.admit(app, &spec.lifecycle) {
            Ok(step) => step,
            Err(refusal @ pod::Refusal::PodEnding) => {
                self.control.queue(&ToHost::StartFailed { app, reason: refusal.to_string() });
                return Ok(());
            }
            // The host would take the answer for that of another one.
            Err(refusal) => return Err(InitError::AppNumber(refusal)),
        };
        self.apps.insert(app, spec);
        if let Some(step) = step {
            self.start_step(app, step);
        }
        Ok(())
    }

    fn forget_app(&mut self, app: AppId) -> Result<(), InitError> {
        if self.pod.needs(app) {
            return Err(InitError::AppNotOver(app.0));
        }
        if self.pod.has(app) {
            self.events.push_back(pod::Event::ForgetRequested(app).into());
        } else {
            // One that came too late to be started.
            self.control.queue(&ToHost::Forgotten(app));
        }
        Ok(())
    }

    fn start_session(&self, spec: &SessionSpec) -> Result<Child, InitError> {
        let app = self.apps.get(&spec.app).ok_or(InitError::UnknownApp(spec.app.0))?;
        let namespace =
            self.namespaces.get(&spec.app).ok_or_else(|| InitError::AppNotStarted(app.name.clone()))?;
        app::start::session(spec, app, namespace).map(Child::new)
    }
}

/// What happened to a process, in the words of the state machine that it belongs to.
pub(super) fn executed(process: Process, pid: u32) -> Event {
    match process {
        Process::App(app) => pod::Event::Executed { app, pid }.into(),
        Process::Session(session) => session::Event::Executed { session, pid }.into(),
    }
}
