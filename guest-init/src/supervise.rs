//! The event loop: what happens becomes events of the pod, and the pod's actions are carried out.
//!
//! Responsible for: descriptors, process IDs, the clock. Must not know: what an event means for the pod
//! ([`crate::pod`] decides). Follows guest-api and poll(2).

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use guest_api::{AppId, AppSpec, PodSpec, StdioStream, ToGuest, ToHost};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags};

use crate::app::start::{self, MAX_REASON_BYTES};
use crate::app::stdio::{Relayed, Stream};
use crate::app::{cgroup, root};
use crate::control::{Control, Received};
use crate::pod::{Action, Event, Pod};
use crate::{InitError, console, reap, sentence, shutdown};

/// How the pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    Abandoned,
}

/// What a ready descriptor belongs to; an index is one into the list of processes.
#[derive(Clone, Copy, Debug)]
enum Source {
    Control,
    Signals,
    Report(usize),
    Output(usize, StdioStream),
}

/// An app's main process and its descriptors; they stay when the process has ended.
struct Process {
    app: AppId,
    /// None once it was reaped: the kernel gives the number to somebody else.
    pid: Option<i32>,
    /// Open until it is known whether the program was executed.
    report: Option<OwnedFd>,
    stdout: Stream,
    stderr: Stream,
    /// The process ended, and its last output is on its way.
    draining: bool,
}

impl Process {
    fn start(app: &AppSpec) -> Result<Self, InitError> {
        let child = start::spawn(app)?;
        let stream = |pipe| Stream::new(pipe).map_err(InitError::kernel("read the app's output"));
        Ok(Self {
            app: app.id,
            pid: Some(child.pid.as_raw()),
            report: Some(child.report),
            stdout: stream(child.stdout)?,
            stderr: stream(child.stderr)?,
            draining: false,
        })
    }

    fn stream(&mut self, stream: StdioStream) -> &mut Stream {
        match stream {
            StdioStream::Stdout => &mut self.stdout,
            StdioStream::Stderr => &mut self.stderr,
        }
    }

    fn owes_nothing(&self) -> bool {
        self.stdout.owes_nothing() && self.stderr.owes_nothing()
    }
}

const STREAMS: [StdioStream; 2] = [StdioStream::Stdout, StdioStream::Stderr];

struct Supervisor {
    control: Control,
    signals: SignalFd,
    pod: Pod,
    processes: Vec<Process>,
    events: VecDeque<Event>,
    deadline: Option<Instant>,
    draining_everything: bool,
}

/// Starts the apps and sees them through to the end of the VM. The rest of the specification is in force already.
pub fn run(spec: &PodSpec, control: Control, signals: SignalFd) -> ! {
    let grace = Duration::from_millis(u64::from(spec.stop_grace_ms));
    let mut supervisor = Supervisor {
        control,
        signals,
        pod: Pod::new(spec.apps.iter().map(|app| app.id), spec.stop_on_failure, grace),
        processes: Vec::new(),
        events: VecDeque::new(),
        deadline: None,
        draining_everything: false,
    };
    supervisor.start(&spec.apps);
    // What came on the heels of the configuration, a stop for example, was read with it.
    supervisor.obey_messages();
    let end = loop {
        if let Some(end) = supervisor.settle() {
            break end;
        }
        supervisor.wait();
    };
    match end {
        End::Orderly => shutdown::halt(supervisor.control),
        End::Abandoned => shutdown::abandon(),
    }
}

impl Supervisor {
    fn start(&mut self, apps: &[AppSpec]) {
        if apps.is_empty() {
            // Nothing will ever happen to a pod without apps; let it notice.
            self.events.push_back(Event::NoProcessLeft);
        }
        apps.iter().for_each(root::mount_sources);
        for app in apps {
            match Process::start(app) {
                Ok(process) => self.processes.push(process),
                Err(error) => {
                    self.events.push_back(Event::StartFailed { app: app.id, reason: sentence(&error) });
                }
            }
        }
    }

    /// Carries out everything that follows from what is known, then sends what fits.
    fn settle(&mut self) -> Option<End> {
        loop {
            self.notice_drained();
            let Some(event) = self.events.pop_front() else { break };
            for action in self.pod.on(event) {
                if let Some(end) = self.carry_out(action) {
                    return Some(end);
                }
            }
        }
        match self.control.flush() {
            Ok(()) => None,
            Err(error) => {
                console::say(&sentence(&error));
                Some(End::Abandoned)
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<End> {
        match action {
            Action::Send(message) => self.control.queue(&message),
            Action::Terminate(app) => self.terminate(app),
            Action::KillEverything => {
                shutdown::kill_everything();
                self.reap();
            }
            Action::Drain(app) => {
                for process in self.processes.iter_mut().filter(|process| process.app == app) {
                    process.draining = true;
                    owe_what_is_there(process);
                }
            }
            Action::DrainEverything => {
                self.draining_everything = true;
                self.processes.iter_mut().for_each(owe_what_is_there);
            }
            Action::SetDeadline(time) => self.deadline = Instant::now().checked_add(time),
            Action::ClearDeadline => self.deadline = None,
            Action::Halt => return Some(End::Orderly),
            Action::Abandon => return Some(End::Abandoned),
        }
        None
    }

    /// SIGTERM to every process of the app, as rkt's systemd does; the main one may not have joined its group yet.
    fn terminate(&self, app: AppId) {
        let main = self.processes.iter().find(|process| process.app == app).and_then(|process| process.pid);
        for pid in targets(cgroup::processes(app).unwrap_or_default(), main) {
            // It may have ended meanwhile, which is what the signal is for.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    fn notice_drained(&mut self) {
        for index in 0..self.processes.len() {
            let Some(process) = self.processes.get_mut(index) else { continue };
            if process.draining && process.owes_nothing() {
                process.draining = false;
                self.events.push_back(Event::Drained(process.app));
                // Usually nobody else has the pipes: then the host learns of their end before that of the app.
                for stream in STREAMS {
                    self.relay(index, stream);
                }
            }
        }
        if self.draining_everything && self.processes.iter().all(Process::owes_nothing) {
            self.draining_everything = false;
            for process in &mut self.processes {
                let app = process.app;
                for stream in STREAMS {
                    if process.stream(stream).close() {
                        self.control
                            .queue(&ToHost::OutputClosed { process: guest_api::Process::App(app), stream });
                    }
                }
            }
            self.events.push_back(Event::StreamsClosed);
        }
    }

    fn wait(&mut self) {
        let timeout = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let ready = self.poll(timeout);
        for source in ready {
            match source {
                Source::Control => self.receive(),
                Source::Report(index) => self.read_report(index),
                Source::Output(index, stream) => self.relay(index, stream),
                Source::Signals => {
                    // One SIGCHLD may stand for many ended processes; what counts is that one was read.
                    while let Ok(Some(_)) = self.signals.read_signal() {}
                    self.reap();
                }
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.deadline = None;
            self.events.push_back(Event::DeadlinePassed);
        }
    }

    /// Waits, and says what is ready, in the order in which it should be looked at: an app's start before its output,
    /// its output before its end.
    fn poll(&self, timeout: Option<Duration>) -> Vec<Source> {
        let mut sources = vec![Source::Control];
        let mut descriptors = vec![PollFd::new(&self.control, self.control.interest())];
        for (index, process) in self.processes.iter().enumerate() {
            if let Some(report) = &process.report {
                sources.push(Source::Report(index));
                descriptors.push(PollFd::new(report, PollFlags::IN));
            }
        }
        if self.control.has_room() {
            for (index, process) in self.processes.iter().enumerate().filter(|(_, it)| it.report.is_none()) {
                let streams =
                    [(StdioStream::Stdout, &process.stdout), (StdioStream::Stderr, &process.stderr)];
                for (name, pipe) in streams.iter().filter_map(|(name, it)| Some((name, it.readable()?))) {
                    sources.push(Source::Output(index, *name));
                    descriptors.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
                }
            }
        }
        sources.push(Source::Signals);
        descriptors.push(PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN));
        let timeout = timeout.and_then(|time| time.try_into().ok());
        match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) => sources
                .into_iter()
                .zip(&descriptors)
                .filter(|(_, descriptor)| !descriptor.revents().is_empty())
                .map(|(source, _)| source)
                .collect(),
            Err(_) => Vec::new(),
        }
    }

    fn receive(&mut self) {
        match self.control.receive() {
            Ok(Received::Bytes) => self.obey_messages(),
            Ok(Received::Closed) => self.events.push_back(Event::ControlLost),
            Err(error) => self.lose_control(&error),
        }
    }

    fn obey_messages(&mut self) {
        loop {
            match self.control.next_message() {
                Ok(Some(message)) => self.obey(message),
                Ok(None) => break,
                Err(error) => return self.lose_control(&error),
            }
        }
    }

    fn lose_control(&mut self, error: &InitError) {
        console::say(&sentence(error));
        self.events.push_back(Event::ControlLost);
    }

    fn obey(&mut self, message: ToGuest) {
        match message {
            ToGuest::Stop => self.events.push_back(Event::StopRequested),
            ToGuest::Kill => self.events.push_back(Event::KillRequested),
            ToGuest::Credit { process: guest_api::Process::App(app), stream, bytes } => {
                for process in self.processes.iter_mut().filter(|process| process.app == app) {
                    process.stream(stream).grant(bytes);
                }
            }
            ToGuest::Exec(session) => self.control.queue(&ToHost::SessionFailed {
                session: session.id,
                reason: "this guest-init runs no commands in apps".to_owned(),
            }),
            ToGuest::Credit { .. }
            | ToGuest::Input { .. }
            | ToGuest::InputClosed(_)
            | ToGuest::Resize { .. }
            | ToGuest::Signal { .. }
            | ToGuest::HangUp(_) => {}
            ToGuest::Configure(_) => self.lose_control(&InitError::UnexpectedMessage("Configure")),
        }
    }

    fn read_report(&mut self, index: usize) {
        let Some(process) = self.processes.get_mut(index) else { return };
        let Some(report) = process.report.take() else { return };
        let mut reason = vec![0; MAX_REASON_BYTES];
        let length = rustix::io::read(&report, reason.as_mut_slice()).unwrap_or(0);
        reason.truncate(length);
        let app = process.app;
        self.events.push_back(if reason.is_empty() {
            Event::Executed { app, pid: process.pid.map_or(0, i32::unsigned_abs) }
        } else {
            // It never had outputs, as far as the host is concerned.
            process.stdout.close();
            process.stderr.close();
            Event::StartFailed { app, reason: String::from_utf8_lossy(&reason).into_owned() }
        });
    }

    fn relay(&mut self, index: usize, stream: StdioStream) {
        let Some(process) = self.processes.get_mut(index) else { return };
        let app = process.app;
        match process.stream(stream).relay() {
            Ok(Relayed::Data(data)) => {
                self.control.queue(&ToHost::Output { process: guest_api::Process::App(app), stream, data })
            }
            Ok(Relayed::End) => {
                self.control.queue(&ToHost::OutputClosed { process: guest_api::Process::App(app), stream })
            }
            Ok(Relayed::Empty | Relayed::NoCredit | Relayed::Closed) => {}
            Err(error) => {
                console::say(&format!("cannot read an app's output: {error}"));
                if process.stream(stream).close() {
                    self.control
                        .queue(&ToHost::OutputClosed { process: guest_api::Process::App(app), stream });
                }
            }
        }
    }

    fn reap(&mut self) {
        let ended = reap::collect();
        for (pid, exit) in ended.processes {
            let Some(index) = self.processes.iter().position(|process| process.pid == Some(pid)) else {
                continue;
            };
            // Whether it was executed is known now at the latest, and must be told first.
            self.read_report(index);
            if let Some(process) = self.processes.get_mut(index) {
                process.pid = None;
                self.events.push_back(Event::Ended { app: process.app, exit });
            }
        }
        if ended.none_left {
            self.events.push_back(Event::NoProcessLeft);
        }
    }
}

/// Whom to signal: the app's group, and its main process, which may not have joined the group yet or may be gone.
pub fn targets(mut group: Vec<i32>, main: Option<i32>) -> Vec<i32> {
    group.extend(main.filter(|main| !group.contains(main)));
    group
}

fn owe_what_is_there(process: &mut Process) {
    for stream in STREAMS {
        if let Err(error) = process.stream(stream).owe_what_is_there() {
            console::say(&format!("cannot see an app's output: {error}"));
        }
    }
}
