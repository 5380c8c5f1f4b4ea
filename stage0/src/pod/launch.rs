//! From a prepared pod to its stage1, which takes this process over.
//!
//! Responsible for: what every start of a pod has in common: what is checked while the pod can still be run another time, and
//! the steps after that. Must not know: flags; where the pod came from. Follows rkt-reference.md 1.6 (`run`, steps 10 to 13)
//! and 4.3.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;

use rustix::fs::Mode;

use super::assemble::{PodTrees, mount_overlays, stage1_root, write_apps};
use super::lifecycle::{Held, Pod, Run};
use super::metadata_service;
use super::name_files::NameFiles;
use super::overlay;
use super::prepared::PreparedPod;
use crate::cli::insecure::InsecureOptions;
use crate::cli::launch_flags::Ipc;
use crate::config::Jail;
use crate::error::{Context, Result, Stage0Error};
use crate::group;
use crate::log::Log;
use crate::stage1::call::{RunOptions, exec_run, run_arguments};
use crate::stage1::{Entrypoint, Stage1Manifest};
use crate::store::TreeStore;

/// Takes nothing from the modes that the files of a pod are made with.
const SHARING_UMASK: Mode = Mode::from_raw_mode(0o022);

/// What the user wants of a run, besides what was prepared.
#[derive(Debug)]
pub struct LaunchSettings<'a> {
    /// `--debug` was given.
    pub debug: bool,
    /// The local configuration directory.
    pub local_config: &'a Path,
    /// Restrictions that apps are spared.
    pub insecure: InsecureOptions,
    /// Networks of the pod.
    pub networks: Networks,
    /// Whom the pod may call, if that was said, as stage1 reads it.
    pub egress: Option<String>,
    /// What the hypervisor does otherwise than by itself, as stage1 reads it.
    pub hypervisor: Option<String>,
    /// The pod's host name, if it shall have another than the default.
    pub hostname: Option<String>,
    /// Where names are looked up.
    pub names: NameFiles,
    /// The one app gets the terminal.
    pub interactive: bool,
    /// The pod registers with the metadata service.
    pub mds_register: bool,
    /// How the pod's System V IPC relates to the host's.
    pub ipc: Option<Ipc>,
    /// Apps come and go while the pod runs.
    pub mutable: bool,
    /// What the configuration asks of the pod's walls.
    pub jail: Option<Jail>,
}

impl LaunchSettings<'_> {
    /// What the pod will need of others on the host must be there.
    pub fn check_services(&self) -> Result<()> {
        if self.mds_register { metadata_service::check_available() } else { Ok(()) }
    }
}

/// The networks of `--net`, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<String>);

impl Networks {
    /// Adds `NAME[:ARGUMENTS]`. Errors, in rkt's words: no name, or one that was added already.
    pub fn add(&mut self, network: &str) -> std::result::Result<(), String> {
        let name = name_of(network);
        if name.is_empty() {
            return Err("netname can't be empty".to_owned());
        }
        if self.has(name) {
            return Err(format!("found duplicate netname {name:?}"));
        }
        self.0.push(network.to_owned());
        Ok(())
    }

    /// Whether a network of this name was asked for.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|network| name_of(network) == name)
    }
}

/// As stage1 gets them: joined by commas, `default` when nothing was asked for.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("default") } else { f.write_str(&self.0.join(",")) }
    }
}

fn name_of(network: &str) -> &str {
    network.split(':').next().unwrap_or_default()
}

/// The umask while rkt makes a pod: group rkt may look at pods whatever the caller's umask. stage1 gets what that one has in common
/// with it, as the group reads what stage1 writes, too.
#[derive(Debug)]
pub struct Umask(Mode);

impl Umask {
    /// Changes the process's umask.
    pub fn share() -> Self {
        Umask(rustix::process::umask(SHARING_UMASK))
    }
}

/// A pod that nothing known speaks against running.
#[derive(Debug)]
pub struct Launch<'a> {
    prepared: PreparedPod,
    settings: LaunchSettings<'a>,
    data: &'a Path,
    umask: Umask,
    log: Log,
}

impl<'a> Launch<'a> {
    /// Reads a pod and checks all that can be checked while it can still be run another time.
    pub fn check<S: Held>(
        pod: &Pod<S>,
        settings: LaunchSettings<'a>,
        data: &'a Path,
        umask: Umask,
        log: Log,
    ) -> Result<Self> {
        let prepared = PreparedPod::read(&pod.open()?)?;
        if prepared.apps.is_empty() && !settings.mutable {
            return Err(Stage0Error::refused("pod must contain at least one application"));
        }
        if settings.interactive && prepared.apps.len() > 1 {
            return Err(Stage0Error::refused("interactive option only supports pods with one app"));
        }
        let stage1 = Stage1Manifest(&prepared.stage1);
        stage1.entrypoint(Entrypoint::Run)?;
        stage1.interface_version()?;
        if settings.mutable {
            stage1.expect_mutable()?;
        }
        prepared.check_volumes()?;
        if prepared.overlay.is_some() {
            if let Some(reason) = overlay::unsupported(data)? {
                return Err(Stage0Error::refused(reason))
                    .context("unable to run prepared overlay-enabled pod: overlay not supported");
            }
            prepared.check_trees(&TreeStore::open(data).context("cannot open treestore")?)?;
        }
        Ok(Launch { prepared, settings, data, umask, log })
    }

    /// Puts the pod together and replaces this process by stage1. Returns only if that fails.
    pub fn exec(&self, pod: Pod<Run>) -> Stage0Error {
        let ready = self.assemble(&pod).and_then(|()| self.register(&pod));
        match ready.and_then(|token| self.call_stage1(pod, token)) {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn assemble(&self, pod: &Pod<Run>) -> Result<()> {
        let path = pod.path();
        let group = group::rkt_gid();
        if group.is_none() {
            self.log.print("group \"rkt\" not found, will use default gid when rendering images");
        }
        if let Some(stage1) = &self.prepared.overlay {
            let store = &TreeStore::open(self.data).context("cannot open treestore")?;
            let apps = self.prepared.apps.iter();
            let apps = apps.filter_map(|app| Some((app.name.as_str(), app.tree.as_ref()?))).collect();
            let left_to_stage1 = Stage1Manifest(&self.prepared.stage1).mounts_app_overlays();
            let trees = PodTrees { store, stage1, apps, group, left_to_stage1 };
            mount_overlays(&path, &trees).context("error setting up overlay")?;
        }
        write_apps(&path, &self.prepared.apps).context("error setting up stage1")?;
        self.settings.names.write(&stage1_root(&path)).context("error setting up stage1")
    }

    /// The token of the metadata service, if the pod uses it.
    fn register(&self, pod: &Pod<Run>) -> Result<Option<String>> {
        let register = || metadata_service::register(&pod.path(), &pod.uuid().to_string(), &self.prepared);
        self.settings.mds_register.then(register).transpose()
    }

    fn call_stage1(&self, pod: Pod<Run>, mds_token: Option<String>) -> Result<Infallible> {
        let stage1 = Stage1Manifest(&self.prepared.stage1);
        let (entrypoint, interface) = (stage1.entrypoint(Entrypoint::Run)?, stage1.interface_version()?);
        let options = RunOptions {
            debug: self.settings.debug,
            networks: self.settings.networks.to_string(),
            egress: self.settings.egress.as_deref(),
            hypervisor: self.settings.hypervisor.as_deref(),
            interactive: self.settings.interactive,
            private_users: self.prepared.private_users.as_deref(),
            mds_token,
            local_config: self.settings.local_config,
            hostname: self.settings.hostname.as_deref(),
            dns_conf_mode: self.settings.names.mode(),
            insecure: self.settings.insecure,
            mutable: self.settings.mutable,
            ipc: self.settings.ipc.map(Ipc::as_str),
        };
        let arguments = run_arguments(&options, interface, &pod.uuid().to_string(), self.log);
        self.log.named("stage0").debug("Execing /".to_owned() + entrypoint);
        rustix::process::umask(self.umask.0 & SHARING_UMASK);
        Err(exec_run(&pod.path(), entrypoint, &arguments, self.settings.jail, &pod.into_lock()))
    }
}
