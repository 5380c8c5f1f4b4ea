//! The event loop: what happens becomes events of the pod or of a session, and their actions are carried out.
//!
//! Responsible for: descriptors, process IDs, the clock. Must not know: what an event means ([`crate::pod`] and
//! [`crate::session`] decide). Follows guest-api and poll(2).

mod child;
mod departure;
mod messages;
mod steps;
mod watch;

#[cfg(test)]
mod child_test;
#[cfg(test)]
mod messages_test;
#[cfg(test)]
mod targets_test;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use guest_api::{AppId, AppSpec, PodSpec, Process, StdioStream, ToHost};
use nix::sys::signalfd::SignalFd;
use rustix::process::Signal as GroupSignal;
use tunnels::Tunnels;

use crate::app::descriptors::Descriptors;
use crate::app::notify::NotifySocket;
use crate::app::output::Relayed;
use crate::app::report::News;
use crate::control::Control;
use crate::pod::{self, Pod, Whom};
use crate::session::{self, Sessions};
use crate::{console, reap, sentence, shutdown};
use child::Child;

/// How the pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Orderly,
    Abandoned,
}

/// An event of either state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Pod(pod::Event),
    Session(session::Event),
}

impl From<pod::Event> for Event {
    fn from(event: pod::Event) -> Self {
        Self::Pod(event)
    }
}

impl From<session::Event> for Event {
    fn from(event: session::Event) -> Self {
        Self::Session(event)
    }
}

struct Supervisor {
    control: Control,
    signals: SignalFd,
    pod: Pod,
    sessions: Sessions,
    /// Apps that the pod has, or had and may still be asked for.
    apps: BTreeMap<AppId, AppSpec>,
    /// Apps' mount name spaces, for the commands that come later.
    namespaces: BTreeMap<AppId, OwnedFd>,
    children: BTreeMap<Process, Child>,
    events: VecDeque<Event>,
    deadline: Option<Instant>,
    draining_everything: bool,
    /// Apps of whose last process the pod wants to know.
    watched: BTreeMap<AppId, Whom>,
    /// Where apps say that they have started.
    notify: BTreeMap<AppId, NotifySocket>,
    tunnels: Tunnels,
}

/// Starts the apps and sees them through to the end of the VM. The rest of the specification is in force already.
pub fn run(spec: &PodSpec, control: Control, signals: SignalFd, tunnels: Tunnels) -> ! {
    let mut supervisor = Supervisor::new(spec, control, signals, tunnels);
    supervisor.start();
    // What came on the heels of the configuration, a stop for example, was read with it.
    supervisor.obey_messages();
    let end = loop {
        if let Some(end) = supervisor.settle() {
            break end;
        }
        supervisor.wait();
    };
    let Supervisor { control, namespaces, children, .. } = supervisor;
    // They keep the share mounted.
    drop((namespaces, children));
    match end {
        End::Orderly => shutdown::halt(control),
        End::Abandoned => shutdown::abandon(),
    }
}

impl Supervisor {
    fn new(spec: &PodSpec, control: Control, signals: SignalFd, tunnels: Tunnels) -> Self {
        let grace = Duration::from_millis(u64::from(spec.stop_grace_ms));
        let numbers = spec.apps.iter().map(|app| (app.id, &app.lifecycle));
        Self {
            control,
            signals,
            pod: if spec.mutable {
                Pod::mutable(numbers, grace)
            } else {
                Pod::new(numbers, spec.stop_on_failure, grace)
            },
            sessions: Sessions::default(),
            apps: spec.apps.iter().map(|app| (app.id, app.clone())).collect(),
            namespaces: BTreeMap::new(),
            children: BTreeMap::new(),
            events: VecDeque::new(),
            deadline: None,
            draining_everything: false,
            watched: BTreeMap::new(),
            notify: BTreeMap::new(),
            tunnels,
        }
    }

    fn start(&mut self) {
        if self.apps.is_empty() {
            // Nothing will ever happen to a pod without apps; let it notice.
            self.events.push_back(pod::Event::NoProcessLeft.into());
        }
        for action in self.pod.begin() {
            self.carry_out(action);
        }
    }

    /// Carries out everything that follows from what is known, then sends what fits.
    fn settle(&mut self) -> Option<End> {
        loop {
            self.notice_drained();
            match self.events.pop_front() {
                None => break,
                Some(Event::Pod(event)) => {
                    for action in self.pod.on(event) {
                        if let Some(end) = self.carry_out(action) {
                            return Some(end);
                        }
                    }
                }
                Some(Event::Session(event)) => {
                    for action in self.sessions.on(event) {
                        self.carry_out_for_session(action);
                    }
                }
            }
        }
        for message in self.tunnels.relay(self.control.has_room()) {
            self.control.queue(&ToHost::Tunnel(message));
        }
        match self.control.flush() {
            Ok(()) => None,
            Err(error) => {
                console::say(&sentence(&error));
                Some(End::Abandoned)
            }
        }
    }

    fn carry_out(&mut self, action: pod::Action) -> Option<End> {
        match action {
            pod::Action::Send(message) => self.tell(&message),
            pod::Action::Start(app, step) => self.start_step(app, step),
            pod::Action::Terminate(app, whom) => self.terminate(app, whom),
            pod::Action::KillEverything => {
                self.sessions.close();
                shutdown::kill_everything();
                self.reap();
            }
            pod::Action::Drain(app) => {
                if let Some(child) = self.children.get_mut(&Process::App(app)) {
                    child.handed = None;
                }
                self.drain(Process::App(app));
            }
            pod::Action::DrainEverything => {
                self.draining_everything = true;
                self.children.values_mut().for_each(owe_what_is_there);
            }
            pod::Action::SetDeadline(time) => self.deadline = Instant::now().checked_add(time),
            pod::Action::ClearDeadline => self.deadline = None,
            pod::Action::Halt => return Some(End::Orderly),
            pod::Action::Abandon => return Some(End::Abandoned),
            pod::Action::KillApp(app, whom) => self.kill_app(app, whom),
            pod::Action::Watch(app, whom) => {
                self.watched.insert(app, whom);
                self.notice_emptied();
            }
            pod::Action::SetAppDeadline(app, time) => {
                if let Some(child) = self.children.get_mut(&Process::App(app)) {
                    child.deadline = Instant::now().checked_add(time);
                }
            }
            pod::Action::ClearAppDeadline(app) => {
                if let Some(child) = self.children.get_mut(&Process::App(app)) {
                    child.deadline = None;
                }
            }
            pod::Action::Release(app) => self.release(app),
        }
        None
    }

    fn carry_out_for_session(&mut self, action: session::Action) {
        match action {
            session::Action::Send(message) => self.control.queue(&message),
            session::Action::Drain(session) => self.drain(Process::Session(session)),
            session::Action::HangUp(session) => {
                self.close(Process::Session(session));
                self.signal_group(Process::Session(session), GroupSignal::HUP);
                // One that was stopped could not act on it.
                self.signal_group(Process::Session(session), GroupSignal::CONT);
            }
            session::Action::Kill(session) => {
                self.signal_group(Process::Session(session), GroupSignal::KILL);
            }
            session::Action::SetDeadline(session, time) => {
                if let Some(child) = self.children.get_mut(&Process::Session(session)) {
                    child.deadline = Instant::now().checked_add(time);
                }
            }
            session::Action::Close(session) => self.close(Process::Session(session)),
            session::Action::Forget(session) => drop(self.children.remove(&Process::Session(session))),
        }
    }

    fn signal_group(&self, process: Process, signal: GroupSignal) {
        if let Some(child) = self.children.get(&process) {
            child.signal_own_group(signal);
        }
    }

    fn drain(&mut self, process: Process) {
        if let Some(child) = self.children.get_mut(&process) {
            child.draining = true;
            owe_what_is_there(child);
        }
    }

    fn close(&mut self, process: Process) {
        let Some(child) = self.children.get_mut(&process) else { return };
        for stream in child.descriptors.close() {
            self.control.queue(&ToHost::OutputClosed { process, stream });
        }
    }

    fn notice_drained(&mut self) {
        let owing: Vec<Process> = self
            .children
            .iter()
            .filter(|(_, child)| child.draining || !child.descriptors.owe_nothing())
            .map(|(process, _)| *process)
            .collect();
        for process in owing {
            self.send_what_is_owed(process);
            let drained = |child: &&mut Child| child.draining && child.descriptors.owe_nothing();
            let Some(child) = self.children.get_mut(&process).filter(drained) else { continue };
            child.draining = false;
            self.events.push_back(match process {
                Process::App(app) => pod::Event::Drained(app).into(),
                Process::Session(session) => session::Event::Drained(session).into(),
            });
            // Usually nobody else has the pipes: then the host learns of their end before that of the process.
            for stream in Descriptors::STREAMS {
                self.relay(process, stream);
            }
        }
        // Commands keep no pod waiting; their readers may have gone.
        let of_app = |process: &Process| matches!(process, Process::App(_));
        let mut apps = self.children.iter().filter(|(process, _)| of_app(process));
        if self.draining_everything && apps.all(|(_, child)| child.descriptors.owe_nothing()) {
            self.draining_everything = false;
            let apps: Vec<Process> = self.children.keys().copied().filter(of_app).collect();
            apps.into_iter().for_each(|app| self.close(app));
            self.events.push_back(pod::Event::StreamsClosed.into());
        }
    }

    /// Sends as much of what is owed as there is credit and room for. A terminal with nothing in it says so only when read.
    fn send_what_is_owed(&mut self, process: Process) {
        for stream in Descriptors::STREAMS {
            let owed = |children: &BTreeMap<Process, Child>| {
                children.get(&process).is_some_and(|child| !child.descriptors.stream(stream).owes_nothing())
            };
            while owed(&self.children) && self.control.has_room() && self.relay(process, stream) {}
        }
    }

    fn read_report(&mut self, process: Process) {
        let Some(child) = self.children.get_mut(&process) else { return };
        loop {
            match child.report.as_ref().map_or(News::None, crate::app::report::Report::next) {
                News::None => return,
                News::MountNamespace(namespace) => {
                    if let Process::App(app) = process {
                        self.namespaces.insert(app, namespace);
                    }
                }
                News::Executed => {
                    child.report = None;
                    child.has_run = true;
                    child.deliver_waiting_signals();
                    let pid = child.pid.map_or(0, i32::unsigned_abs);
                    self.events.push_back(messages::executed(process, pid));
                    return;
                }
                News::Failed(reason) => {
                    child.report = None;
                    if !child.has_run {
                        // It never had outputs, as far as the host is concerned.
                        child.descriptors.close();
                    }
                    let has_run = child.has_run;
                    self.events.push_back(match process {
                        Process::App(app) => {
                            if !has_run {
                                self.namespaces.remove(&app);
                            }
                            pod::Event::StartFailed { app, reason }.into()
                        }
                        Process::Session(session) => session::Event::StartFailed { session, reason }.into(),
                    });
                    return;
                }
            }
        }
    }

    /// Sends at most one message's worth of a stream. Says whether there may be more.
    fn relay(&mut self, process: Process, stream: StdioStream) -> bool {
        let Some(child) = self.children.get_mut(&process) else { return false };
        let output = child.descriptors.stream_mut(stream);
        let mut buffer = self.control.output_buffer();
        let relayed = output.relay(buffer.room());
        let count = if let Ok(Relayed::Data(count)) = relayed { count } else { 0 };
        self.control.queue_output(process, stream, buffer, count);
        match relayed {
            Ok(Relayed::Data(_)) => return true,
            Ok(Relayed::End) => self.control.queue(&ToHost::OutputClosed { process, stream }),
            Ok(Relayed::Empty | Relayed::NoCredit | Relayed::Closed) => {}
            Err(error) => {
                console::say(&format!("cannot read the output of a process: {error}"));
                if output.close() {
                    self.control.queue(&ToHost::OutputClosed { process, stream });
                }
            }
        }
        false
    }

    fn grant_input(&mut self, process: Process) {
        if let Some(bytes) = self.children.get_mut(&process).and_then(|it| it.descriptors.input.grant()) {
            self.control.queue(&ToHost::InputCredit { process, bytes });
        }
    }

    fn reap(&mut self) {
        let ended = reap::collect();
        for (pid, exit) in ended.processes {
            let of = |child: &Child| child.pid == Some(pid);
            let Some(process) =
                self.children.iter().find(|(_, child)| of(child)).map(|(process, _)| *process)
            else {
                continue;
            };
            // Whether it was executed is known now at the latest, and must be told first.
            self.read_report(process);
            if let Some(child) = self.children.get_mut(&process) {
                child.pid = None;
                self.events.push_back(match process {
                    Process::App(app) => pod::Event::Ended { app, exit }.into(),
                    Process::Session(session) => session::Event::Ended { session, exit }.into(),
                });
            }
        }
        if ended.none_left {
            self.events.push_back(pod::Event::NoProcessLeft.into());
        }
        self.notice_emptied();
    }
}

/// Whom to signal: the app's group, and its main process, which may not have joined the group yet or may be gone.
pub fn targets(mut group: Vec<i32>, main: Option<i32>) -> Vec<i32> {
    group.extend(main.filter(|main| !group.contains(main)));
    group
}

fn owe_what_is_there(child: &mut Child) {
    if let Err(error) = child.descriptors.owe_what_is_there() {
        console::say(&format!("cannot see the output of a process: {error}"));
    }
}
