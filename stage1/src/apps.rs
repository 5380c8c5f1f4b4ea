//! The apps of a mutable pod, which come and go: who asked for what, and what may follow.
//!
//! Responsible for: the life of each app between `app/add` and `app/rm`, numbers for its runs, answers to those who wait. Must
//! not know: sockets, processes, files; the supervisor carries the [`Effect`]s out. Follows rkt-reference 4.7 and guest-api's
//! order of messages.
//!
//! ```text
//! Adding --shown--> Idle --start--> Starting --> Running --> Ended --start--> Forgetting --> Starting
//!                    \--rm--> Removing              \---failed---/  \--rm--> Forgetting --> Removing
//! ```

use std::collections::BTreeMap;

use guest_api::AppId;

use crate::control_socket::protocol::{Reply, Request};
use crate::control_socket::server::ClientId;
use crate::plan::AppPlan;
use crate::volumes::SharedVolume;

/// Apps that a pod may have at once. Each costs the file server mounts and the guest a control group; nobody runs a tenth of
/// them in one virtual machine.
const MAX_APPS: usize = 1024;

/// What the supervisor is to do next, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reply to the client.
    Reply(ClientId, Reply),
    /// Plan the app and show its files to the guest, then report with [`Apps::added`].
    Add(String),
    /// Start the app under a number, then report what the guest says of it.
    Start(AppId, Box<AppPlan>),
    /// Ask for the end of a run.
    Stop(AppId),
    /// Have the guest forget a run, which has ended, of the named app.
    Forget(AppId, String),
    /// Take the files of the app, and volumes that no other app uses, out of the guest's sight, then report with
    /// [`Apps::removed`].
    Remove(String),
}

/// What is to come after a run was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Start(ClientId),
    Remove(ClientId),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Adding(ClientId),
    Idle,
    Starting { run: AppId, starter: Option<ClientId>, stoppers: Vec<ClientId> },
    Running { run: AppId, stoppers: Vec<ClientId> },
    Ended(AppId),
    Forgetting(AppId, Next),
    Removing(ClientId),
}

#[derive(Debug)]
struct App {
    /// None until it is known.
    plan: Option<Box<AppPlan>>,
    state: State,
}

impl App {
    fn run(&self) -> Option<AppId> {
        match self.state {
            State::Starting { run, .. }
            | State::Running { run, .. }
            | State::Ended(run)
            | State::Forgetting(run, _) => Some(run),
            State::Adding(_) | State::Idle | State::Removing(_) => None,
        }
    }
}

/// The apps of a pod.
#[derive(Debug)]
pub struct Apps {
    mutable: bool,
    apps: BTreeMap<String, App>,
    next: u16,
    ending: bool,
}

impl Apps {
    /// Of a pod whose first apps, with these numbers, are about to be started.
    pub fn new(mutable: bool, first: impl IntoIterator<Item = (AppId, AppPlan)>) -> Self {
        let app = |(run, plan): (AppId, AppPlan)| {
            let state = State::Starting { run, starter: None, stoppers: Vec::new() };
            (plan.spec.name.clone(), App { plan: Some(Box::new(plan)), state })
        };
        let apps: BTreeMap<String, App> = first.into_iter().map(app).collect();
        let next = u16::try_from(apps.len()).unwrap_or(u16::MAX);
        Self { mutable, apps, next, ending: false }
    }

    /// Names of volumes that apps other than the named one use.
    pub fn volumes_of_others(&self, name: &str) -> impl Iterator<Item = &str> {
        let others = self.apps.iter().filter(move |(other, _)| *other != name);
        let plans = others.filter_map(|(_, app)| app.plan.as_ref());
        plans.flat_map(|plan| plan.volumes.iter().map(|volume| volume.name.as_str()))
    }

    /// Whether something is to be run after one of them.
    pub fn clean_up(&self) -> bool {
        let plans = self.apps.values().filter_map(|app| app.plan.as_ref());
        plans.into_iter().any(|plan| !plan.spec.lifecycle.post_stop.is_empty())
    }

    /// Directories of empty volumes that are the app's alone, whatever others are called.
    pub fn directories_of(&self, name: &str) -> Vec<String> {
        let plan = self.apps.get(name).and_then(|app| app.plan.as_ref());
        plan.map(|plan| self.directories_in(name, plan)).unwrap_or_default()
    }

    /// The same of an app with this plan, which need not be there yet.
    pub fn directories_in(&self, name: &str, plan: &AppPlan) -> Vec<String> {
        let others = self.apps.iter().filter(|(other, _)| *other != name);
        let plans = others.filter_map(|(_, app)| app.plan.as_ref());
        let taken: Vec<&str> =
            plans.flat_map(|plan| plan.volumes.iter().filter_map(SharedVolume::directory)).collect();
        let own = plan.volumes.iter().filter_map(SharedVolume::directory_of_app);
        own.filter(|directory| !taken.contains(directory)).map(str::to_owned).collect()
    }

    /// Names of the volumes that the app uses.
    pub fn volumes_of(&self, name: &str) -> impl Iterator<Item = &str> {
        let plan = self.apps.get(name).and_then(|app| app.plan.as_ref());
        plan.into_iter().flat_map(|plan| plan.volumes.iter().map(|volume| volume.name.as_str()))
    }

    /// A client asks for something; None if it is none of these requests.
    pub fn request(&mut self, client: ClientId, request: &Request, is_running: bool) -> Option<Vec<Effect>> {
        let answer = match request {
            Request::AddApp(name) => self.refusal(is_running).map_or_else(|| self.add(client, name), Err),
            Request::StartApp(name) => self.refusal(is_running).map_or_else(|| self.start(client, name), Err),
            Request::StopApp(name) => self.refusal(is_running).map_or_else(|| self.stop(client, name), Err),
            Request::RemoveApp(name) => {
                self.refusal(is_running).map_or_else(|| self.remove(client, name), Err)
            }
            _ => return None,
        };
        Some(answer.unwrap_or_else(|reply| vec![Effect::Reply(client, reply)]))
    }

    fn refusal(&self, is_running: bool) -> Option<Reply> {
        if !self.mutable {
            return Some(failed("the pod is immutable: it was not started as an app sandbox"));
        }
        if self.ending {
            return Some(failed("the pod is ending"));
        }
        (!is_running).then(|| failed("the pod has not started yet"))
    }

    fn add(&mut self, client: ClientId, name: &str) -> Result<Vec<Effect>, Reply> {
        if self.apps.contains_key(name) {
            return Err(failed(format!("app {name:?} was added before")));
        }
        if self.apps.len() >= MAX_APPS {
            return Err(failed(format!("the pod has {MAX_APPS} apps, which is the limit")));
        }
        self.apps.insert(name.to_owned(), App { plan: None, state: State::Adding(client) });
        Ok(vec![Effect::Add(name.to_owned())])
    }

    fn start(&mut self, client: ClientId, name: &str) -> Result<Vec<Effect>, Reply> {
        let app = self.app(name)?;
        match app.state {
            State::Idle => Ok(self.begin(name, Some(client))),
            State::Ended(run) => {
                app.state = State::Forgetting(run, Next::Start(client));
                Ok(vec![Effect::Forget(run, name.to_owned())])
            }
            State::Starting { .. } | State::Running { .. } => {
                Err(failed(format!("app {name:?} is running already")))
            }
            State::Adding(_) | State::Forgetting(..) | State::Removing(_) => Err(busy(name)),
        }
    }

    fn stop(&mut self, client: ClientId, name: &str) -> Result<Vec<Effect>, Reply> {
        let Some(app) = self.apps.get_mut(name) else { return Err(Reply::NotRunning) };
        match &mut app.state {
            State::Starting { run, stoppers, .. } | State::Running { run, stoppers } => {
                stoppers.push(client);
                Ok(vec![Effect::Stop(*run)])
            }
            State::Forgetting(_, Next::Start(_)) => Err(busy(name)),
            _ => Err(Reply::NotRunning),
        }
    }

    /// What stage1 does not know was not added, or was removed before: there is nothing left to do.
    fn remove(&mut self, client: ClientId, name: &str) -> Result<Vec<Effect>, Reply> {
        let Some(app) = self.apps.get_mut(name) else { return Err(Reply::Done) };
        match app.state {
            State::Idle => {
                app.state = State::Removing(client);
                Ok(vec![Effect::Remove(name.to_owned())])
            }
            State::Ended(run) => {
                app.state = State::Forgetting(run, Next::Remove(client));
                Ok(vec![Effect::Forget(run, name.to_owned())])
            }
            State::Starting { .. } | State::Running { .. } => {
                Err(failed(format!("app {name:?} is running (stop it first)")))
            }
            State::Adding(_) | State::Forgetting(..) | State::Removing(_) => Err(busy(name)),
        }
    }

    fn begin(&mut self, name: &str, starter: Option<ClientId>) -> Vec<Effect> {
        let run = self.free_number();
        let Some(app) = self.apps.get_mut(name) else { return vec![] };
        let Some(plan) = &app.plan else { return vec![] };
        let mut plan = plan.clone();
        plan.spec.id = run;
        app.state = State::Starting { run, starter, stoppers: Vec::new() };
        vec![Effect::Start(run, plan)]
    }

    /// A number that the guest does not know. There are fewer apps than numbers.
    fn free_number(&mut self) -> AppId {
        loop {
            let run = AppId(self.next);
            self.next = self.next.wrapping_add(1);
            if !self.apps.values().any(|app| app.run() == Some(run)) {
                return run;
            }
        }
    }

    fn app(&mut self, name: &str) -> Result<&mut App, Reply> {
        self.apps.get_mut(name).ok_or_else(|| failed(format!("app {name:?} was not added to the pod")))
    }

    fn of_run(&mut self, run: AppId) -> Option<(&String, &mut App)> {
        self.apps.iter_mut().find(|(_, app)| app.run() == Some(run))
    }

    /// The app's files are there for the guest, or why not.
    pub fn added(&mut self, name: &str, result: Result<AppPlan, String>) -> Vec<Effect> {
        let Some(app) = self.apps.get_mut(name) else { return vec![] };
        let State::Adding(client) = app.state else { return vec![] };
        let mut replies = Vec::new();
        match result {
            Ok(plan) => {
                replies.extend(plan.warnings.iter().map(|warning| Reply::Warning(warning.text.clone())));
                replies.push(Reply::Done);
                app.plan = Some(Box::new(plan));
                app.state = State::Idle;
            }
            Err(reason) => {
                self.apps.remove(name);
                replies.push(Reply::Failed(reason));
            }
        }
        replies.into_iter().map(|reply| Effect::Reply(client, reply)).collect()
    }

    /// The guest sees nothing of the app any more, or why that is not so.
    pub fn removed(&mut self, name: &str, result: Result<(), String>) -> Vec<Effect> {
        let Some(app) = self.apps.get_mut(name) else { return vec![] };
        let State::Removing(client) = app.state else { return vec![] };
        let reply = match result {
            Ok(()) => {
                self.apps.remove(name);
                Reply::Done
            }
            Err(reason) => {
                app.state = State::Idle;
                Reply::Failed(reason)
            }
        };
        vec![Effect::Reply(client, reply)]
    }

    /// The app executes its program.
    pub fn started(&mut self, run: AppId) -> Vec<Effect> {
        let Some((_, app)) = self.of_run(run) else { return vec![] };
        let State::Starting { starter, stoppers, .. } = &mut app.state else { return vec![] };
        let (starter, stoppers) = (*starter, std::mem::take(stoppers));
        app.state = State::Running { run, stoppers };
        starter.map(|client| Effect::Reply(client, Reply::Done)).into_iter().collect()
    }

    /// The app does not run, and why.
    pub fn start_failed(&mut self, run: AppId, reason: &str) -> Vec<Effect> {
        self.ended(run, Some(reason))
    }

    /// The app has ended.
    pub fn exited(&mut self, run: AppId) -> Vec<Effect> {
        self.ended(run, None)
    }

    fn ended(&mut self, run: AppId, failure: Option<&str>) -> Vec<Effect> {
        let Some((_, app)) = self.of_run(run) else { return vec![] };
        let (starter, stoppers) = match std::mem::replace(&mut app.state, State::Ended(run)) {
            State::Starting { starter, stoppers, .. } => (starter, stoppers),
            State::Running { stoppers, .. } => (None, stoppers),
            other => {
                app.state = other;
                return vec![];
            }
        };
        let answer = || failure.map_or(Reply::Done, |reason| Reply::Failed(reason.to_owned()));
        let to_starter = starter.map(|client| Effect::Reply(client, answer()));
        let to_stoppers = stoppers.into_iter().map(|client| Effect::Reply(client, Reply::Done));
        to_starter.into_iter().chain(to_stoppers).collect()
    }

    /// The guest knows nothing of the run any more.
    pub fn forgotten(&mut self, run: AppId) -> Vec<Effect> {
        let Some((name, app)) = self.of_run(run) else { return vec![] };
        let State::Forgetting(_, next) = app.state else { return vec![] };
        let name = name.clone();
        match next {
            Next::Start(client) => self.begin(&name, Some(client)),
            Next::Remove(client) => {
                app.state = State::Removing(client);
                vec![Effect::Remove(name)]
            }
        }
    }

    /// The pod is about to end: nothing is added or started any more.
    pub fn pod_ends(&mut self) {
        self.ending = true;
    }

    /// The pod has ended: whoever still waits learns so.
    pub fn pod_ended(&mut self) -> Vec<Effect> {
        let waiting = std::mem::take(&mut self.apps).into_values().flat_map(|app| match app.state {
            State::Adding(client)
            | State::Removing(client)
            | State::Forgetting(_, Next::Start(client) | Next::Remove(client)) => vec![client],
            State::Starting { starter, stoppers, .. } => starter.into_iter().chain(stoppers).collect(),
            State::Running { stoppers, .. } => stoppers,
            State::Idle | State::Ended(_) => vec![],
        });
        waiting.map(|client| Effect::Reply(client, Reply::PodEnded)).collect()
    }
}

fn failed(reason: impl Into<String>) -> Reply {
    Reply::Failed(reason.into())
}

fn busy(name: &str) -> Reply {
    failed(format!("app {name:?} is being added, started or removed by somebody else"))
}
