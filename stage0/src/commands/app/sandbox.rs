//! `rkt app sandbox`.
//!
//! Responsible for: the walk from arguments to a running pod without apps. Must not know: how each step works. Follows
//! rkt-reference.md 1.6 and 7.4.

use std::path::{Path, PathBuf};

use appc::ExposedPort;
use clap::ArgAction;

use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::cli::launch_flags::{EgressFlags, HypervisorFlags, LaunchFlags, NameFlags};
use crate::cli::machine_flags::MachineFlags;
use crate::cli::pod_flags::Stage1Flags;
use crate::cli::port::parse_pod_port;
use crate::cli::values::parse_pair;
use crate::commands::images::Images;
use crate::commands::new_pod::{NewPod, overlay_choice};
use crate::commands::require_superuser;
use crate::config::{self, Configuration};
use crate::error::{Context, Result, Stage0Error};
use crate::image::PullPolicy;
use crate::log::Log;
use crate::pod::launch::{Launch, LaunchSettings, Umask};
use crate::pod::lifecycle::{Pod, Prepare};
use crate::pod::machine_size;
use crate::pod::manifest::{SandboxSettings, sandbox};
use crate::pod::uuid_file;
use crate::stage1::Stage1Manifest;
use crate::stage1::select::Selection;
use crate::store::{ImageStore, TreeStore};

/// Flags of `rkt app sandbox`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    stage1: Stage1Flags,

    /// write out pod UUID to specified file
    #[arg(long, value_name = "string")]
    uuid_file_save: Option<PathBuf>,

    /// configure the pod's networking. Optionally, pass a list of user-configured networks to load and set arguments to pass to each network, respectively. Syntax: --net=n[:args], ...
    #[arg(long, action = ArgAction::Append)]
    net: Vec<String>,

    #[command(flatten)]
    egress: EgressFlags,

    #[command(flatten)]
    hypervisor: HypervisorFlags,

    #[command(flatten)]
    machine: MachineFlags,

    /// disable overlay filesystem
    #[arg(long, switch = false)]
    no_overlay: bool,

    #[command(flatten)]
    names: NameFlags,

    /// register pod with metadata service
    #[arg(long, switch = false)]
    mds_register: bool,

    /// ports to forward. format: "name:proto:podPort:hostIP:hostPort"
    #[arg(long, value_parser = parse_pod_port, action = ArgAction::Append)]
    port: Vec<ExposedPort>,

    /// set the pod's annotations in the form of key=value
    #[arg(long, value_parser = annotation, action = ArgAction::Append)]
    annotation: Vec<(String, String)>,

    /// set the pod's user annotations in the form of key=value
    #[arg(long, value_parser = user_annotation, action = ArgAction::Append)]
    user_annotation: Vec<(String, String)>,

    /// set the pod's user labels in the form of key=value
    #[arg(long, value_parser = user_label, action = ArgAction::Append)]
    user_label: Vec<(String, String)>,
}

/// Runs a pod without apps. Returns only if that fails.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let settings = arguments.settings(globals)?;
    let umask = Umask::share();
    let data = config::data_directory(globals)?;
    let pod = arguments.prepare(&data, globals, log)?;
    let launch = Launch::check(&pod, settings, &data, umask, log)?;
    Err(launch.exec(pod.into_run()?))
}

impl Arguments {
    fn settings<'a>(&self, globals: &'a GlobalFlags) -> Result<LaunchSettings<'a>> {
        let flags = LaunchFlags {
            net: self.net.clone(),
            egress: self.egress.clone(),
            hypervisor: self.hypervisor.clone(),
            names: self.names.clone(),
            mds_register: self.mds_register,
            ..LaunchFlags::default()
        };
        let settings = flags.settings(globals).map_err(Stage0Error::refused)?;
        settings.check_services()?;
        for network in ["none", "host"] {
            if !self.port.is_empty() && settings.networks.has(network) {
                return Err(Stage0Error::refused(format!(
                    "--port flag does not work with '{network}' networking"
                )));
            }
        }
        Ok(LaunchSettings { mutable: true, ..settings })
    }

    fn prepare(&self, data: &Path, globals: &GlobalFlags, log: Log) -> Result<Pod<Prepare>> {
        let choice = self.stage1.choice().map_err(Stage0Error::refused)?;
        let manifest = sandbox(&SandboxSettings {
            ports: self.port.clone(),
            isolators: self.machine.isolators()?,
            annotations: self.annotation.clone(),
            user_annotations: self.user_annotation.clone(),
            user_labels: self.user_label.clone(),
        })?;
        machine_size::check(&manifest)?;
        let manifest = serde_json::to_vec(&manifest).context("error marshalling pod manifest")?;
        let configuration = Configuration::of(globals);
        let images = ImageStore::open(data).context("cannot open store")?;
        let trees = TreeStore::open(data).context("cannot open treestore")?;
        let finder = Images { store: &images, globals, pull_policy: PullPolicy::New };
        let selection = Selection {
            store: &images,
            configuration: &configuration,
            fetch: &|image| finder.find_stage1(image),
            log: log.named("stage0"),
        };
        let stage1 = selection.select(choice.as_ref())?;
        let stage1_manifest = images.manifest(&stage1).context("error reading stage1 manifest")?;
        Stage1Manifest(&stage1_manifest).expect_mutable()?;
        let overlay = overlay_choice(self.no_overlay, data, log)?;
        let pod = NewPod { manifest: &manifest, stage1, apps: Vec::new(), overlay, users: None };
        pod.make(data, &images, &trees, |uuid| match &self.uuid_file_save {
            Some(path) => uuid_file::write(path, uuid),
            None => Ok(()),
        })
    }
}

fn annotation(text: &str) -> std::result::Result<(String, String), String> {
    parse_pair("annotation", text)
}

fn user_annotation(text: &str) -> std::result::Result<(String, String), String> {
    parse_pair("user-annotation", text)
}

fn user_label(text: &str) -> std::result::Result<(String, String), String> {
    parse_pair("user-label", text)
}
