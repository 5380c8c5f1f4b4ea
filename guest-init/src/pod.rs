//! The life of a pod as a pure state machine: events in, actions out.
//!
//! Responsible for: who is told what, in which order, and when the pod is over. Must not know: processes, pipes,
//! sockets, clocks; [`crate::supervise`] turns what happens into events and carries the actions out. Follows rkt-reference
//! 6.8 and the order of messages in guest-api.
//!
//! ```text
//! Running --Stop, failure--> Stopping --Kill, every app ended, grace over--> Sweeping --no process left--> Draining --> Over
//!    \-------------------------Kill, every app ended-------------------------/
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use guest_api::{AppExit, AppId, ToHost};

/// How long processes may take to die of SIGKILL. One that outlives it hangs in the kernel (a lost file server, for
/// example), where nothing but the end of the VM helps. Less than the host waits for `Halting` after the last app.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The app's process has executed its program.
    Executed {
        /// The app.
        app: AppId,
        /// Its process ID.
        pid: u32,
    },
    /// The app's process could not be made, or could not execute its program.
    StartFailed {
        /// The app.
        app: AppId,
        /// Why, as a sentence.
        reason: String,
    },
    /// The app's main process ended.
    Ended {
        /// The app.
        app: AppId,
        /// How.
        exit: AppExit,
    },
    /// All that an ended app had written was sent.
    Drained(AppId),
    /// PID 1 has no children any more.
    NoProcessLeft,
    /// Every stream was sent to its end.
    StreamsClosed,
    /// The host asked for an orderly stop.
    StopRequested,
    /// The host asked for an end at once.
    KillRequested,
    /// The host is gone.
    ControlLost,
    /// The time of the last [`Action::SetDeadline`] is over.
    DeadlinePassed,
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the host.
    Send(ToHost),
    /// Send SIGTERM to the app.
    Terminate(AppId),
    /// Send SIGKILL to every process of every app, then say so if none is left.
    KillEverything,
    /// Report [`Event::Drained`] once the app's pipes are empty.
    Drain(AppId),
    /// Report [`Event::StreamsClosed`] once all pipes are empty, and close them.
    DrainEverything,
    /// Report [`Event::DeadlinePassed`] after this time; replaces an earlier deadline.
    SetDeadline(Duration),
    /// No deadline any more.
    ClearDeadline,
    /// Sync, unmount, say [`ToHost::Halting`], reset the VM.
    Halt,
    /// Nobody listens: kill, sync, reset the VM.
    Abandon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum App {
    Starting,
    Running,
    /// Ended; its last output is on its way.
    Draining(AppExit),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// SIGTERM was sent; the grace period runs.
    Stopping,
    /// SIGKILL was sent.
    Sweeping,
    /// No process is left that could write.
    Draining,
    Over,
}

/// A pod between its configuration and its end.
#[derive(Debug)]
pub struct Pod {
    apps: BTreeMap<AppId, App>,
    phase: Phase,
    ready: bool,
    streams_closed: bool,
    stop_on_failure: bool,
    grace: Duration,
}

impl Pod {
    /// A pod whose apps are about to be started. `apps` are distinct.
    pub fn new(apps: impl IntoIterator<Item = AppId>, stop_on_failure: bool, grace: Duration) -> Self {
        Self {
            apps: apps.into_iter().map(|app| (app, App::Starting)).collect(),
            phase: Phase::Running,
            ready: false,
            streams_closed: false,
            stop_on_failure,
            grace,
        }
    }

    /// Takes notice of an event and says what to do about it.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.phase == Phase::Over {
            return actions;
        }
        match event {
            Event::Executed { app, pid } => self.executed(app, pid, &mut actions),
            Event::StartFailed { app, reason } => self.start_failed(app, reason, &mut actions),
            Event::Ended { app, exit } => self.ended(app, exit, &mut actions),
            Event::Drained(app) => self.drained(app, &mut actions),
            Event::NoProcessLeft if self.phase == Phase::Sweeping => self.drain_everything(&mut actions),
            Event::NoProcessLeft => {}
            Event::StreamsClosed => self.streams_closed = self.phase == Phase::Draining,
            Event::StopRequested => self.stop(&mut actions),
            Event::KillRequested if self.phase < Phase::Sweeping => self.sweep(&mut actions),
            Event::KillRequested => {}
            Event::DeadlinePassed => self.deadline_passed(&mut actions),
            Event::ControlLost => {
                self.phase = Phase::Over;
                actions.push(Action::Abandon);
                return actions;
            }
        }
        self.advance(&mut actions);
        actions
    }

    fn executed(&mut self, app: AppId, pid: u32, actions: &mut Vec<Action>) {
        if self.move_app(app, |state| (state == App::Starting).then_some(App::Running)) {
            actions.push(Action::Send(ToHost::Started { app, pid }));
        }
    }

    fn start_failed(&mut self, app: AppId, reason: String, actions: &mut Vec<Action>) {
        if self.move_app(app, |state| (state == App::Starting).then_some(App::Over)) {
            actions.push(Action::Send(ToHost::StartFailed { app, reason }));
            // Ready means that every app was started; now that cannot become true.
            self.ready = true;
            self.stop(actions);
        }
    }

    fn ended(&mut self, app: AppId, exit: AppExit, actions: &mut Vec<Action>) {
        if self.move_app(app, |state| (state == App::Running).then_some(App::Draining(exit))) {
            actions.push(Action::Drain(app));
            if self.stop_on_failure && exit.status() != 0 {
                self.stop(actions);
            }
        }
    }

    fn drained(&mut self, app: AppId, actions: &mut Vec<Action>) {
        if let Some(state) = self.apps.get_mut(&app)
            && let App::Draining(exit) = *state
        {
            *state = App::Over;
            actions.push(Action::Send(ToHost::Exited { app, exit }));
        }
    }

    fn stop(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Stopping;
        actions.extend(self.living().map(Action::Terminate));
        actions.push(Action::SetDeadline(self.grace));
    }

    fn deadline_passed(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping => self.sweep(actions),
            Phase::Sweeping => {
                // What is still there hangs in the kernel, killed; nothing else can be said of it.
                let hanging: Vec<AppId> = self.living().collect();
                for app in hanging {
                    self.executed_or_not_is_over(app, actions);
                }
                self.drain_everything(actions);
            }
            Phase::Running | Phase::Draining | Phase::Over => {}
        }
    }

    fn executed_or_not_is_over(&mut self, app: AppId, actions: &mut Vec<Action>) {
        const SIGKILL: u8 = 9;
        match self.apps.get(&app) {
            Some(App::Starting) => {
                let reason = "it hangs while its root file system is prepared".to_owned();
                self.start_failed(app, reason, actions);
            }
            Some(App::Running) => self.ended(app, AppExit::Signal(SIGKILL), actions),
            Some(App::Draining(_) | App::Over) | None => {}
        }
    }

    /// The transitions that follow from the state of the apps alone.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        let all_started = !self.apps.values().any(|state| *state == App::Starting);
        if all_started && !self.ready {
            self.ready = true;
            actions.push(Action::Send(ToHost::Ready));
        }
        if self.phase < Phase::Sweeping && self.living().next().is_none() {
            self.sweep(actions);
        }
        let all_over = self.apps.values().all(|state| *state == App::Over);
        if self.phase == Phase::Draining && all_over && self.streams_closed {
            self.phase = Phase::Over;
            actions.push(Action::Halt);
        }
    }

    /// Ends what apps left behind (or, after the grace period, the apps themselves).
    fn sweep(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Sweeping;
        actions.push(Action::KillEverything);
        actions.push(Action::SetDeadline(KILL_WAIT));
    }

    fn drain_everything(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Draining;
        actions.push(Action::ClearDeadline);
        actions.push(Action::DrainEverything);
    }

    /// Apps that have, or will have, a process.
    fn living(&self) -> impl Iterator<Item = AppId> {
        self.apps
            .iter()
            .filter(|(_, state)| matches!(state, App::Starting | App::Running))
            .map(|(app, _)| *app)
    }

    /// Moves an app on if `next` allows it from where it is.
    fn move_app(&mut self, app: AppId, next: impl FnOnce(App) -> Option<App>) -> bool {
        let Some(state) = self.apps.get_mut(&app) else { return false };
        let Some(new) = next(*state) else { return false };
        *state = new;
        true
    }
}
