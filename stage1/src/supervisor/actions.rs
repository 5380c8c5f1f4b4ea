//! What follows from a message of the guest.
//!
//! Responsible for: carrying out the actions of the conversation, each with everybody whom it concerns. Must not know: which message
//! means what (`guest`). Follows docs/architecture.md, "While the pod runs".

use std::collections::BTreeSet;
use std::time::Instant;

use guest_api::{AppId, Destination, ToGuest};

use super::ending::HALT_GRACE;
use super::error::SupervisorError;
use super::{Pod, Run, Supervisor, measures};
use crate::diagnostics::sentence;
use crate::guest::{Action, Violation};
use crate::status::{self, StatusError};

impl Supervisor<'_> {
    pub(super) fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), SupervisorError> {
        for action in actions {
            match action {
                Action::Send(message) => {
                    self.pod.control.send(&message)?;
                    if *message == ToGuest::Stop {
                        self.sessions.pod_ends();
                        self.kill_within(self.stop_grace() + HALT_GRACE, "it did not stop in time");
                    }
                }
                Action::AppStarted { app, pid } => {
                    self.pod.metrics.marks.app.set();
                    self.start_console(app)?;
                    self.speaks(app, pid);
                    let effects = self.sessions.app_started(app);
                    self.carry_out_effects(effects)?;
                    let effects = self.apps.started(app);
                    self.carry_out_for_apps(effects)?;
                }
                Action::HandlerStarted { app, pid } => self.speaks(app, pid),
                Action::StartFailed { app, reason } => {
                    let text = format!("app {:?} cannot be started: {reason}", self.name(app));
                    self.outputs.say(&text);
                    // Its event handlers may have run, and somebody may be attached.
                    self.attachments.ended(app);
                    let effects = self.sessions.app_failed(app);
                    self.carry_out_effects(effects)?;
                    let effects = self.apps.start_failed(app, &reason);
                    self.carry_out_for_apps(effects)?;
                }
                Action::OfSession(message) => {
                    let effects = self.sessions.receive(message)?;
                    self.carry_out_effects(effects)?;
                }
                Action::OfTunnel(message) => self.tunnels.receive(&message).map_err(Violation::Tunnel)?,
                Action::InputCredit { app, bytes } => match &mut self.console {
                    Some(console) if console.app() == app => console.grant(bytes)?,
                    _ => self.attachments.grant(app, bytes)?,
                },
                Action::PodReady => {
                    self.warn(status::pod_is_ready());
                    measures::record_phases(&self.pod.metrics);
                    self.manager.ready();
                    self.listen_for_apps()?;
                }
                Action::Notices { app, notices } => {
                    let name = self.runs.get(&app).map_or("", |run| run.name.as_str());
                    self.manager.pass_on(name, &notices, Instant::now());
                }
                Action::Output { app, stream, data } => {
                    self.attachments.push(app, stream, &data);
                    self.outputs.push(app, stream, &data);
                }
                Action::OutputClosed { app, stream } => {
                    self.attachments.close(app, stream);
                    self.outputs.close(app, stream);
                }
                Action::RecordStatus { app, status } => {
                    self.warn(status::app_ended(self.name(app), status));
                    if let Some(console) = self.console.as_mut().filter(|console| console.app() == app) {
                        console.finish();
                    }
                    self.attachments.ended(app);
                    let effects = self.apps.exited(app);
                    self.carry_out_for_apps(effects)?;
                    if self.pod.additions.flags.mutable {
                        continue;
                    }
                    self.running = self.running.saturating_sub(1);
                    if self.running == 0 || status != 0 {
                        self.manager.stopping();
                        self.sessions.pod_ends();
                    }
                    if self.running == 0 {
                        self.kill_within(HALT_GRACE, "its guest did not halt after the last app ended");
                    } else if status != 0 {
                        self.kill_within(self.stop_grace() + HALT_GRACE, "it did not stop in time");
                    }
                }
                Action::Complain(reason) => self.outputs.say(&reason),
                Action::Forgotten(app) => self.forgotten(app)?,
                Action::Finished => {}
            }
        }
        Ok(())
    }

    /// What the pod's processes do without on this host.
    pub(super) fn tell_missing(&mut self) {
        let Pod { vmm, files, groups, .. } = &self.pod;
        let of_group = groups.missing().iter().map(|wall| (*wall).to_owned());
        let missing: BTreeSet<String> =
            vmm.missing().into_iter().chain(files.missing()).chain(of_group).collect();
        if !missing.is_empty() {
            let walls: Vec<String> = missing.into_iter().collect();
            let text =
                format!("warning: this host lacks {}: the pod is confined without", walls.join(" and "));
            self.outputs.say(&text);
        }
    }

    /// Whoever has connected to the sockets that came with rkt reaches the apps from now on.
    fn listen_for_apps(&mut self) -> Result<(), SupervisorError> {
        for (number, socket) in std::mem::take(&mut self.pod.passed) {
            let taken = self.tunnels.listen(Destination::Socket(number), socket);
            taken.map_err(|error| SupervisorError::PassedSocket(error.into()))?;
        }
        Ok(())
    }

    /// What the app writes from now on is written by `pid`.
    fn speaks(&mut self, app: AppId, pid: u32) {
        let Some(Run { name, streams }) = self.runs.get(&app) else { return };
        self.outputs.started(app, name, pid, streams);
        if let Err(error) = self.attachments.started(app, name, streams) {
            self.outputs.say(&format!("warning: nobody can attach to app {name:?}: {error}"));
        }
    }

    fn name(&self, app: AppId) -> &str {
        self.runs.get(&app).map_or("", |run| run.name.as_str())
    }

    pub(super) fn warn(&mut self, result: Result<(), StatusError>) {
        if let Err(error) = result {
            self.outputs.say(&sentence(&error));
        }
    }
}
