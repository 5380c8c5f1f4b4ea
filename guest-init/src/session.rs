//! The lives of commands in apps as a pure state machine: events in, actions out.
//!
//! Responsible for: which commands may run, who is told what, in which order, and what becomes of one that nobody waits for.
//! Must not know: processes, pipes, clocks; [`crate::supervise`] carries the actions out. Follows the order of messages in
//! guest-api.
//!
//! ```text
//! Starting --executed--> Running --process ended--> Draining --all sent--> forgotten
//!    \--failed--> forgotten
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use guest_api::{AppExit, MAX_SESSIONS, SessionId, SessionSpec, ToHost};

/// How long a command that nobody waits for has between SIGHUP and SIGKILL: enough for a shell to write its history.
pub const HANG_UP_GRACE: Duration = Duration::from_secs(5);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The command's process has executed its program.
    Executed {
        /// The command.
        session: SessionId,
        /// Its process ID.
        pid: u32,
    },
    /// The process could not be made, or could not execute its program.
    StartFailed {
        /// The command.
        session: SessionId,
        /// Why, as a sentence.
        reason: String,
    },
    /// The command's process ended.
    Ended {
        /// The command.
        session: SessionId,
        /// How.
        exit: AppExit,
    },
    /// All that an ended command had written was sent.
    Drained(SessionId),
    /// Nobody waits for the command any more.
    HungUp(SessionId),
    /// The time of the command's [`Action::SetDeadline`] is over.
    DeadlinePassed(SessionId),
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the host.
    Send(ToHost),
    /// Report [`Event::Drained`] once what the process wrote has been sent.
    Drain(SessionId),
    /// Close its descriptors, tell the host of every stream that this closes, and send SIGHUP to its process group.
    HangUp(SessionId),
    /// Report [`Event::DeadlinePassed`] after this time.
    SetDeadline(SessionId, Duration),
    /// Send SIGKILL to what there is of its process group.
    Kill(SessionId),
    /// Close its descriptors and tell the host of every stream that this closes.
    Close(SessionId),
    /// Let go of everything that belongs to it.
    Forget(SessionId),
}

/// Why a command is not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its number belongs to another one: the host lost count.
    #[error("session {0} is there already")]
    InUse(u32),
    /// No program.
    #[error("there is no command to execute")]
    NoCommand,
    /// More than [`MAX_SESSIONS`].
    #[error("{MAX_SESSIONS} commands run in the pod already, which is the limit")]
    TooMany,
    /// Nothing is started any more.
    #[error("the pod is ending")]
    PodEnding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    /// Ended; its last output is on its way.
    Draining(AppExit),
}

#[derive(Clone, Copy, Debug)]
struct Session {
    phase: Phase,
    hung_up: bool,
}

/// All commands that run in a pod.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    closed: bool,
}

impl Sessions {
    /// Whether the command may be started; if so, it is expected to be.
    pub fn admit(&mut self, spec: &SessionSpec) -> Result<(), Refusal> {
        if self.sessions.contains_key(&spec.id) {
            return Err(Refusal::InUse(spec.id.0));
        }
        if spec.command.first().is_none_or(String::is_empty) {
            return Err(Refusal::NoCommand);
        }
        if self.closed {
            return Err(Refusal::PodEnding);
        }
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Refusal::TooMany);
        }
        self.sessions.insert(spec.id, Session { phase: Phase::Starting, hung_up: false });
        Ok(())
    }

    /// From now on nothing is started: everything is being killed.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Takes notice of an event and says what to do about it.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Executed { session, pid } => self.executed(session, pid),
            Event::StartFailed { session, reason } => self.start_failed(session, reason),
            Event::Ended { session, exit } => self.ended(session, exit),
            Event::Drained(session) => self.drained(session),
            Event::HungUp(session) => self.hung_up(session),
            Event::DeadlinePassed(session) => match self.sessions.get(&session).map(|it| it.phase) {
                Some(Phase::Running) => vec![Action::Kill(session)],
                Some(Phase::Starting | Phase::Draining(_)) | None => vec![],
            },
        }
    }

    fn executed(&mut self, session: SessionId, pid: u32) -> Vec<Action> {
        let Some(state) = self.sessions.get_mut(&session).filter(|it| it.phase == Phase::Starting) else {
            return vec![];
        };
        state.phase = Phase::Running;
        let mut actions = vec![Action::Send(ToHost::SessionStarted { session, pid })];
        if state.hung_up {
            actions.extend(hang_up(session));
        }
        actions
    }

    fn start_failed(&mut self, session: SessionId, reason: String) -> Vec<Action> {
        if !self.sessions.get(&session).is_some_and(|it| it.phase == Phase::Starting) {
            return vec![];
        }
        self.sessions.remove(&session);
        vec![Action::Forget(session), Action::Send(ToHost::SessionFailed { session, reason })]
    }

    fn ended(&mut self, session: SessionId, exit: AppExit) -> Vec<Action> {
        let Some(state) = self.sessions.get_mut(&session).filter(|it| it.phase == Phase::Running) else {
            return vec![];
        };
        state.phase = Phase::Draining(exit);
        if state.hung_up {
            // What it ran for whoever is gone does not stay behind.
            return vec![Action::Kill(session), Action::Drain(session)];
        }
        vec![Action::Drain(session)]
    }

    fn drained(&mut self, session: SessionId) -> Vec<Action> {
        let Some(Phase::Draining(exit)) = self.sessions.get(&session).map(|it| it.phase) else {
            return vec![];
        };
        self.sessions.remove(&session);
        vec![
            Action::Close(session),
            Action::Forget(session),
            Action::Send(ToHost::SessionExited { session, exit }),
        ]
    }

    fn hung_up(&mut self, session: SessionId) -> Vec<Action> {
        let Some(state) = self.sessions.get_mut(&session).filter(|it| !it.hung_up) else { return vec![] };
        state.hung_up = true;
        match state.phase {
            // There is nobody yet whose signal it could be.
            Phase::Starting => vec![],
            Phase::Running => hang_up(session).into(),
            // Its last output interests nobody, and may have no credit to be sent with.
            Phase::Draining(_) => vec![Action::Close(session)],
        }
    }
}

fn hang_up(session: SessionId) -> [Action; 2] {
    [Action::HangUp(session), Action::SetDeadline(session, HANG_UP_GRACE)]
}
