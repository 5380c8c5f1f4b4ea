//! The supervisor's part in apps that come and go.
//!
//! Responsible for: carrying out what `apps` decides, and the one process at a time that changes the shared tree of the file
//! server. Must not know: who may ask for what when. Follows docs/architecture.md, "Apps that come and go".

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use guest_api::AppId;

use super::error::SupervisorError;
use super::{Run, Supervisor};
use crate::apps::Effect;
use crate::control_socket::sessions;
use crate::diagnostics::sentence;
use crate::error::EntrypointError;
use crate::flags::RunFlags;
use crate::plan::{self, AppPlan, HostFacts, SharePlan};
use crate::pod_directory;
use crate::process::{self, Child, Company, End};
use crate::shares;
use crate::status;
use crate::users::Users;

/// What later apps are planned with.
#[derive(Debug)]
pub struct Additions {
    /// How the pod was started.
    pub flags: RunFlags,
    /// Facts of the host when it was.
    pub host: HostFacts,
    /// Memory of its machine.
    pub memory_mib: u32,
    /// Who is who in its files, if there can be user name spaces.
    pub users: Option<Users>,
}

impl Additions {
    /// Plans an app that stage0 has written down in the pod directory.
    pub fn plan(&self, name: &str) -> Result<AppPlan, EntrypointError> {
        let pod = pod_directory::pod_manifest()?;
        let images = pod_directory::image_manifests(&pod)?;
        Ok(plan::added_app(&self.flags, &pod, name, &images, &self.host, self.memory_mib)?)
    }
}

/// A change of the shared tree.
#[derive(Debug)]
enum Change {
    Add(String, Box<AppPlan>),
    Remove(String),
}

/// The file server's tree, to which apps and volumes are added and from which they are taken.
#[derive(Debug)]
pub struct SharedTree {
    server: OwnedFd,
    waiting: VecDeque<Change>,
    current: Option<(Change, Child)>,
}

impl SharedTree {
    /// Of the file server behind this descriptor.
    pub fn new(server: OwnedFd) -> Self {
        Self { server, waiting: VecDeque::new(), current: None }
    }

    /// Readable when a change is done.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.current.as_ref().map(|(_, child)| child.descriptor())
    }
}

impl Supervisor<'_> {
    pub(super) fn carry_out_for_apps(&mut self, effects: Vec<Effect>) -> Result<(), SupervisorError> {
        for effect in effects {
            match effect {
                Effect::Reply(client, reply) => {
                    self.carry_out_effects(vec![sessions::Effect::Reply(client, reply)])?;
                }
                Effect::Add(name) => self.add(name)?,
                Effect::Start(app, plan) => {
                    let AppPlan { spec, streams, kubernetes_log, .. } = *plan;
                    self.outputs.add(&spec.name, kubernetes_log);
                    self.sessions.app_starts(app, &spec.name);
                    self.runs.insert(app, Run { name: spec.name.clone(), streams });
                    let actions = self.conversation.start_app(spec);
                    self.carry_out(actions)?;
                }
                Effect::Stop(app) => {
                    let actions = self.conversation.stop_app(app);
                    self.carry_out(actions)?;
                }
                Effect::Forget(app, name) => {
                    self.sessions.app_is_forgotten(&name);
                    let actions = self.conversation.forget_app(app);
                    self.carry_out(actions)?;
                }
                Effect::Remove(name) => {
                    let effects = self.sessions.app_removed(&name);
                    self.carry_out_effects(effects)?;
                    self.tree.waiting.push_back(Change::Remove(name));
                    self.change_tree()?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String) -> Result<(), SupervisorError> {
        match self.pod.additions.plan(&name) {
            Ok(plan) => {
                for warning in &plan.warnings {
                    self.outputs.say(&warning.text);
                }
                self.tree.waiting.push_back(Change::Add(name, Box::new(plan)));
                self.change_tree()
            }
            Err(error) => {
                let effects = self.apps.added(&name, Err(sentence(&error)));
                self.carry_out_for_apps(effects)
            }
        }
    }

    /// Begins with the next change, in a process of its own: the host's file systems may keep it waiting, and the pod may not
    /// wait with it.
    fn change_tree(&mut self) -> Result<(), SupervisorError> {
        if self.tree.current.is_some() {
            return Ok(());
        }
        let Some(change) = self.tree.waiting.pop_front() else { return Ok(()) };
        let server = self.tree.server.try_clone().map_err(SupervisorError::Wait)?;
        let told = |result: Result<(), shares::ShareError>| result.map_err(|error| sentence(&error));
        let child = match &change {
            Change::Add(name, plan) => {
                let users = self.pod.additions.users.as_ref();
                let users_descriptor = users.map(|users| users.as_fd().as_raw_fd());
                let keep: Vec<RawFd> = users_descriptor.into_iter().chain([server.as_raw_fd()]).collect();
                let there: Vec<String> = self.apps.volumes_of_others(name).map(str::to_owned).collect();
                let own = self.apps.directories_in(name, plan);
                let new = plan.volumes.iter().filter(|volume| !there.contains(&volume.name)).cloned();
                let shares = SharePlan {
                    apps: vec![name.clone()],
                    volumes: new.collect(),
                    may_grow: false,
                    later_volumes: Vec::new(),
                };
                process::spawn("share", Company::Host, &keep, move || {
                    told(shares::extend(&shares, users, &own, &server))
                })?
            }
            Change::Remove(name) => {
                let needed: Vec<&str> = self.apps.volumes_of_others(name).collect();
                let unneeded = self.apps.volumes_of(name).filter(|volume| !needed.contains(volume));
                let targets: Vec<String> =
                    unneeded.map(shares::volume_target).chain([shares::app_target(name)]).collect();
                let own = self.apps.directories_of(name);
                process::spawn("share", Company::Host, &[server.as_raw_fd()], move || {
                    told(shares::withdraw(&targets, &own, &server))
                })?
            }
        };
        self.tree.current = Some((change, child));
        Ok(())
    }

    /// Takes notice of a change that is done.
    pub(super) fn tree_changed(&mut self) -> Result<(), SupervisorError> {
        let Some((change, child)) = self.tree.current.take() else { return Ok(()) };
        let result = match child.wait::<Result<(), String>>()? {
            End::Done(result) => result,
            End::Panicked(message) => Err(message),
            End::Killed(signal) => {
                Err(format!("the process that shares files was killed by signal {signal}"))
            }
            End::Refused(_) | End::Silent => {
                Err("the process that shares files ended without a word".to_owned())
            }
        };
        let effects = match change {
            Change::Add(name, plan) => {
                let result = result.and_then(|()| {
                    status::environment(&name, &plan.environment_file).map_err(|error| sentence(&error))
                });
                if result.is_ok() {
                    self.sessions.app_added(&plan.spec);
                }
                self.apps.added(&name, result.map(|()| *plan))
            }
            Change::Remove(name) => self.apps.removed(&name, result),
        };
        self.carry_out_for_apps(effects)?;
        self.change_tree()
    }

    /// The guest knows nothing of the run any more, and neither do we.
    pub(super) fn forgotten(&mut self, app: AppId) -> Result<(), SupervisorError> {
        self.outputs.forget(app);
        self.attachments.forget(app);
        self.runs.remove(&app);
        let effects = self.apps.forgotten(app);
        self.carry_out_for_apps(effects)
    }
}
