//! The supervisor: one loop between the guest, the two child processes, the user's signals and rkt's own output.
//!
//! Responsible for: waiting for everything at once, carrying out what `guest` decides, ending the pod. Must not know: what
//! messages mean (`guest`), what lines look like (`stdio`). Follows docs/architecture.md, "While the pod runs", and
//! rkt-reference 4.3 and 6.8.

mod actions;
mod apps;
mod clients;
mod console;
mod error;
mod hearing;
mod kernel_log;
#[cfg(test)]
mod kernel_log_test;
mod measures;
mod user;
mod wait;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guest_api::{
    AppId, AppSpec, Destination, Identity, Incoming, MAX_FRAME_BYTES, Output, PodSpec, Process, ToGuest,
    ToHost,
};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use tunnels::{Side, Target, Tunnels};
use uuid::Uuid;

use crate::apps::Apps;
use crate::attachments::{self, Attachments};
use crate::control::Control;
use crate::control_socket::server::Server;
use crate::control_socket::sessions::Sessions;
use crate::deadline::Deadline;
use crate::diagnostics::sentence;
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
use crate::plan::{GuestPlan, STOP_GRACE_MS};
use crate::port_forwarder::PortForwarder;
use crate::process::Child;
use crate::service_manager::ServiceManager;
use crate::streams::{Mode, Streams};

pub use apps::Additions;
pub use error::SupervisorError;

use crate::fault;
use apps::SharedTree;
use console::Console;
use error::{file_server_verdict, vmm_verdict};
use hearing::Passing;
use kernel_log::KernelLog;
use wait::poll_until;

/// Where the metadata service answers pods. It is a file, so it is reached from whatever network name space the supervisor is in.
const METADATA_SERVICE_SOCKET: &str = "/run/rkt/metadata-svc-public.sock";

/// How much longer than the apps' grace period the guest has to sync and unmount before the VM is killed.
const HALT_GRACE: Duration = Duration::from_secs(10);

/// What may wait for the guest to read it before it is not listened to any more: two of the longest messages. guest-init reads
/// whatever it has to say itself. A hostile guest that does not would have answers to what it says fill the host's memory.
const MAX_UNREAD_BYTES: usize = 2 * MAX_FRAME_BYTES;

/// The apps' grace period.
const STOP_GRACE: Duration = Duration::from_millis(STOP_GRACE_MS as u64);

/// How long the guest has to kill everything, sync and halt when the pod is stopped by force. `stop --force` waits a little longer
/// before it kills the supervisor.
const KILL_GRACE: Duration = Duration::from_secs(3);

/// How long the pod's end waits for clients to take what their commands said last.
const LAST_WORDS_GRACE: Duration = Duration::from_secs(1);

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
    /// The VMM.
    pub vmm: Child,
    /// The file server.
    pub files: Child,
    /// What serves its ports, if it has any.
    pub forwarder: Option<PortForwarder>,
    /// Our end of the guest's control connection.
    pub control: UnixStream,
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

/// What the loop waits for.
enum Source {
    Control,
    Signals,
    Vmm,
    Files,
    Forwarder,
    Serial,
    Sink,
    Tunnel,
    Clients,
    Attached,
    Console,
    Clock,
    Tree,
}

/// What the loop woke up for.
#[derive(Debug, Default)]
struct Ready {
    control: bool,
    signals: bool,
    vmm: bool,
    files: bool,
    forwarder: bool,
    serial: bool,
    clients: bool,
    attached: bool,
    tree: bool,
    console: bool,
    clock: bool,
}

/// An app that the guest knows.
struct Run {
    name: String,
    streams: Streams,
}

struct Supervisor<'fd> {
    uuid: Uuid,
    guest: GuestPlan,
    runs: BTreeMap<AppId, Run>,
    apps: Apps,
    additions: Additions,
    tree: SharedTree,
    entropy: [u8; 32],
    started: Instant,
    boot_timeout: Duration,
    conversation: Conversation,
    control: Control,
    passing: Option<Passing>,
    outputs: Outputs<'fd>,
    /// With an interactive app.
    console: Option<Console<'fd>>,
    running: usize,
    kernel: KernelLog,
    clients: Server,
    sessions: Sessions,
    clock: HostClock,
    attachments: Attachments,
    tunnels: Tunnels,
    forwarder: Option<PortForwarder>,
    /// What the service manager passed for apps, by number, until there are apps.
    passed: Vec<(u16, OwnedFd)>,
    manager: ServiceManager,
    metrics: PodMetrics,
    groups: Groups,
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
pub fn supervise(pod: Pod, signals: &SignalFd, caller: Caller<'_>) -> Result<ExitCode, SupervisorError> {
    let Pod {
        uuid,
        guest,
        started,
        boot_timeout,
        vmm,
        files,
        forwarder,
        control,
        serial,
        clients,
        additions,
        passed,
        metrics,
        groups,
    } = pod;
    let mut entropy = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut entropy))
        .map_err(SupervisorError::Entropy)?;
    let mutable = additions.flags.mutable;
    let mut first = Vec::new();
    for app in guest.apps.iter().filter(|_| mutable) {
        let plan = additions.plan(&app.name).map_err(|error| SupervisorError::Plan(sentence(&error)))?;
        first.push((app.id, plan));
    }
    let run =
        |(app, streams): (&AppSpec, &Streams)| (app.id, Run { name: app.name.clone(), streams: *streams });
    let log_files = LogFiles::new(Path::new(log_files::DIRECTORY));
    let logs = Logs::new(log_files, Journal::of_host(uuid), guest.kubernetes_logs.clone());
    let mut supervisor = Supervisor {
        uuid,
        entropy,
        started,
        boot_timeout,
        conversation: {
            let apps = guest.apps.iter().map(|app| (app.name.clone(), app.lifecycle.count()));
            if mutable { Conversation::mutable(apps) } else { Conversation::new(apps) }
        },
        runs: guest.apps.iter().zip(&guest.streams).map(run).collect(),
        apps: Apps::new(mutable, first),
        additions,
        tree: SharedTree::new(files.descriptor().try_clone_to_owned().map_err(SupervisorError::Wait)?),
        control: Control::new(control)?,
        passing: None,
        outputs: Outputs::new(caller.stdout, caller.stderr, logs),
        console: guest.apps.iter().zip(&guest.streams).find_map(|(app, streams)| {
            let own = streams.stdin == Mode::Interactive;
            own.then(|| Console::new(app.id, app.stdio, caller.stdin))
        }),
        running: guest.apps.len(),
        sessions: Sessions::new(&guest.apps),
        manager: ServiceManager::of_caller(),
        kernel: KernelLog::new(serial, metrics.console()),
        metrics,
        groups,
        processes: measures::processes(&vmm, &files),
        attachments: Attachments::new(attachments::directory::root()),
        tunnels: tunnels_of(&guest),
        forwarder,
        passed,
        guest,
        clients,
        clock: HostClock::watch().map_err(SupervisorError::Clock)?,
        kill_at: Deadline::default(),
        stop_requested: false,
        asked_to_stop: false,
        forced: false,
    };
    let mut ending = supervisor.run(&vmm, &files, signals);

    // Nothing of the guest is needed any more: it has halted, or cannot be trusted to. The VMM has no file open, so nobody
    // waits for its teardown, which takes KVM tens of milliseconds. The file server is waited for: until it is gone it may
    // write to the pod's files, and the pod's lock, which says that nobody does, falls with this process.
    let vmm_ended = vmm.has_ended();
    let files_ended = files.has_ended();
    vmm.kill()?;
    files.kill()?;
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
    let files = files.wait::<FileServerEnd>()?;
    fault::point("supervisor.files.ended");
    supervisor.metrics.marks.exit.set();
    supervisor.record_phases();
    match ending? {
        Ending::Finished => Ok(supervisor.conversation.exit_code()),
        Ending::VmmGone => {
            let short = supervisor.groups.ran_out_of_memory();
            if files_ended {
                file_server_verdict(files, short)?;
            }
            if vmm_ended { vmm_verdict(vmm.wait()?, short) } else { Err(SupervisorError::GuestDied) }
        }
    }
}

impl Supervisor<'_> {
    fn run(&mut self, vmm: &Child, files: &Child, signals: &SignalFd) -> Result<Ending, SupervisorError> {
        let mut files_alive = true;
        let mut told_missing = false;
        loop {
            if self.conversation.is_finished() {
                return Ok(Ending::Finished);
            }
            let ready = self.wait(vmm, files_alive.then_some(files), signals)?;
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
                    self.tell_missing(vmm, files);
                    self.groups.limit_processors();
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
                && let Some(said) = self.forwarder.as_mut().and_then(PortForwarder::tend)
            {
                self.outputs.say(&said);
            }
            if ready.files {
                files_alive = false;
                // It ends because the VMM has, which is about to be seen; or it failed, and the VM is of no use.
                self.kill_within(CHILD_GRACE, "its file server has ended");
            }
            if self.control.is_closed() {
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
            self.control.flush()?;
            if self.is_waiting() && !self.stop_requested && files_alive {
                // The guest cannot end before its apps' output is taken, and the reader has all the time it wants.
                self.kill_at.put_off(Instant::now(), HALT_GRACE);
            }
            if self.call_at().is_some_and(|at| at <= Instant::now()) {
                let worked = vmm.processor_time();
                return Err(SupervisorError::GuestSilent { limit: self.boot_timeout, worked });
            }
            if let Some(reason) = self.kill_at.passed(Instant::now()) {
                return if files_alive { Err(SupervisorError::Killed(reason)) } else { Ok(Ending::VmmGone) };
            }
        }
    }

    /// Until when the guest has to call, if it has not yet. A time beyond what the clock can tell is never.
    fn call_at(&self) -> Option<Instant> {
        if self.conversation.has_begun() { None } else { self.started.checked_add(self.boot_timeout) }
    }

    fn wait(&self, vmm: &Child, files: Option<&Child>, signals: &SignalFd) -> Result<Ready, SupervisorError> {
        let mut waited: Vec<(Source, PollFd<'_>)> = Vec::new();
        let mut add = |source, fd, flags| waited.push((source, PollFd::from_borrowed_fd(fd, flags)));
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.control.is_closed() && self.may_hear_guest());
        flags.set(PollFlags::OUT, self.control.has_outgoing());
        if !flags.is_empty() {
            add(Source::Control, self.control.descriptor(), flags);
        }
        add(Source::Signals, signals.as_fd(), PollFlags::IN);
        add(Source::Vmm, vmm.descriptor(), PollFlags::IN);
        if let Some(files) = files {
            add(Source::Files, files.descriptor(), PollFlags::IN);
        }
        if let Some(forwarder) = self.forwarder.as_ref().and_then(PortForwarder::descriptor) {
            add(Source::Forwarder, forwarder, PollFlags::IN);
        }
        if let Some(serial) = self.kernel.descriptor() {
            add(Source::Serial, serial, PollFlags::IN);
        }
        if let Some(log) = self.outputs.blocked_log() {
            add(Source::Sink, log, PollFlags::OUT);
        }
        for descriptor in self.outputs.blocked() {
            add(Source::Sink, descriptor, PollFlags::OUT);
        }
        let may_hear = self.may_hear_clients();
        for (descriptor, flags) in self.attachments.interests(may_hear) {
            add(Source::Attached, descriptor, flags);
        }
        for (descriptor, flags) in self.clients.interests(may_hear) {
            add(Source::Clients, descriptor, flags);
        }
        for (descriptor, flags) in self.tunnels.interests(self.may_hear_clients()) {
            add(Source::Tunnel, descriptor, flags);
        }
        if let Some(stdin) = self.console.as_ref().and_then(Console::descriptor) {
            add(Source::Console, stdin, PollFlags::IN);
        }
        add(Source::Clock, self.clock.descriptor(), PollFlags::IN);
        if let Some(change) = self.tree.descriptor() {
            add(Source::Tree, change, PollFlags::IN);
        }
        let (sources, mut descriptors): (Vec<_>, Vec<_>) = waited.into_iter().unzip();
        let visit = self.visit_at();
        let due = self.forwarder.as_ref().and_then(PortForwarder::due);
        let until = [self.kill_at.at(), self.call_at(), visit, self.tunnels.deadline(), due];
        let until = until.into_iter().flatten().min();
        poll_until(&mut descriptors, until)?;
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        let (overdue, forwarder) = (is_over(visit), is_over(due));
        let mut ready = Ready { clients: overdue, attached: overdue, forwarder, ..Ready::default() };
        for (source, descriptor) in sources.into_iter().zip(descriptors) {
            let woken = !descriptor.revents().is_empty();
            match source {
                Source::Control => ready.control = woken,
                Source::Signals => ready.signals = woken,
                Source::Vmm => ready.vmm = woken,
                Source::Files => ready.files = woken,
                Source::Forwarder => ready.forwarder |= woken,
                Source::Serial => ready.serial = woken,
                Source::Clients => ready.clients |= woken,
                Source::Console => ready.console = woken,
                Source::Tree => ready.tree = woken,
                Source::Clock => ready.clock = woken,
                Source::Attached => ready.attached |= woken,
                Source::Sink | Source::Tunnel => {}
            }
        }
        Ok(ready)
    }

    /// When clients are to be looked at even if none of them does anything.
    fn visit_at(&self) -> Option<Instant> {
        [self.clients.deadline(), self.attachments.deadline()].into_iter().flatten().min()
    }

    /// Whether somebody has still to take something of an app's output.
    fn is_waiting(&self) -> bool {
        self.outputs.is_waiting() || self.attachments.is_waiting()
    }

    /// Moves what sockets of the host's and of the guest's have to say to each other.
    fn relay_tunnels(&mut self) -> Result<(), SupervisorError> {
        for message in self.tunnels.relay(self.may_hear_clients()) {
            self.control.send(&ToGuest::Tunnel(message))?;
        }
        Ok(())
    }

    /// Whether the guest reads what it is sent.
    fn may_hear_guest(&self) -> bool {
        self.control.outgoing_bytes() < MAX_UNREAD_BYTES
    }

    /// Has the guest follow the host's clock. One that does not read has lost its own sense of time anyway.
    fn compare_clocks(&mut self) -> Result<(), SupervisorError> {
        if self.clock.has_news().map_err(SupervisorError::Clock)? && self.may_hear_guest() {
            let actions = self.conversation.compare_clocks(now_ns());
            self.carry_out(actions)?;
        }
        Ok(())
    }

    /// The pod is to end in order.
    fn stop(&mut self) -> Result<(), SupervisorError> {
        self.stop_requested = true;
        self.manager.stopping();
        // Whoever connects from now on waits for the next start.
        self.tunnels.stop_listening();
        self.sessions.pod_ends();
        self.apps.pod_ends();
        let actions = self.conversation.stop();
        self.carry_out(actions)?;
        self.kill_within(self.stop_grace() + HALT_GRACE, "it did not stop in time");
        Ok(())
    }

    /// The pod is to end at once.
    fn kill(&mut self) -> Result<(), SupervisorError> {
        self.stop_requested = true;
        self.asked_to_stop = true;
        self.forced = true;
        self.manager.stopping();
        self.tunnels.stop_listening();
        self.sessions.pod_ends();
        self.apps.pod_ends();
        let (asked, actions) = self.conversation.kill();
        if !asked {
            return Err(SupervisorError::Killed("it was stopped by force before its guest had started"));
        }
        self.carry_out(actions)?;
        self.kill_within(KILL_GRACE, "it was stopped by force");
        Ok(())
    }

    /// Event handlers that run after apps have a grace period of their own, which begins when the apps were killed.
    fn stop_grace(&self) -> Duration {
        let of_pod = self.guest.apps.iter().any(|app| !app.lifecycle.post_stop.is_empty());
        if of_pod || self.apps.clean_up() { STOP_GRACE * 2 + HALT_GRACE } else { STOP_GRACE }
    }

    fn kill_within(&mut self, time: Duration, reason: &'static str) {
        self.kill_at.within(Instant::now(), time, reason);
    }

    fn converse(&mut self) -> Result<(), SupervisorError> {
        while let Some(incoming) = self.control.next_message()? {
            let message = match incoming {
                Incoming::Output(Output { process: Process::App(app), stream, data }) => {
                    self.conversation.output(app, stream, data.len())?;
                    self.metrics.counts.output_bytes.add(data.len() as u64);
                    self.attachments.push(app, stream, data);
                    self.outputs.push(app, stream, data);
                    continue;
                }
                Incoming::Output(Output { process, stream, data }) => {
                    ToHost::Output { process, stream, data: data.to_vec() }
                }
                Incoming::Message(message) => message,
            };
            let spec = || PodSpec {
                identity: Identity {
                    uuid: self.uuid.to_string(),
                    hostname: self.guest.hostname.clone(),
                    realtime_ns: now_ns(),
                    entropy: self.entropy,
                },
                apps: self.guest.apps.clone(),
                stop_on_failure: !self.additions.flags.mutable,
                stop_grace_ms: STOP_GRACE_MS,
                metadata_service: self.guest.metadata_service,
                mutable: self.additions.flags.mutable,
                network: self.guest.network.clone(),
            };
            let actions = self.conversation.receive(message, spec)?;
            self.metrics.marks.init.set();
            self.metrics.counts.messages.add(1);
            self.carry_out(actions)?;
        }
        Ok(())
    }

    /// Writes what the readers take, and grants the guest as much again.
    fn flush(&mut self) -> Result<(), SupervisorError> {
        for written in self.outputs.flush(self.started.elapsed()) {
            self.metrics.marks.first_byte.set();
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

    /// Writes everything the apps wrote. With `signals`, waits until its readers have taken it, or until a signal says that
    /// nobody wants to wait for whoever does not read.
    fn drain(&mut self, signals: Option<&SignalFd>) -> Result<(), SupervisorError> {
        while self.kernel.descriptor().is_some() {
            self.relay_kernel_messages();
        }
        // Streams that a guest without last words left open.
        self.outputs.close_all();
        self.outputs.finish_logs(LAST_WORDS_GRACE);
        self.attachments.close_all();
        loop {
            self.flush()?;
            self.flush_clients()?;
            let Some(signals) = signals.filter(|_| self.is_waiting() && !self.forced) else {
                return Ok(());
            };
            let mut descriptors = vec![PollFd::new(signals, PollFlags::IN)];
            descriptors.extend(self.outputs.blocked().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
            let clients = self.clients.interests(true).into_iter().chain(self.attachments.interests(true));
            descriptors.extend(clients.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
            poll_until(&mut descriptors, self.visit_at())?;
            if self.was_told_to_leave(signals)? {
                return Ok(());
            }
            self.serve_clients()?;
            self.hear_attached()?;
        }
    }

    /// Passes kernel messages on to standard error, line by line.
    fn relay_kernel_messages(&mut self) {
        for line in self.kernel.read() {
            self.outputs.kernel_message(&line);
        }
    }

    /// What the kernel had to say when nobody was listening.
    fn relay_last_kernel_messages(&mut self) {
        for line in self.kernel.last_lines() {
            self.outputs.kernel_message(&line);
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

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
