//! The supervisor: one loop between the guest, the two child processes, the user's signals and rkt's own output.
//!
//! Responsible for: waiting for everything at once, carrying out what `guest` decides, ending the pod. Must not know: what
//! messages mean (`guest`), what lines look like (`stdio`). Follows docs/architecture.md, "While the pod runs", and
//! rkt-reference 4.3 and 6.8.

mod actions;
mod apps;
mod clients;
mod console;
mod ending;
mod error;
mod hearing;
mod kernel_log;
#[cfg(test)]
mod kernel_log_test;
mod measures;
mod user;
mod waiting;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use guest_api::{AppId, AppSpec, Destination, ToGuest};
use nix::sys::signalfd::SignalFd;
use tunnels::{Side, Target, Tunnels};
use uuid::Uuid;

use crate::apps::Apps;
use crate::attachments::{self, Attachments};
use crate::control::Control;
use crate::control_socket::server::Server;
use crate::control_socket::sessions::Sessions;
use crate::deadline::Deadline;
use crate::device_nodes::DeviceNodes;
use crate::diagnostics::{self, sentence};
use crate::exit::ExitCode;
use crate::file_server::FileServerEnd;
use crate::groups::Groups;
use crate::guest::Conversation;
use crate::host_clock::HostClock;
use crate::journal::Journal;
use crate::log_files::{self, LogFiles};
use crate::logs::Logs;
use crate::metrics::{PodMetrics, PodProcess};
use crate::output::{Outputs, Written};
use crate::plan::GuestPlan;
use crate::port_forwarder::PortForwarder;
use crate::process::Child;
use crate::service_manager::ServiceManager;
use crate::streams::{Mode, Streams};

pub use apps::Additions;
pub use error::SupervisorError;

use crate::fault;
use apps::SharedTree;
use console::Console;
use ending::HALT_GRACE;
use error::{file_server_verdict, vmm_verdict};
use hearing::Passing;
use kernel_log::{KernelLog, Line};

/// Where the metadata service answers pods. It is a file, so it is reached from whatever network name space the supervisor is in.
const METADATA_SERVICE_SOCKET: &str = "/run/rkt/metadata-svc-public.sock";

/// How long one child may outlive the other before it is killed: they notice each other's end within a system call.
const CHILD_GRACE: Duration = Duration::from_secs(2);

/// How long a guest may take from the start of the pod to its first word. It takes 0.1 s on an idle host, and on an emulated
/// and overloaded one 15 s; whoever expects more says so with `RKT_HYPERVISOR_BOOT_TIMEOUT`.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// A pod that has been started.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub uuid: Uuid,
    /// What its guest is told.
    pub guest: GuestPlan,
    /// When it started.
    pub started: Instant,
    /// How long after that its guest may be silent.
    pub boot_timeout: Duration,
    /// How long an app waits for an attached program that takes nothing.
    pub attach_patience: Duration,
    /// The VMM.
    pub vmm: Child,
    /// The file server.
    pub files: Child,
    /// Who makes its device nodes.
    pub nodes: DeviceNodes,
    /// What serves its ports, if it has any.
    pub forwarder: Option<PortForwarder>,
    /// Our end of the guest's control connection.
    pub control: Control,
    /// Kernel messages, with `--debug`.
    pub serial: Option<File>,
    /// Listens for other programs' requests.
    pub clients: Server,
    /// What later apps are planned with.
    pub additions: Additions,
    /// Sockets of the service manager's for its apps, by the number that the guest knows.
    pub passed: Vec<(u16, OwnedFd)>,
    /// What it counts.
    pub metrics: PodMetrics,
    /// Its control groups.
    pub groups: Groups,
}

/// Standard streams of rkt.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'fd> {
    /// For an interactive app only.
    pub stdin: BorrowedFd<'fd>,
    /// Takes the apps' output.
    pub stdout: BorrowedFd<'fd>,
    /// Takes their errors and rkt's own.
    pub stderr: BorrowedFd<'fd>,
}

/// Why the loop ended.
enum Ending {
    /// The guest has halted in order.
    Finished,
    /// The VMM has ended, or should have long ago, and the guest has not halted.
    VmmGone,
}

/// An app that the guest knows.
struct Run {
    name: String,
    streams: Streams,
}

struct Supervisor<'fd> {
    pod: Pod,
    runs: BTreeMap<AppId, Run>,
    apps: Apps,
    tree: SharedTree,
    entropy: [u8; 32],
    conversation: Conversation,
    passing: Option<Passing>,
    outputs: Outputs<'fd>,
    /// With an interactive app.
    console: Option<Console<'fd>>,
    running: usize,
    kernel: KernelLog,
    sessions: Sessions,
    clock: HostClock,
    attachments: Attachments,
    tunnels: Tunnels,
    manager: ServiceManager,
    /// Whose memory is the pod's.
    processes: [PodProcess; 3],
    /// When the VM is killed if it has not ended, and the reason that is given.
    kill_at: Deadline,
    stop_requested: bool,
    /// Somebody has asked for that, not only a hang-up: whoever does once more wants it at once.
    asked_to_stop: bool,
    /// The pod is stopped by force.
    forced: bool,
}

/// Runs the pod to its end and returns its exit code. Prints whatever goes wrong. When it returns, neither child process
/// can touch the pod's files any more.
///
/// `signals` delivers, without blocking, SIGINT, SIGTERM, SIGQUIT and SIGHUP, and what else an interactive app is to get.
pub fn supervise(mut pod: Pod, signals: &SignalFd, caller: Caller<'_>) -> Result<ExitCode, SupervisorError> {
    let mut entropy = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut entropy))
        .map_err(SupervisorError::Entropy)?;
    let mutable = pod.additions.flags.mutable;
    let guest = &pod.guest;
    let mut first = Vec::new();
    for app in guest.apps.iter().filter(|_| mutable) {
        let plan = pod.additions.plan(&app.name).map_err(|error| SupervisorError::Plan(sentence(&error)))?;
        first.push((app.id, plan));
    }
    let run =
        |(app, streams): (&AppSpec, &Streams)| (app.id, Run { name: app.name.clone(), streams: *streams });
    let log_files = LogFiles::new(Path::new(log_files::DIRECTORY));
    let logs = Logs::new(log_files, Journal::of_host(pod.uuid), guest.kubernetes_logs.clone());
    let tree = pod.files.descriptor().try_clone_to_owned().map_err(SupervisorError::Wait)?;
    let mut supervisor = Supervisor {
        entropy,
        conversation: {
            let apps = guest.apps.iter().map(|app| (app.name.clone(), app.lifecycle.count()));
            if mutable { Conversation::mutable(apps) } else { Conversation::new(apps) }
        },
        runs: guest.apps.iter().zip(&guest.streams).map(run).collect(),
        apps: Apps::new(mutable, first),
        tree: SharedTree::new(tree),
        passing: None,
        outputs: Outputs::new(caller.stdout, caller.stderr, logs),
        console: guest.apps.iter().zip(&guest.streams).find_map(|(app, streams)| {
            let own = streams.stdin == Mode::Interactive;
            own.then(|| Console::new(app.id, app.stdio, caller.stdin))
        }),
        running: guest.apps.len(),
        sessions: Sessions::new(&guest.apps),
        manager: ServiceManager::of_caller(),
        processes: measures::processes(&pod.vmm, &pod.files),
        attachments: Attachments::new(attachments::directory::root(), pod.attach_patience),
        tunnels: tunnels_of(guest),
        kernel: KernelLog::new(pod.serial.take(), pod.metrics.console()),
        clock: HostClock::watch().map_err(SupervisorError::Clock)?,
        kill_at: Deadline::default(),
        stop_requested: false,
        asked_to_stop: false,
        forced: false,
        pod,
    };
    let mut ending = supervisor.run(signals);

    // Nothing of the guest is needed any more: it has halted, or cannot be trusted to. The VMM has no file open, so nobody
    // waits for its teardown, which takes KVM tens of milliseconds. The file server is waited for: until it is gone it may
    // write to the pod's files, as who makes its nodes may, and the pod's lock, which says that nobody does, falls with this process.
    let vmm_ended = supervisor.pod.vmm.has_ended();
    let files_ended = supervisor.pod.files.has_ended();
    supervisor.pod.vmm.kill()?;
    supervisor.pod.files.kill()?;
    supervisor.pod.nodes.kill()?;
    fault::point("supervisor.children.killed");
    if supervisor.forced && supervisor.conversation.has_begun() && !matches!(ending, Ok(Ending::Finished)) {
        // What the guest could not do in time, the VMM's end has done: every app was killed.
        let actions = supervisor.conversation.vm_was_killed();
        supervisor.carry_out(actions)?;
        ending = Ok(Ending::Finished);
    }
    if matches!(ending, Ok(Ending::VmmGone) | Err(SupervisorError::GuestSilent { .. })) {
        supervisor.relay_last_kernel_messages();
    }
    let wanted = !supervisor.forced && !matches!(ending, Err(SupervisorError::Killed(_)));
    supervisor.drain(wanted.then_some(signals))?;
    supervisor.dismiss_clients()?;
    let Supervisor { pod: Pod { vmm, files, nodes, metrics, groups, .. }, conversation, .. } = supervisor;
    let files = files.wait::<FileServerEnd>()?;
    nodes.wait()?;
    fault::point("supervisor.files.ended");
    metrics.marks.exit.set();
    measures::record_phases(&metrics);
    match ending? {
        Ending::Finished => Ok(conversation.exit_code()),
        Ending::VmmGone => {
            let short = groups.ran_out_of_memory();
            if files_ended {
                file_server_verdict(files, short)?;
            }
            if vmm_ended { vmm_verdict(vmm.wait()?, short) } else { Err(SupervisorError::GuestDied) }
        }
    }
}

impl Supervisor<'_> {
    fn run(&mut self, signals: &SignalFd) -> Result<Ending, SupervisorError> {
        let mut files_alive = true;
        let mut told_missing = false;
        loop {
            if self.conversation.is_finished() {
                return Ok(Ending::Finished);
            }
            let ready = self.wait(files_alive, signals)?;
            if ready.signals {
                self.take_signals(signals)?;
            }
            if ready.serial {
                self.relay_kernel_messages();
            }
            if ready.control && self.may_hear_guest() {
                self.hear_guest()?;
                // The guest runs, so all walls are up.
                if !std::mem::replace(&mut told_missing, true) {
                    self.tell_missing();
                    self.pod.groups.limit_processors();
                }
            }
            if ready.clients {
                self.serve_clients()?;
            }
            if ready.attached || self.attachments.has_bequests() {
                self.hear_attached()?;
            }
            if ready.console {
                self.read_console()?;
            }
            if ready.tree {
                self.tree_changed()?;
            }
            if ready.clock {
                self.compare_clocks()?;
            }
            if ready.forwarder
                && let Some(said) = self.pod.forwarder.as_mut().and_then(PortForwarder::tend)
            {
                self.outputs.say(&said);
            }
            if ready.nodes
                && let Some(said) = self.pod.nodes.tend()
            {
                self.outputs.say(&said);
            }
            if ready.files {
                files_alive = false;
                // It ends because the VMM has, which is about to be seen; or it failed, and the VM is of no use.
                self.kill_within(CHILD_GRACE, "its file server has ended");
            }
            if self.pod.control.is_closed() {
                // It does so right before its end.
                self.kill_within(HALT_GRACE, "its guest hung up without halting");
            }
            if ready.vmm && !self.conversation.is_finished() {
                // The guest's last words may still be in the socket.
                while self.hear_guest()? {}
                if !self.conversation.is_finished() {
                    return Ok(Ending::VmmGone);
                }
            }
            self.flush()?;
            self.flush_clients()?;
            self.relay_tunnels()?;
            self.pod.control.flush()?;
            if self.is_waiting() && !self.stop_requested && files_alive {
                // The guest cannot end before its apps' output is taken, and the reader has all the time it wants.
                self.kill_at.put_off(Instant::now(), HALT_GRACE);
            }
            if self.call_at().is_some_and(|at| at <= Instant::now()) {
                let worked = self.pod.vmm.processor_time();
                return Err(SupervisorError::GuestSilent { limit: self.pod.boot_timeout, worked });
            }
            if let Some(reason) = self.kill_at.passed(Instant::now()) {
                return if files_alive { Err(SupervisorError::Killed(reason)) } else { Ok(Ending::VmmGone) };
            }
        }
    }

    /// Moves what sockets of the host's and of the guest's have to say to each other.
    fn relay_tunnels(&mut self) -> Result<(), SupervisorError> {
        for message in self.tunnels.relay(self.may_hear_clients()) {
            self.pod.control.send(&ToGuest::Tunnel(message))?;
        }
        Ok(())
    }

    /// Writes what the readers take, and grants the guest as much again.
    fn flush(&mut self) -> Result<(), SupervisorError> {
        for written in self.outputs.flush(self.pod.started.elapsed()) {
            self.pod.metrics.marks.first_byte.set();
            if let Some(taken) = self.attachments.own_output_took(written) {
                self.taken(taken)?;
            }
        }
        self.flush_attached()
    }

    /// Everybody has taken what the app wrote.
    fn taken(&mut self, taken: Written) -> Result<(), SupervisorError> {
        let actions = self.conversation.written(taken.app, taken.stream, taken.bytes);
        self.carry_out(actions)
    }

    /// Passes messages of the kernel and the VMM on to standard error, line by line.
    fn relay_kernel_messages(&mut self) {
        for line in self.kernel.read() {
            match line {
                Line::Kernel(text) => self.outputs.machine_message(diagnostics::KERNEL, &text),
                Line::Vmm(text) => self.outputs.machine_message(diagnostics::VMM, &text),
            }
        }
    }

    /// What the kernel had to say when nobody was listening.
    fn relay_last_kernel_messages(&mut self) {
        for line in self.kernel.last_lines() {
            self.outputs.machine_message(diagnostics::KERNEL, &line);
        }
    }
}

/// Where the guest's apps may have tunnels to.
fn tunnels_of(guest: &GuestPlan) -> Tunnels {
    let mut tunnels = Tunnels::new(Side::Host);
    if guest.metadata_service {
        tunnels.serve(Destination::MetadataService, Target::Unix(METADATA_SERVICE_SOCKET.into()));
    }
    tunnels
}
