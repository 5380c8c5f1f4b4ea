//! The processes of one app, one after the other: event handlers, the app itself, event handlers again.
//!
//! Responsible for: what is made once for all of them (control group, descriptors, the socket for notifications) and what for
//! each. Must not know: which comes when ([`crate::pod`] decides). Follows rkt-reference 6.10.

use std::os::fd::OwnedFd;

use guest_api::{AppId, AppSpec, Destination, Process, ToHost};
use tunnels::Target;

use super::Supervisor;
use super::child::Child;
use crate::app::descriptors::Descriptors;
use crate::app::notify::NotifySocket;
use crate::app::{cgroup, descriptors, start};
use crate::pod::{self, Step};
use crate::{InitError, sentence, sockets};

impl Supervisor {
    /// Makes the process for a step of the app. What the app takes from the share was mounted before.
    pub(super) fn start_step(&mut self, app: AppId, step: Step) {
        if let Err(error) = self.try_start_step(app, step) {
            self.events.push_back(pod::Event::StartFailed { app, reason: sentence(&error) }.into());
        }
    }

    fn try_start_step(&mut self, app: AppId, step: Step) -> Result<(), InitError> {
        // What the last one wrote is told under its own name, as far as there is credit for it.
        for stream in Descriptors::STREAMS {
            while self.control.has_room() && self.relay(Process::App(app), stream) {}
        }
        let spec = self.apps.get(&app).ok_or(InitError::UnknownApp(app.0))?;
        for socket in spec.sockets.iter().filter(|_| step == Step::Main) {
            if let Some(number) = socket.number {
                self.tunnels.serve(Destination::Socket(number), Target::Inet(socket.address));
            }
        }
        let namespace = self.namespaces.get(&app);
        if let Some(child) = self.children.get_mut(&Process::App(app)) {
            // It went with the app if nothing was to come after it.
            let handed = child.handed.as_ref().ok_or_else(no_step)?;
            let sockets = sockets_for(spec, step)?;
            let (pid, report) = start::step(spec, step, namespace, handed, &sockets)?;
            child.go_on(pid, report);
            child.keep_for(step, spec);
            return Ok(());
        }
        cgroup::create(spec.id, &spec.name, &spec.isolation)?;
        if spec.lifecycle.says_when_ready {
            self.notify.insert(app, NotifySocket::listen(app)?);
        }
        let (descriptors, handed) = descriptors::make(spec.stdio)?;
        let sockets = sockets_for(spec, step)?;
        let (pid, report) = start::step(spec, step, namespace, &handed, &sockets)?;
        let mut child = Child::of_app(start::Started { pid, report, descriptors }, handed);
        child.keep_for(step, spec);
        self.children.insert(Process::App(app), child);
        Ok(())
    }

    /// The app has ended: what happened to it is told first.
    pub(super) fn tell(&mut self, message: &ToHost) {
        if let ToHost::Exited { app, .. } = message
            && cgroup::out_of_memory_kills(*app) > 0
        {
            self.control.queue(&ToHost::OutOfMemory { app: *app });
        }
        self.control.queue(message);
    }

    pub(super) fn hear_notifications(&mut self, app: AppId) {
        let Some(said) = self.notify.get(&app).map(NotifySocket::hear) else { return };
        if said.ready {
            self.events.push_back(pod::Event::SaysReady(app).into());
        }
        let notices = said.notices();
        // The host hears only of apps that it knows to run; and it can do without, if it does not read.
        let runs = self.children.get(&Process::App(app)).is_some_and(|child| child.has_run);
        if !notices.is_empty() && runs && self.control.has_room() {
            self.control.queue(&ToHost::Notices { app, notices });
        }
    }
}

impl Child {
    /// Lets go of the app's ends of its descriptors as far as no later step needs them: while PID 1 has them, nobody sees that
    /// the app has closed them.
    fn keep_for(&mut self, step: Step, app: &AppSpec) {
        if step != Step::Main {
            return;
        }
        if app.lifecycle.post_stop.is_empty() {
            self.handed = None;
        } else if let Some(handed) = &mut self.handed {
            handed.close_input();
        }
    }
}

/// The app itself listens, not its event handlers. Nobody else does: when it has ended, whoever connects is refused.
fn sockets_for(app: &AppSpec, step: Step) -> Result<Vec<OwnedFd>, InitError> {
    if step == Step::Main { sockets::make(&app.sockets) } else { Ok(Vec::new()) }
}

fn no_step() -> InitError {
    InitError::Specification("the app has no event handler to come".to_owned())
}
