//! The plan of a pod: everything that follows from its manifests and flags, decided before anything is touched.
//!
//! Responsible for: one pure function from manifests, flags and a few facts of the host to a [`Plan`]. Must not know: files,
//! processes, KVM; so it is tested without any. Follows design.md, "The walk of a pod", and rkt-reference 6.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use appc::{AcName, App, ImageManifest, PodManifest, RuntimeApp};
use guest_api::{AppId, AppSpec, MountSpec, NetworkSpec};

use crate::activation::ActivationError;
use crate::diagnostics::NETWORKING;
use crate::flags::{IpcMode, RunFlags};
use crate::groups::limits::{self, Limits};
use crate::isolation::IsolationError;
use crate::kubernetes_log::{KubernetesLogError, KubernetesPlan};
use crate::name_files::{self, NameSources};
use crate::streams::{self, StreamError, Streams};
use crate::terminal::CallersTerminal;
use crate::volumes::{self, SharedVolume, VolumeError, VolumeSource};
use crate::{activation, environment, isolation, lifecycle, seccomp, sizing};

/// How long apps have between SIGTERM and SIGKILL: systemd's `DefaultTimeoutStopSec`, which is what rkt's pods had.
pub const STOP_GRACE_MS: u32 = 90_000;

/// Longest host name the kernel takes (`HOST_NAME_MAX`).
const MAX_HOSTNAME_BYTES: usize = 64;

/// Always on the guest kernel's command line. Nothing of the pod is: the VM is told over the control connection.
///
/// `panic=-1` and `reboot=k` turn a panic into a reset that the VMM sees at once, and `panic_print` has it repeat what it said before. Free
/// memory is given back in pieces of 512 KiB (`page_reporting_order`); with the kernel's own 2 MiB an idle guest keeps 10 MiB more. The others take
/// probing and self-tests out of the boot.
const KERNEL_PARAMETERS: &str = "panic=-1 panic_print=32 reboot=k nomodule tsc=reliable no_timer_check random.trust_cpu=1 \
                                 cryptomgr.notests page_reporting.page_reporting_order=7 rdinit=/init";

/// Kernel messages on the serial port.
const DEBUG_PARAMETERS: &str = "console=ttyS0 earlyprintk=ttyS0 8250.nr_uarts=1";

/// No console but the one that needs no driver, and nothing on it but emergencies: a level of 0 would silence even a panic.
const QUIET_PARAMETERS: &str = "earlyprintk=ttyS0,keep loglevel=1 8250.nr_uarts=0";

/// Why a pod cannot be run as asked.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// `--net=host`.
    #[error("flavor kvm requires private network configuration (try --net)")]
    HostNetwork,
    /// `--ipc=parent`.
    #[error("flavor kvm requires private IPC namespace (try to remove --ipc)")]
    ParentIpc,
    /// `--interactive` with more than one app.
    #[error("interactive option only supports pods with one app")]
    Interactive,
    /// An app that stage0 has not written down.
    #[error("the pod manifest has no app {0:?}")]
    UnknownApp(String),
    /// The machine that the pod asks for cannot be made.
    #[error(transparent)]
    Size(#[from] sizing::SizeError),
    /// A host name the kernel would not take.
    #[error("host name {0:?} is empty or longer than {MAX_HOSTNAME_BYTES} bytes")]
    Hostname(String),
    /// A pod without apps.
    #[error("the pod has no apps")]
    NoApps,
    /// More apps than the control protocol can number.
    #[error("the pod has too many apps ({0})")]
    TooManyApps(usize),
    /// Neither the pod manifest nor the image says how to run the app.
    #[error("app {0:?} has no app section")]
    NoAppSection(String),
    /// Nothing to execute.
    #[error("image {0:?} has an empty \"exec\" (try --exec=BINARY)")]
    EmptyExec(String),
    /// Neither `pre-start` nor `post-stop`.
    #[error("unrecognized eventHandler: {0}")]
    EventHandler(String),
    /// The app's streams cannot be what its annotations ask for.
    #[error("app {app:?}: invalid standard streams")]
    Streams {
        /// The app.
        app: String,
        /// What they ask for.
        #[source]
        cause: StreamError,
    },
    /// Kubernetes' annotations cannot be followed.
    #[error(transparent)]
    KubernetesLogs(#[from] KubernetesLogError),
    /// The app's isolators ask for what cannot be.
    #[error("app {app:?}: invalid isolators")]
    Isolation {
        /// The app.
        app: String,
        /// What cannot be.
        #[source]
        cause: IsolationError,
    },
    /// The app cannot have its sockets.
    #[error("app {app:?}: cannot pass sockets to it")]
    Activation {
        /// The app.
        app: String,
        /// Why not.
        #[source]
        cause: ActivationError,
    },
    /// The app's volumes do not fit.
    #[error("app {app:?}: cannot mount its volumes")]
    Volumes {
        /// The app.
        app: String,
        /// What does not fit.
        #[source]
        cause: VolumeError,
    },
}

/// What the plan has to know of the host.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// Logical CPUs this process may use.
    pub cpus: usize,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// The terminal of the caller, if there is one.
    pub terminal: Option<CallersTerminal>,
    /// How often the service manager wants to hear that the pod is alive.
    pub watchdog_microseconds: Option<u64>,
    /// Where the sockets listen that the service manager passed.
    pub passed_sockets: Vec<SocketAddr>,
    /// Files that the DNS modes copy.
    pub names: NameSources,
    /// `RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS` of the caller.
    pub extra_kernel_parameters: Option<String>,
}

/// The VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPlan {
    /// Virtual CPUs.
    pub vcpus: u8,
    /// Guest memory.
    pub memory_mib: u32,
    /// Kernel command line.
    pub command_line: String,
}

/// What the guest is told, but for what is only known when it asks (time, entropy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPlan {
    /// Host name of the pod.
    pub hostname: String,
    /// Its apps, in manifest order.
    pub apps: Vec<AppSpec>,
    /// What the streams of each app, in the same order, are connected to.
    pub streams: Vec<Streams>,
    /// What Kubernetes wants of their output.
    pub kubernetes_logs: KubernetesPlan,
    /// The apps reach the metadata service.
    pub metadata_service: bool,
    /// Interfaces of the pod, once its networks are there.
    pub network: NetworkSpec,
}

/// What of the host's files the guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharePlan {
    /// Apps whose root file systems appear below `apps/`.
    pub apps: Vec<String>,
    /// Volumes that appear below `volumes/`.
    pub volumes: Vec<SharedVolume>,
    /// Others may appear while the pod runs.
    pub may_grow: bool,
    /// Volumes of the host's that apps which come later may have.
    pub later_volumes: Vec<SharedVolume>,
}

/// Something the user should know; the pod runs all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Who says it: the prefix of the line (rkt-reference 1.1).
    pub subsystem: &'static str,
    /// What.
    pub text: String,
}

/// A pod, ready to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The VM.
    pub vm: VmPlan,
    /// What the guest is told.
    pub guest: GuestPlan,
    /// What the guest sees of the host.
    pub shares: SharePlan,
    /// What all of its processes together may take of the host.
    pub limits: Limits,
    /// Content of `/rkt/env/APP` by app.
    pub environment_files: Vec<(String, String)>,
    /// What to tell the user first.
    pub warnings: Vec<Warning>,
}

/// One app, whichever way it comes into the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPlan {
    /// What the guest is told.
    pub spec: AppSpec,
    /// Where its standard descriptors lead.
    pub streams: Streams,
    /// Volumes that it uses.
    pub volumes: Vec<SharedVolume>,
    /// Content of `/rkt/env/APP`.
    pub environment_file: String,
    /// Where Kubernetes looks for its output.
    pub kubernetes_log: Option<PathBuf>,
    /// What to tell the user.
    pub warnings: Vec<Warning>,
}

/// Decides everything about a pod. `images` holds the image manifest of every app, by app name.
pub fn plan(
    flags: &RunFlags,
    pod: &PodManifest,
    images: &BTreeMap<AcName, ImageManifest>,
    host: &HostFacts,
) -> Result<Plan, PlanError> {
    let mut warnings = check_flags(flags, pod)?;
    let hostname = hostname(flags)?;
    if pod.apps.is_empty() && !flags.mutable {
        return Err(PlanError::NoApps);
    }

    let mut sections = Vec::new();
    let mut apps = Vec::new();
    let mut all_streams = Vec::new();
    let mut environment_files = Vec::new();
    let mut shared: BTreeMap<String, SharedVolume> = BTreeMap::new();
    for (index, runtime) in pod.apps.iter().enumerate() {
        let id = u16::try_from(index).map(AppId).map_err(|_| PlanError::TooManyApps(pod.apps.len()))?;
        let image = images.get(&runtime.name);
        let app = app(flags, pod, runtime, image, host, id)?;
        sections.push(section(runtime, image)?);
        warnings.extend(app.warnings);
        for volume in app.volumes {
            // The host enforces read-only where no app at all may write.
            shared
                .entry(volume.name.clone())
                .and_modify(|known| known.read_only &= volume.read_only)
                .or_insert(volume);
        }
        environment_files.push((app.spec.name.clone(), app.environment_file));
        apps.push(app.spec);
        all_streams.push(app.streams);
    }

    let size = sizing::size(pod, &sections, host.cpus, host.memory_bytes)?;
    warnings.extend(pod.isolators.iter().filter_map(sizing::unapplied));
    let limits = limits::limits(pod, &sections, size, flags.mutable);
    let named = apps.iter().zip(&sections);
    warnings.extend(named.flat_map(|(app, section)| limits::unapplied(&app.name, section, &limits)));
    let used = activation::used(apps.iter().flat_map(|app| &app.sockets));
    let unused = (0..).zip(&host.passed_sockets).filter(|(number, _)| !used.contains(number));
    warnings.extend(unused.map(|(_, address)| Warning {
        subsystem: "stage1",
        text: format!("warning: the service manager's socket {address} belongs to no socket-activated port"),
    }));
    let beyond =
        |(app, section): (&AppSpec, &&App)| sizing::beyond_machine(&app.name, section, size.memory_mib);
    warnings.extend(apps.iter().zip(&sections).filter_map(beyond));
    Ok(Plan {
        vm: VmPlan {
            vcpus: size.vcpus,
            memory_mib: size.memory_mib,
            command_line: command_line(flags.debug, host.extra_kernel_parameters.as_deref()),
        },
        shares: SharePlan {
            apps: apps.iter().map(|app| app.name.clone()).collect(),
            volumes: shared.into_values().collect(),
            may_grow: flags.mutable,
            later_volumes: if flags.mutable { volumes::of_host(pod) } else { Vec::new() },
        },
        limits,
        guest: GuestPlan {
            hostname,
            apps,
            kubernetes_logs: KubernetesPlan::of(pod)?,
            streams: all_streams,
            metadata_service: flags.mds_token.is_some(),
            network: NetworkSpec::default(),
        },
        environment_files,
        warnings,
    })
}

/// Decides about an app that is added to a running, mutable pod, as [`plan`] does about the pod's first ones. It gets its
/// number when it is started. The pod's machine has `memory_mib`.
pub fn added_app(
    flags: &RunFlags,
    pod: &PodManifest,
    name: &str,
    images: &BTreeMap<AcName, ImageManifest>,
    host: &HostFacts,
    memory_mib: u32,
) -> Result<AppPlan, PlanError> {
    let runtime = pod.apps.iter().find(|app| app.name.as_str() == name);
    let runtime = runtime.ok_or_else(|| PlanError::UnknownApp(name.to_owned()))?;
    let image = images.get(&runtime.name);
    let mut app = app(flags, pod, runtime, image, host, AppId(0))?;
    app.warnings.extend(sizing::beyond_machine(name, section(runtime, image)?, memory_mib));
    app.warnings.extend(limits::unapplied_later(name, section(runtime, image)?));
    Ok(app)
}

fn app(
    flags: &RunFlags,
    pod: &PodManifest,
    runtime: &RuntimeApp,
    image: Option<&ImageManifest>,
    host: &HostFacts,
    id: AppId,
) -> Result<AppPlan, PlanError> {
    let name = runtime.name.to_string();
    let section = section(runtime, image)?;
    let converted = image.is_some_and(is_converted);
    let of_app = volumes::mounts(&runtime.name, section, &runtime.mounts, &pod.volumes, converted)
        .map_err(|cause| PlanError::Volumes { app: name.clone(), cause })?;
    let mut warnings: Vec<Warning> =
        of_app.warnings.into_iter().map(|text| Warning { subsystem: "stage1", text }).collect();
    warnings.extend(unapplied_isolators(&runtime.name, section));
    warnings.extend(unknown_calls(&runtime.name, section, flags));
    let isolation =
        isolation::of(section, flags).map_err(|cause| PlanError::Isolation { app: name.clone(), cause })?;
    let streams = Streams::of(runtime, flags.interactive)
        .map_err(|cause| PlanError::Streams { app: name.clone(), cause })?;
    if streams.is_interactive() && (pod.apps.len() > 1 || flags.mutable) {
        return Err(PlanError::Interactive);
    }
    let stdio = streams.in_guest(host.terminal.as_ref().map(|terminal| terminal.size));
    let own = host.terminal.as_ref().filter(|_| streams.is_interactive());
    let terminal = own.map_or(streams::TERMINAL_TYPE, |terminal| &terminal.kind);
    let environment = environment::complete(
        &runtime.name,
        section,
        stdio.has_terminal().then_some(terminal),
        flags.mds_token.as_deref(),
    );
    let mut volumes: Vec<SharedVolume> = Vec::new();
    for volume in of_app.mounts.iter().map(|mount| shown(&mount.volume, flags, pod)) {
        // The app may see it in several places.
        match volumes.iter_mut().find(|known| known.name == volume.name) {
            Some(known) => known.read_only &= volume.read_only,
            None => volumes.push(volume),
        }
    }
    let lifecycle = lifecycle::of(section, image)?;
    let (sockets, unmatched) = activation::sockets(section, &pod.ports, &host.passed_sockets)
        .map_err(|cause| PlanError::Activation { app: name.clone(), cause })?;
    warnings.extend(unmatched.into_iter().map(|text| Warning { subsystem: "stage1", text }));
    Ok(AppPlan {
        environment_file: environment::file(&environment),
        kubernetes_log: KubernetesPlan::file_of(pod, runtime)?,
        volumes,
        streams,
        warnings,
        spec: AppSpec {
            id,
            rootfs: format!("apps/{name}"),
            name,
            read_only_rootfs: runtime.read_only_root_fs,
            exec: section.exec.clone(),
            environment: lifecycle::environment(environment, &lifecycle, host.watchdog_microseconds),
            working_directory: section.working_directory.clone().unwrap_or_else(|| "/".to_owned()),
            user: section.user.clone(),
            group: section.group.clone(),
            group_falls_back_to_user: falls_back(section, image),
            supplementary_gids: section.supplementary_gids.clone(),
            mounts: of_app
                .mounts
                .into_iter()
                .map(|mount| MountSpec {
                    source: format!("volumes/{}", mount.volume.name),
                    target: mount.target,
                    read_only: mount.volume.read_only,
                })
                .collect(),
            files: name_files::generate(
                &flags.uuid.to_string(),
                &hostname(flags)?,
                flags.hosts,
                flags.resolv_conf,
                &host.names,
            ),
            stdio,
            isolation,
            lifecycle,
            sockets,
        },
    })
}

/// How the VM sees a volume. In a mutable pod an app that may write to it can come later, unless the pod's volume itself is
/// read-only, or is the app's own.
fn shown(volume: &SharedVolume, flags: &RunFlags, pod: &PodManifest) -> SharedVolume {
    let of_pod = pod.volumes.iter().find(|it| it.name.as_str() == volume.name);
    let read_only = match (of_pod, &volume.source) {
        _ if !flags.mutable => volume.read_only,
        (Some(of_pod), _) => of_pod.read_only == Some(true),
        (None, VolumeSource::Empty { .. }) => false,
        (None, VolumeSource::Host { .. }) => volume.read_only,
    };
    SharedVolume { read_only, ..volume.clone() }
}

fn hostname(flags: &RunFlags) -> Result<String, PlanError> {
    let hostname = flags.hostname.clone().unwrap_or_else(|| format!("rkt-{}", flags.uuid));
    if hostname.is_empty() || hostname.len() > MAX_HOSTNAME_BYTES {
        return Err(PlanError::Hostname(hostname));
    }
    Ok(hostname)
}

impl SharePlan {
    /// Whether programs on the host may change what the guest sees, now or later: for how long the guest trusts its caches is
    /// settled when it boots. The pod's own trees are the guest's alone.
    pub fn host_may_write(&self) -> bool {
        self.may_grow || self.volumes.iter().any(|volume| matches!(volume.source, VolumeSource::Host { .. }))
    }

    /// Where on the host volumes are that the pod did not bring.
    pub fn host_paths(&self) -> Vec<&Path> {
        let volumes = self.volumes.iter();
        let path = volumes.filter_map(|volume| match &volume.source {
            VolumeSource::Host { path, .. } => Some(path.as_path()),
            _ => None,
        });
        path.collect()
    }
}

/// Refuses what a VM of ours cannot do, and says what it does less of.
fn check_flags(flags: &RunFlags, pod: &PodManifest) -> Result<Vec<Warning>, PlanError> {
    if flags.ipc == IpcMode::Parent {
        return Err(PlanError::ParentIpc);
    }
    if flags.interactive && pod.apps.len() > 1 {
        return Err(PlanError::Interactive);
    }
    let mut warnings = Vec::new();
    if flags.networks.iter().any(|network| network.name == "host") {
        return Err(PlanError::HostNetwork);
    }
    if !pod.ports.is_empty() && flags.networks.iter().any(|network| network.name == "none") {
        let text = "warning: ports are not forwarded: the pod has no network".to_owned();
        warnings.push(Warning { subsystem: NETWORKING, text });
    }
    Ok(warnings)
}

fn section<'a>(runtime: &'a RuntimeApp, image: Option<&'a ImageManifest>) -> Result<&'a App, PlanError> {
    let section = runtime
        .app
        .as_ref()
        .or_else(|| image?.app.as_ref())
        .ok_or_else(|| PlanError::NoAppSection(runtime.name.to_string()))?;
    if section.exec.first().is_none_or(String::is_empty) {
        let name = runtime.image.name.as_ref().map_or(runtime.name.as_str(), |name| name.as_str());
        return Err(PlanError::EmptyExec(name.to_owned()));
    }
    Ok(section)
}

/// Converted docker images name a group that need not exist, equal to the user (rkt-reference 6.4).
fn falls_back(section: &App, image: Option<&ImageManifest>) -> bool {
    let Some(image) = image else { return false };
    let untouched = image.app.as_ref().is_some_and(|own| own.user == own.group && own.group == section.group);
    is_converted(image) && untouched
}

/// Whether the image was one of docker's.
fn is_converted(image: &ImageManifest) -> bool {
    image.annotations.get("appc.io/docker/repository").is_some()
}

fn unapplied_isolators(name: &AcName, section: &App) -> Vec<Warning> {
    section
        .isolators
        .iter()
        .filter(|isolator| !isolation::APPLIED.contains(&isolator.name.as_str()))
        .map(|isolator| Warning {
            subsystem: "stage1",
            text: format!("warning: isolator {} of app {:?} is not applied", isolator.name, name.as_str()),
        })
        .collect()
}

fn unknown_calls(name: &AcName, section: &App, flags: &RunFlags) -> Option<Warning> {
    // A filter that cannot be is refused elsewhere.
    let unknown = seccomp::filter(section).unwrap_or_default().unknown;
    let text = match unknown.as_slice() {
        _ if flags.disable_seccomp => return None,
        [] => return None,
        [only] => format!("{only:?}"),
        [first, others @ ..] => format!("{first:?} and {} more", others.len()),
    };
    let app = name.as_str();
    let text = format!("warning: seccomp filter of app {app:?}: ignoring unknown system call {text}");
    Some(Warning { subsystem: "stage1", text })
}

fn command_line(debug: bool, extra: Option<&str>) -> String {
    let console = if debug { DEBUG_PARAMETERS } else { QUIET_PARAMETERS };
    match extra.map(str::trim).filter(|extra| !extra.is_empty()) {
        Some(extra) => format!("{console} {KERNEL_PARAMETERS} {extra}"),
        None => format!("{console} {KERNEL_PARAMETERS}"),
    }
}
