//! `run`: carries out a pod and ends with its exit code.
//!
//! Responsible for: the order of things, from arguments to the supervisor's loop. Must not know: how any one of them is done.
//! Follows design.md, "The walk of a pod", and rkt-reference 4.3.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use vmm::{KvmFeatures, MemoryFile, Metrics};

use crate::activation;
use crate::attachments;
use crate::control::Control;
use crate::control_socket::SOCKET_NAME;
use crate::control_socket::server::Server;
use crate::diagnostics;
use crate::error::EntrypointError;
use crate::exit::ExitCode;
use crate::fault;
use crate::flags::{HostsMode, ResolvConfMode, RunFlags};
use crate::groups::Groups;
use crate::hypervisor_options::VHOST_NET_DEVICE;
use crate::jail::{Demand, Terms};
use crate::metrics::PodMetrics;
use crate::name_files::{self, NameSources};
use crate::network::{self, Wanted};
use crate::plan::{self, HostFacts};
use crate::streams::Streams;
use crate::supervisor::{self, Additions, Caller, Pod, SupervisorError};
use crate::users::{self, Numbers, Users};
use crate::vmm_process::{self, VmParts};
use crate::{
    device_nodes, file_server, kvm_device, pod_directory, port_forwarder, process, runtime_config,
    service_manager, shares, signals, status, terminal,
};

/// Number of the descriptor that holds the pod's lock (rkt-reference 2.4).
const LOCK_VARIABLE: &str = "RKT_LOCK_FD";

/// Further kernel parameters (rkt-reference 5.5).
const KERNEL_PARAMETERS_VARIABLE: &str = "RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS";

/// Features of KVM's that the guest is not offered, by name, with commas between them: a way around faults of a host's KVM.
const HIDDEN_FEATURES_VARIABLE: &str = "RKT_HYPERVISOR_HIDE_KVM_FEATURES";

/// Seconds until a guest that has not called is given up.
const BOOT_TIMEOUT_VARIABLE: &str = "RKT_HYPERVISOR_BOOT_TIMEOUT";

/// Seconds that an app waits for an attached program that takes nothing of its output.
const ATTACH_PATIENCE_VARIABLE: &str = "RKT_ATTACH_PATIENCE";

/// Whether a pod may run on a host that cannot confine it in every way: not if this says `strict`.
const JAIL_VARIABLE: &str = "RKT_HYPERVISOR_JAIL";

/// Runs the pod in the working directory.
pub fn run(flags: &RunFlags) -> Result<ExitCode, EntrypointError> {
    let started = Instant::now();
    // Shared with the processes that are forked later.
    let machine = Metrics::shared()?;
    let metrics = PodMetrics::new(machine);
    let mut signals = take_signals(flags.interactive)?;
    check_lock()?;
    let boot_timeout = seconds(BOOT_TIMEOUT_VARIABLE, supervisor::BOOT_TIMEOUT)?;
    let attach_patience = seconds(ATTACH_PATIENCE_VARIABLE, attachments::PATIENCE)?;
    let demand = demand(std::env::var(JAIL_VARIABLE).ok())?;

    let hidden_features = hidden_features(std::env::var(HIDDEN_FEATURES_VARIABLE).ok())?;

    let passed = activation::take()?;
    let mut host = host_facts(flags)?;
    host.passed_sockets = passed.iter().map(|socket| socket.address).collect();
    let pod = pod_directory::pod_manifest()?;
    let images = pod_directory::image_manifests(&pod)?;
    let mut plan = plan::plan(flags, &pod, &images, &host)?;
    for warning in &plan.warnings {
        diagnostics::say(warning.subsystem, &warning.text);
    }
    if plan.guest.streams.iter().any(Streams::is_interactive) {
        // Those that have come since wait to be read.
        signals = take_signals(true)?;
    }
    let kvm = kvm_device::open(Path::new(kvm_device::KVM_DEVICE))?;
    // Before anything is made for which there would be no use.
    let open_vhost_net = |count| flags.hypervisor.open_vhost_net(Path::new(VHOST_NET_DEVICE), count);
    open_vhost_net(1)?;
    let kernel = open_stage1("vmlinux")?;
    let initramfs = open_stage1("initramfs")?;
    let forwards = network::forwards(&flags.networks, &pod, &images, &host.passed_sockets)?;
    let reservation = network::reserve(flags.uuid, &forwards)?;
    shares::prepare_volumes(&plan.shares)?;
    fault::point("run.volumes.made");
    let shares = shares::collect(&plan.shares, Numbers::of(flags.uuid), demand)?;
    let users = shares.users().map(Users::try_clone).transpose().map_err(EntrypointError::Socket)?;
    let numbers = users.as_ref().map_or(Numbers::OfTheHost, Users::numbers);

    let networks = network::set_up(&Wanted {
        uuid: flags.uuid,
        networks: &flags.networks,
        local_config: flags.local_config.as_deref(),
        vcpus: plan.vm.vcpus,
        forwards: &forwards,
        egress: flags.egress.as_deref(),
        interrupt: Some(Arc::new(interrupt()?)),
    })?;
    metrics.marks.networks.set();
    for notice in &networks.notices {
        diagnostics::say(diagnostics::NETWORKING, notice);
    }
    if let Some((network, names)) = &networks.names
        && flags.resolv_conf == ResolvConfMode::Default
    {
        host.names.resolv_conf = name_files::resolv_conf_of(network, names);
        let file = name_files::resolv_conf(flags.resolv_conf, &host.names.resolv_conf);
        plan.guest.apps.iter_mut().for_each(|app| app.files.extend(file.clone()));
    }
    plan.guest.network = networks.spec;

    // Whoever is told of the pod finds it listening, however early.
    let clients = Server::listen(Path::new(SOCKET_NAME)).map_err(EntrypointError::Listen)?;
    fault::point("run.socket.bound");

    let (files_vmm, files_server) = UnixStream::pair().map_err(EntrypointError::Socket)?;
    let (control, control_vmm) = UnixStream::pair().map_err(EntrypointError::Socket)?;
    let (serial, serial_vmm) = if flags.debug {
        let (reader, writer) = std::io::pipe().map_err(EntrypointError::Socket)?;
        (Some(into_file(reader)), Some(into_file(writer)))
    } else {
        (None, None)
    };
    let terms = Terms { demand, user: users::user_of(flags.uuid) };
    let groups = Groups::make(Path::new("."), flags.uuid, plan.limits, &plan.shares.host_paths(), demand)?;
    let place = groups.place().map_err(EntrypointError::Place)?;
    let forwarder = port_forwarder::start(reservation, networks.forward_to, terms, place.clone())?;
    let (nodes, nodes_server) =
        device_nodes::prepare(numbers, terms, place.clone()).map_err(EntrypointError::Socket)?;
    // The file server first: it has its tree to build while the VMM loads the kernel.
    let files = file_server::start(shares, files_server, nodes_server, terms, &place)?;
    fault::point("run.files.started");
    let memory = MemoryFile::create(plan.vm.memory_mib)?;
    let pairs = networks.cards.iter().map(|card| card.queues.len());
    let vhost = pairs.map(open_vhost_net).collect::<Result<_, _>>()?;
    let parts = VmParts {
        hidden_features,
        memory,
        kvm,
        kernel,
        initramfs,
        files: files_vmm,
        control: control_vmm,
        serial: serial_vmm,
        cards: networks.cards,
        metrics: machine,
        limits: flags.hypervisor.limits,
        vhost,
    };
    let vmm = vmm_process::start(&plan.vm, parts, terms, &place)?;
    fault::point("run.vmm.started");
    status::pod_starts(&plan.environment_files, &runtime_config::text(flags), groups.path())?;

    let (uuid, guest) = (flags.uuid, plan.guest);
    let used = activation::used(guest.apps.iter().flat_map(|app| &app.sockets));
    let passed = (0..).zip(passed).filter(|(number, _)| used.contains(number));
    let passed = passed.map(|(number, socket)| (number, socket.descriptor)).collect();
    // They are the first apps'.
    host.passed_sockets.clear();
    let additions = Additions { flags: flags.clone(), host, memory_mib: plan.vm.memory_mib, users };
    let control = Control::new(control).map_err(SupervisorError::from)?;
    let pod = Pod {
        uuid,
        guest,
        started,
        boot_timeout,
        attach_patience,
        vmm,
        files,
        nodes,
        forwarder,
        control,
        serial,
        clients,
        additions,
        passed,
        metrics,
        groups,
    };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let caller = Caller { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
    let ended = supervisor::supervise(pod, &signals, caller);
    fault::point("run.pod.ended");
    // Nobody listens any more; that it is gone says so best.
    let _ = std::fs::remove_file(SOCKET_NAME);
    fault::point("run.socket.removed");
    Ok(ended?)
}

/// A caller that has hang-ups ignored (nohup(1)) means the pod to survive them.
fn ending_signals() -> Vec<Signal> {
    let mut wanted = vec![Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT];
    if !process::ignores(Signal::SIGHUP) {
        wanted.push(Signal::SIGHUP);
    }
    wanted
}

/// Where signals that end a pod are seen while it is not there yet. Those that nobody reads here are read by the supervisor.
fn interrupt() -> Result<File, EntrypointError> {
    let signals = signals::take(ending_signals()).map_err(EntrypointError::Signals)?;
    signals.as_fd().try_clone_to_owned().map(File::from).map_err(EntrypointError::Signals)
}

/// An interactive app gets more than the signals that end the pod.
fn take_signals(interactive: bool) -> Result<SignalFd, EntrypointError> {
    let mut wanted = ending_signals();
    if interactive {
        wanted.extend([Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGCONT]);
    }
    signals::take(wanted).map_err(EntrypointError::Signals)
}

/// The lock's descriptor is only held: the lock falls when this process ends. It must be there, though, or another rkt would
/// take the pod for an exited one and remove it under our feet.
fn check_lock() -> Result<(), EntrypointError> {
    let number = std::env::var(LOCK_VARIABLE).ok().and_then(|text| text.parse::<i32>().ok());
    let number = number.filter(|number| *number >= 0).ok_or(EntrypointError::NoLock)?;
    // SAFETY: the descriptor is borrowed for one fstat; if it is not open, the call fails and nothing else happens.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::fs::fstat(descriptor).map(|_| ()).map_err(|_| EntrypointError::NoLock)
}

/// What the variable says, or else the default.
fn seconds(variable: &'static str, default: Duration) -> Result<Duration, EntrypointError> {
    let Ok(value) = std::env::var(variable) else { return Ok(default) };
    match value.parse() {
        Ok(number @ 1..) => Ok(Duration::from_secs(number)),
        _ => Err(EntrypointError::Seconds { variable, value }),
    }
}

fn hidden_features(names: Option<String>) -> Result<KvmFeatures, EntrypointError> {
    let Some(names) = names else { return Ok(KvmFeatures::default()) };
    KvmFeatures::parse(&names).ok_or(EntrypointError::HiddenFeatures(names))
}

fn demand(jail: Option<String>) -> Result<Demand, EntrypointError> {
    match jail.as_deref() {
        None | Some("") => Ok(Demand::WhatTheHostHas),
        Some("strict") => Ok(Demand::Everything),
        Some(other) => Err(EntrypointError::Jail(other.to_owned())),
    }
}

fn host_facts(flags: &RunFlags) -> Result<HostFacts, EntrypointError> {
    let read = |path: &Path| pod_directory::read(path);
    let hosts = match flags.hosts {
        HostsMode::Default => Vec::new(),
        HostsMode::Host => read(Path::new("/etc/hosts"))?,
        HostsMode::Stage0 => read(&pod_directory::stage1("etc/rkt-hosts"))?,
    };
    let resolv_conf = match flags.resolv_conf {
        ResolvConfMode::Default | ResolvConfMode::None => Vec::new(),
        ResolvConfMode::Host => read(Path::new("/etc/resolv.conf"))?,
        ResolvConfMode::Stage0 => read(&pod_directory::stage1("etc/rkt-resolv.conf"))?,
    };
    Ok(HostFacts {
        cpus: rustix::thread::sched_getaffinity(None)
            .map_or(1, |cpus| usize::try_from(cpus.count()).unwrap_or(1)),
        memory_bytes: host_memory(),
        terminal: terminal::of_caller(),
        watchdog_microseconds: service_manager::watchdog_microseconds(),
        passed_sockets: Vec::new(),
        names: NameSources { hosts, resolv_conf },
        extra_kernel_parameters: std::env::var(KERNEL_PARAMETERS_VARIABLE).ok(),
    })
}

fn host_memory() -> u64 {
    let host = rustix::system::sysinfo();
    u64::from(host.mem_unit).saturating_mul(host.totalram)
}

fn open_stage1(name: &str) -> Result<File, EntrypointError> {
    let path = pod_directory::stage1(name);
    File::open(&path).map_err(|cause| EntrypointError::Stage1File { path, cause })
}

fn into_file(pipe: impl Into<std::os::fd::OwnedFd>) -> File {
    File::from(pipe.into())
}
