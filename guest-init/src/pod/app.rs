//! The life of one app in its pod.
//!
//! Responsible for: its states, from its first event handler to its last, and what each event makes of them. Must not know:
//! when the pod ends. Follows rkt-reference 6.8 and 6.10, and systemd's order of things around a service: pre-start, the app,
//! SIGTERM to what the app leaves behind, post-stop.
//!
//! ```text
//! Preparing --handlers succeeded--> Starting --executed--> Running
//!     \--------------failed------------/--------------------/--ended
//!                                                           v
//!            Over <--all sent-- Draining <--handlers ended-- Finishing <--no process left-- Leaving
//! Over --Forget--> Forgetting --no process left--> unknown
//! ```

use guest_api::{AppExit, AppId, Handler, HandlerEnd, Lifecycle, ToHost};

use super::{Action, KILL_WAIT, Phase, Pod, Step, Whom};

const SIGKILL: u8 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum App {
    /// The pre-start handler of this number is being made, or runs.
    Preparing(usize),
    Starting,
    Running,
    /// Its main process ended, or did not come to be; what else there is of it has until the deadline.
    Leaving(AppExit),
    /// The post-stop handler of this number is being made, or runs.
    Finishing(AppExit, usize),
    /// Ended; its last output is on its way.
    Draining(AppExit),
    Over,
    /// Over, and what it left running was killed.
    Forgetting,
}

impl App {
    /// Whether it has, or will have, a process.
    pub(super) fn is_living(self) -> bool {
        !matches!(self, Self::Draining(_) | Self::Over | Self::Forgetting)
    }

    /// Whether a stop ends it, as opposed to an app that has ended anyway.
    pub(super) fn ends_by_signal(self) -> bool {
        matches!(self, Self::Preparing(_) | Self::Starting | Self::Running | Self::Leaving(_))
    }
}

/// An app of the pod.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) state: App,
    pre_start: usize,
    post_stop: usize,
    /// Some program of it was executed: it has output, and there is something to clean up after.
    has_run: bool,
    /// It counts as started as soon as its program was executed, or has said so since.
    ready: bool,
    /// Why its program could not be executed.
    failure: Option<String>,
}

impl Member {
    pub(super) fn new(lifecycle: &Lifecycle) -> Self {
        let pre_start = lifecycle.pre_start.len();
        Self {
            state: if pre_start == 0 { App::Starting } else { App::Preparing(0) },
            pre_start,
            post_stop: lifecycle.post_stop.len(),
            has_run: false,
            ready: !lifecycle.says_when_ready,
            failure: None,
        }
    }

    /// What it needs a process for now.
    pub(super) fn step(&self) -> Option<Step> {
        match self.state {
            App::Preparing(number) => Some(Step::Handler(Handler::PreStart, number)),
            App::Starting => Some(Step::Main),
            App::Finishing(_, number) => Some(Step::Handler(Handler::PostStop, number)),
            App::Running | App::Leaving(_) | App::Draining(_) | App::Over | App::Forgetting => None,
        }
    }

    /// One that ended without a word keeps nobody waiting for it.
    pub(super) fn counts_as_started(&self) -> bool {
        match self.state {
            App::Preparing(_) | App::Starting => false,
            App::Running => self.ready,
            App::Leaving(_) | App::Finishing(..) | App::Draining(_) | App::Over | App::Forgetting => true,
        }
    }

    /// Whether something is run, or is to be run, once its processes were killed.
    pub(super) fn is_to_be_cleaned(&self) -> bool {
        self.state.is_living() && self.post_stop > 0
    }
}

impl Pod {
    pub(super) fn executed(&mut self, app: AppId, pid: u32, actions: &mut Vec<Action>) {
        let Some(member) = self.apps.get_mut(&app) else { return };
        let message = match member.state {
            App::Preparing(_) => ToHost::HandlerStarted { app, handler: Handler::PreStart, pid },
            App::Finishing(..) => ToHost::HandlerStarted { app, handler: Handler::PostStop, pid },
            App::Starting => {
                member.state = App::Running;
                ToHost::Started { app, pid }
            }
            App::Running | App::Leaving(_) | App::Draining(_) | App::Over | App::Forgetting => return,
        };
        member.has_run = true;
        actions.push(Action::Send(message));
    }

    pub(super) fn start_failed(&mut self, app: AppId, reason: String, actions: &mut Vec<Action>) {
        let Some(member) = self.apps.get_mut(&app) else { return };
        match member.state {
            App::Preparing(_) | App::Starting => {}
            App::Finishing(exit, _) => {
                let end = HandlerEnd::NotRun(reason);
                actions.push(handler_failed(app, Handler::PostStop, end));
                return self.drain(app, exit, actions);
            }
            App::Running | App::Leaving(_) | App::Draining(_) | App::Over | App::Forgetting => return,
        }
        let reason = match member.state {
            App::Preparing(_) => format!("event handler {}: {reason}", Handler::PreStart.name()),
            _ => reason,
        };
        if member.has_run {
            member.failure = Some(reason);
            // The status is never told.
            self.leave(app, AppExit::Code(0), actions);
        } else {
            member.state = App::Over;
            actions.push(Action::Send(ToHost::StartFailed { app, reason }));
        }
        self.will_not_run(actions);
    }

    pub(super) fn ended(&mut self, app: AppId, exit: AppExit, actions: &mut Vec<Action>) {
        let asked = self.phase != Phase::Running || self.stopping.contains_key(&app);
        let Some(member) = self.apps.get_mut(&app) else { return };
        match member.state {
            App::Preparing(number) if exit == AppExit::Code(0) && !asked => {
                let next = number.saturating_add(1);
                member.state = if next < member.pre_start { App::Preparing(next) } else { App::Starting };
                actions.extend(member.step().map(|step| Action::Start(app, step)));
            }
            App::Preparing(_) => {
                if !asked {
                    actions.push(handler_failed(app, Handler::PreStart, HandlerEnd::Ended(exit)));
                }
                self.leave(app, exit, actions);
                self.will_not_run(actions);
            }
            App::Running => {
                self.leave(app, exit, actions);
                if self.stop_on_failure && exit.status() != 0 {
                    self.stop(actions);
                }
            }
            App::Finishing(of_app, number) if exit == AppExit::Code(0) => {
                self.finish(app, of_app, number.saturating_add(1), actions);
            }
            App::Finishing(of_app, _) => {
                let killed = self.stopping.get(&app) == Some(&true);
                let end = if killed { HandlerEnd::TimedOut } else { HandlerEnd::Ended(exit) };
                actions.push(handler_failed(app, Handler::PostStop, end));
                self.drain(app, of_app, actions);
            }
            App::Starting | App::Leaving(_) | App::Draining(_) | App::Over | App::Forgetting => {}
        }
    }

    pub(super) fn drained(&mut self, app: AppId, actions: &mut Vec<Action>) {
        let Some(member) = self.apps.get_mut(&app) else { return };
        let App::Draining(exit) = member.state else { return };
        member.state = App::Over;
        actions.push(Action::Send(match member.failure.take() {
            Some(reason) => ToHost::StartFailed { app, reason },
            None => ToHost::Exited { app, exit },
        }));
    }

    pub(super) fn says_ready(&mut self, app: AppId) {
        if let Some(member) = self.apps.get_mut(&app) {
            member.ready = true;
        }
    }

    pub(super) fn stop_app(&mut self, app: AppId, actions: &mut Vec<Action>) {
        let is_there = self.apps.get(&app).is_some_and(|member| member.state.ends_by_signal());
        if is_there && self.phase == Phase::Running && !self.stopping.contains_key(&app) {
            self.stopping.insert(app, false);
            actions.push(Action::Terminate(app, Whom::All));
            actions.push(Action::SetAppDeadline(app, self.grace));
        }
    }

    pub(super) fn forget(&mut self, app: AppId, actions: &mut Vec<Action>) {
        if let Some(member) = self.apps.get_mut(&app).filter(|member| member.state == App::Over) {
            member.state = App::Forgetting;
            actions.push(Action::KillApp(app, Whom::All));
            actions.push(Action::SetAppDeadline(app, KILL_WAIT));
            actions.push(Action::Watch(app, Whom::All));
        }
    }

    /// None of the app's processes is left, or what is left hangs in the kernel, killed.
    pub(super) fn emptied(&mut self, app: AppId, actions: &mut Vec<Action>) {
        match self.apps.get(&app).map(|member| member.state) {
            Some(App::Leaving(exit)) => {
                self.stopping.remove(&app);
                actions.push(Action::ClearAppDeadline(app));
                self.finish(app, exit, 0, actions);
            }
            Some(App::Forgetting) => {
                self.apps.remove(&app);
                self.stopping.remove(&app);
                actions.push(Action::Release(app));
                actions.push(Action::Send(ToHost::Forgotten(app)));
            }
            _ => {}
        }
    }

    pub(super) fn app_deadline_passed(&mut self, app: AppId, actions: &mut Vec<Action>) {
        let Some(member) = self.apps.get(&app) else { return };
        if member.state == App::Forgetting {
            return self.emptied(app, actions);
        }
        match self.stopping.get_mut(&app) {
            Some(killed @ false) if member.state.is_living() => {
                *killed = true;
                // Of an app that has ended, what it left behind; commands are not its own.
                let ended = matches!(member.state, App::Leaving(_) | App::Finishing(..));
                actions.push(Action::KillApp(app, if ended { Whom::Own } else { Whom::All }));
                actions.push(Action::SetAppDeadline(app, KILL_WAIT));
            }
            Some(true) => self.is_over_whatever_it_does(app, actions),
            _ => {}
        }
    }

    /// It was killed, and what is there of it hangs in the kernel.
    pub(super) fn is_over_whatever_it_does(&mut self, app: AppId, actions: &mut Vec<Action>) {
        match self.apps.get(&app).map(|member| member.state) {
            Some(App::Preparing(_) | App::Starting) => {
                let reason = "it hangs while its root file system is prepared".to_owned();
                self.start_failed(app, reason, actions);
            }
            Some(App::Running | App::Finishing(..)) => {
                self.ended(app, AppExit::Signal(SIGKILL), actions);
            }
            Some(App::Leaving(_) | App::Forgetting | App::Draining(_) | App::Over) | None => {}
        }
        self.emptied(app, actions);
    }

    /// Its process is no more: what else there is of it is asked to end, unless it was asked already.
    fn leave(&mut self, app: AppId, exit: AppExit, actions: &mut Vec<Action>) {
        if self.phase >= Phase::Sweeping {
            // Everything was killed.
            return self.drain(app, exit, actions);
        }
        if let Some(member) = self.apps.get_mut(&app) {
            member.state = App::Leaving(exit);
        }
        if self.phase == Phase::Running && !self.stopping.contains_key(&app) {
            if exit.status() != 0 {
                actions.push(Action::Send(ToHost::Failing { app, exit }));
            }
            self.stopping.insert(app, false);
            actions.push(Action::Terminate(app, Whom::Own));
            actions.push(Action::SetAppDeadline(app, self.grace));
        }
        actions.push(Action::Watch(app, Whom::Own));
    }

    /// Runs the post-stop handler of this number, if there is one. All of them together have the grace period.
    fn finish(&mut self, app: AppId, exit: AppExit, number: usize, actions: &mut Vec<Action>) {
        let there_is = |member: &&mut Member| member.has_run && number < member.post_stop;
        let Some(member) = self.apps.get_mut(&app).filter(there_is) else {
            return self.drain(app, exit, actions);
        };
        if self.phase >= Phase::Sweeping {
            return self.drain(app, exit, actions);
        }
        member.state = App::Finishing(exit, number);
        actions.extend(member.step().map(|step| Action::Start(app, step)));
        if number == 0 {
            self.stopping.insert(app, false);
            actions.push(Action::SetAppDeadline(app, self.grace));
        }
    }

    fn drain(&mut self, app: AppId, exit: AppExit, actions: &mut Vec<Action>) {
        let Some(member) = self.apps.get_mut(&app) else { return };
        if let App::Finishing(..) = member.state {
            actions.push(Action::ClearAppDeadline(app));
        }
        member.state = App::Draining(exit);
        self.stopping.remove(&app);
        actions.push(Action::Drain(app));
    }

    /// One of its apps will never run, so that this pod is never ready.
    fn will_not_run(&mut self, actions: &mut Vec<Action>) {
        if !self.mutable {
            self.ready = true;
            self.stop(actions);
        }
    }
}

fn handler_failed(app: AppId, handler: Handler, end: HandlerEnd) -> Action {
    Action::Send(ToHost::HandlerFailed { app, handler, end })
}
