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
//!
//! With event handlers to run after apps that were killed when the grace period was over, `Cleaning` comes before `Sweeping`.
//! In a mutable pod apps come and go while it is `Running`, and the end of every app ends nothing else. [`app`] has the life
//! of one app.

mod app;

use std::collections::BTreeMap;
use std::time::Duration;

use guest_api::{AppExit, AppId, Handler, Lifecycle, ToHost};

use app::{App, Member};

/// How long processes may take to die of SIGKILL. One that outlives it hangs in the kernel (a lost file server, for
/// example), where nothing but the end of the VM helps. Less than the host waits for `Halting` after the last app.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process of the app's last [`Action::Start`] has executed its program.
    Executed {
        /// The app.
        app: AppId,
        /// Its process ID.
        pid: u32,
    },
    /// That process could not be made, or could not execute its program.
    StartFailed {
        /// The app.
        app: AppId,
        /// Why, as a sentence.
        reason: String,
    },
    /// That process ended.
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
    /// The host asked for the end of one app.
    AppStopRequested(AppId),
    /// The host needs nothing of the app any more.
    ForgetRequested(AppId),
    /// None of the processes of the last [`Action::Watch`] is left.
    Emptied(AppId),
    /// The time of the app's last [`Action::SetAppDeadline`] is over.
    AppDeadlinePassed(AppId),
    /// The app has said that it is ready.
    SaysReady(AppId),
}

/// What an app has a process for, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its event handler of this number.
    Handler(Handler, usize),
    /// The app itself.
    Main,
}

/// Which of an app's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Without commands that were run in it, which have lives of their own.
    Own,
    /// With them.
    All,
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the host.
    Send(ToHost),
    /// Make the process for this step of the app.
    Start(AppId, Step),
    /// Send SIGTERM to these processes of the app.
    Terminate(AppId, Whom),
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
    /// Send SIGKILL to these processes of the app.
    KillApp(AppId, Whom),
    /// Report [`Event::Emptied`] once none of these processes of the app is left.
    Watch(AppId, Whom),
    /// Report [`Event::AppDeadlinePassed`] after this time; replaces an earlier deadline of the app.
    SetAppDeadline(AppId, Duration),
    /// No deadline of the app any more.
    ClearAppDeadline(AppId),
    /// Close the app's streams, telling the host, and let go of everything that was made for it.
    Release(AppId),
}

/// Why an app is not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The pod has the apps that it has.
    #[error("the pod's apps do not come and go")]
    Immutable,
    /// Its number belongs to another one: the host lost count.
    #[error("app number {0} is there already")]
    InUse(u16),
    /// Nothing is started any more.
    #[error("the pod is ending")]
    PodEnding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// SIGTERM was sent; the grace period runs.
    Stopping,
    /// Apps were killed, and their event handlers run.
    Cleaning,
    /// SIGKILL was sent.
    Sweeping,
    /// No process is left that could write.
    Draining,
    Over,
}

/// A pod between its configuration and its end.
#[derive(Debug)]
pub struct Pod {
    apps: BTreeMap<AppId, Member>,
    phase: Phase,
    ready: bool,
    streams_closed: bool,
    stop_on_failure: bool,
    mutable: bool,
    /// Apps that have until their deadline to end, and whether they were killed since.
    stopping: BTreeMap<AppId, bool>,
    grace: Duration,
}

impl Pod {
    /// A pod whose apps are about to be started. `apps` are distinct.
    pub fn new<'a>(
        apps: impl IntoIterator<Item = (AppId, &'a Lifecycle)>,
        stop_on_failure: bool,
        grace: Duration,
    ) -> Self {
        Self {
            apps: apps.into_iter().map(|(app, lifecycle)| (app, Member::new(lifecycle))).collect(),
            phase: Phase::Running,
            ready: false,
            streams_closed: false,
            stop_on_failure,
            mutable: false,
            stopping: BTreeMap::new(),
            grace,
        }
    }

    /// A pod whose apps come and go; it may have none.
    pub fn mutable<'a>(apps: impl IntoIterator<Item = (AppId, &'a Lifecycle)>, grace: Duration) -> Self {
        Self { mutable: true, ..Self::new(apps, false, grace) }
    }

    /// The first things to do: its apps' first steps.
    pub fn begin(&self) -> Vec<Action> {
        self.apps.iter().filter_map(|(app, member)| Some(Action::Start(*app, member.step()?))).collect()
    }

    /// Whether an app with this number may be started now; if so, its first step.
    pub fn admit(&mut self, app: AppId, lifecycle: &Lifecycle) -> Result<Option<Step>, Refusal> {
        if !self.mutable {
            return Err(Refusal::Immutable);
        }
        if self.apps.contains_key(&app) {
            return Err(Refusal::InUse(app.0));
        }
        if self.phase != Phase::Running {
            return Err(Refusal::PodEnding);
        }
        let member = Member::new(lifecycle);
        let step = member.step();
        self.apps.insert(app, member);
        Ok(step)
    }

    /// Whether the pod has this app and may not forget it yet.
    pub fn needs(&self, app: AppId) -> bool {
        self.apps.get(&app).is_some_and(|member| !self.mutable || member.state != App::Over)
    }

    /// Whether the pod has this app.
    pub fn has(&self, app: AppId) -> bool {
        self.apps.contains_key(&app)
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
            Event::AppStopRequested(app) => self.stop_app(app, &mut actions),
            Event::ForgetRequested(app) => self.forget(app, &mut actions),
            Event::Emptied(app) => self.emptied(app, &mut actions),
            Event::AppDeadlinePassed(app) => self.app_deadline_passed(app, &mut actions),
            Event::SaysReady(app) => self.says_ready(app),
            Event::ControlLost => {
                self.phase = Phase::Over;
                actions.push(Action::Abandon);
                return actions;
            }
        }
        self.advance(&mut actions);
        actions
    }

    /// SIGTERM to every app, in the reverse order of their start.
    fn stop(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Stopping;
        let running = self.apps.iter().rev().filter(|(_, member)| member.state.ends_by_signal());
        actions.extend(running.map(|(app, _)| Action::Terminate(*app, Whom::All)));
        actions.push(Action::SetDeadline(self.grace));
    }

    fn deadline_passed(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping if self.apps.values().any(Member::is_to_be_cleaned) => self.clean(actions),
            Phase::Stopping | Phase::Cleaning => self.sweep(actions),
            Phase::Sweeping => {
                // What is still there hangs in the kernel, killed; nothing else can be said of it.
                let hanging: Vec<AppId> = self.living().collect();
                for app in hanging {
                    self.is_over_whatever_it_does(app, actions);
                }
                self.drain_everything(actions);
            }
            Phase::Running | Phase::Draining | Phase::Over => {}
        }
    }

    /// The transitions that follow from the state of the apps alone.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        if !self.ready && self.apps.values().all(Member::counts_as_started) {
            self.ready = true;
            actions.push(Action::Send(ToHost::Ready));
        }
        let may_end = !self.mutable || self.phase == Phase::Stopping || self.phase == Phase::Cleaning;
        if may_end && self.phase < Phase::Sweeping && self.living().next().is_none() {
            self.sweep(actions);
        }
        let all_over = self.apps.values().all(|member| member.state == App::Over);
        if self.phase == Phase::Draining && all_over && self.streams_closed {
            self.phase = Phase::Over;
            actions.push(Action::Halt);
        }
    }

    /// Ends the apps for good, but not what is to run after them.
    fn clean(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Cleaning;
        for (app, _) in self.apps.iter().filter(|(_, member)| member.state.ends_by_signal()) {
            self.stopping.insert(*app, true);
            actions.push(Action::KillApp(*app, Whom::All));
            actions.push(Action::SetAppDeadline(*app, KILL_WAIT));
        }
        actions.push(Action::SetDeadline(self.grace.saturating_add(KILL_WAIT)));
    }

    /// Ends what apps left behind (or, after the grace period, the apps themselves).
    fn sweep(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Sweeping;
        actions.push(Action::KillEverything);
        actions.push(Action::SetDeadline(KILL_WAIT));
    }

    fn drain_everything(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Draining;
        let leaving =
            self.apps.iter().filter(|(_, it)| matches!(it.state, App::Leaving(_) | App::Forgetting));
        let leaving: Vec<AppId> = leaving.map(|(app, _)| *app).collect();
        for app in leaving {
            self.emptied(app, actions);
        }
        actions.push(Action::ClearDeadline);
        actions.push(Action::DrainEverything);
    }

    /// Apps that have, or will have, a process.
    fn living(&self) -> impl Iterator<Item = AppId> {
        self.apps.iter().filter(|(_, member)| member.state.is_living()).map(|(app, _)| *app)
    }
}
