//! Commands that clients run in apps: who asked for which, and what may pass between the two.
//!
//! Responsible for: session numbers, credit in both directions, what neither a client nor a guest may do. Must not know: sockets,
//! the clock; the supervisor carries the [`Effect`]s out. Follows guest-api's order of messages and `protocol`.

use std::collections::BTreeMap;

use guest_api::{
    AppId, AppSpec, INITIAL_CREDIT_BYTES, INITIAL_INPUT_CREDIT_BYTES, MAX_INPUT_BYTES, MAX_OUTPUT_BYTES,
    MAX_SESSIONS, Process, SessionId, SessionSpec, Stdio, StdioStream, ToGuest, ToHost,
};

use super::protocol::{ExecRequest, Reply, Request};
use super::server::ClientId;
use crate::guest::Violation;
use crate::{app_end, lifecycle};

/// Longest command line, as the sum of its arguments with a terminator each: what the kernel takes with the default stack limit
/// (execve(2)). A longer one could not travel to the guest either.
const MAX_COMMAND_BYTES: usize = 2 * 1024 * 1024;

/// Longest name of a terminal; those of terminfo have a few dozen bytes.
const MAX_TERMINAL_TYPE_BYTES: usize = 256;

/// What the supervisor is to do next, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send to the guest.
    Send(Box<ToGuest>),
    /// Reply to the client.
    Reply(ClientId, Reply),
    /// Close the connection of a client that does what no client of ours does.
    Disconnect(ClientId),
    /// End the pod.
    Stop {
        /// Kill it.
        force: bool,
    },
}

/// What commands have to be known of an app.
#[derive(Debug)]
struct App {
    /// None as long as the guest does not know it.
    id: Option<AppId>,
    name: String,
    environment: Vec<(String, String)>,
    phase: AppPhase,
}

#[derive(Debug)]
enum AppPhase {
    /// Nobody has asked for its start.
    Added,
    /// Commands wait for it.
    Starting(Vec<(ClientId, SessionSpec)>),
    /// It was started, and may have ended since.
    Started,
    /// It never will be.
    Failed,
}

#[derive(Debug)]
struct Stream {
    /// Bytes that the guest may send.
    credit: u32,
    open: bool,
}

#[derive(Debug)]
struct Session {
    /// None once it is gone: the command was hung up, and what it still writes is dropped.
    client: Option<ClientId>,
    stdio: Stdio,
    started: bool,
    stdout: Stream,
    stderr: Stream,
    /// Bytes that the client may send.
    input_credit: u32,
    input_closed: bool,
}

impl Session {
    fn new(client: ClientId, stdio: Stdio) -> Self {
        let stream = |name| Stream { credit: INITIAL_CREDIT_BYTES, open: stdio.streams().contains(&name) };
        Self {
            client: Some(client),
            stdio,
            started: false,
            stdout: stream(StdioStream::Stdout),
            stderr: stream(StdioStream::Stderr),
            input_credit: INITIAL_INPUT_CREDIT_BYTES,
            input_closed: false,
        }
    }

    fn stream(&mut self, stream: StdioStream) -> &mut Stream {
        match stream {
            StdioStream::Stdout => &mut self.stdout,
            StdioStream::Stderr => &mut self.stderr,
        }
    }
}

/// The sessions of a pod.
#[derive(Debug)]
pub struct Sessions {
    apps: Vec<App>,
    sessions: BTreeMap<SessionId, Session>,
    next: u32,
    /// The pod is about to end: what kills a command now is that.
    ending: bool,
}

impl Sessions {
    /// Of a pod of these apps, numbered from 0.
    pub fn new(apps: &[AppSpec]) -> Self {
        let app = |app: &AppSpec| App {
            id: Some(app.id),
            name: app.name.clone(),
            environment: lifecycle::environment_of_commands(app),
            phase: AppPhase::Starting(Vec::new()),
        };
        Self { apps: apps.iter().map(app).collect(), sessions: BTreeMap::new(), next: 0, ending: false }
    }

    /// The app runs; commands that wait for it are sent.
    pub fn app_started(&mut self, app: AppId) -> Vec<Effect> {
        let Some(known) = self.apps.iter_mut().find(|it| it.id == Some(app)) else { return vec![] };
        match std::mem::replace(&mut known.phase, AppPhase::Started) {
            AppPhase::Starting(waiting) => {
                let begin = |(client, spec)| self.begin(client, SessionSpec { app, ..spec });
                waiting.into_iter().map(begin).collect()
            }
            AppPhase::Added | AppPhase::Started | AppPhase::Failed => vec![],
        }
    }

    /// The app will not run.
    pub fn app_failed(&mut self, app: AppId) -> Vec<Effect> {
        let Some(known) = self.apps.iter_mut().find(|it| it.id == Some(app)) else { return vec![] };
        let reason = format!("app {:?} could not be started", known.name);
        match std::mem::replace(&mut known.phase, AppPhase::Failed) {
            AppPhase::Starting(waiting) => {
                let failed = |(client, _)| Effect::Reply(client, Reply::Failed(reason.clone()));
                waiting.into_iter().map(failed).collect()
            }
            AppPhase::Added | AppPhase::Started | AppPhase::Failed => vec![],
        }
    }

    /// The app is part of the pod, and was not started yet.
    pub fn app_added(&mut self, app: &AppSpec) {
        let (name, environment) = (app.name.clone(), lifecycle::environment_of_commands(app));
        self.apps.push(App { id: None, name, environment, phase: AppPhase::Added });
    }

    /// The app is about to be started under this number; commands wait for it.
    pub fn app_starts(&mut self, id: AppId, name: &str) {
        if let Some(app) = self.apps.iter_mut().find(|app| app.name == name) {
            app.id = Some(id);
            if !matches!(app.phase, AppPhase::Starting(_)) {
                app.phase = AppPhase::Starting(Vec::new());
            }
        }
    }

    /// The guest is to forget the app's last run, before its next one or its end: commands wait for that.
    pub fn app_is_forgotten(&mut self, name: &str) {
        if let Some(app) = self.apps.iter_mut().find(|app| app.name == name) {
            app.id = None;
            app.phase = AppPhase::Starting(Vec::new());
        }
    }

    /// The app is no part of the pod any more.
    pub fn app_removed(&mut self, name: &str) -> Vec<Effect> {
        let Some(index) = self.apps.iter().position(|app| app.name == name) else { return vec![] };
        match self.apps.remove(index).phase {
            AppPhase::Starting(waiting) => {
                let failed = |(client, _)| Effect::Reply(client, Reply::Failed(no_app(name)));
                waiting.into_iter().map(failed).collect()
            }
            AppPhase::Added | AppPhase::Started | AppPhase::Failed => vec![],
        }
    }

    /// The pod is about to end.
    pub fn pod_ends(&mut self) {
        self.ending = true;
    }

    /// The pod has ended: whoever still waits for a command learns so.
    pub fn pod_ended(&mut self) -> Vec<Effect> {
        self.ending = true;
        let mut clients: Vec<ClientId> =
            std::mem::take(&mut self.sessions).into_values().filter_map(|session| session.client).collect();
        for app in &mut self.apps {
            if let AppPhase::Starting(waiting) = &mut app.phase {
                clients.extend(waiting.drain(..).map(|(client, _)| client));
            }
        }
        clients.into_iter().map(|client| Effect::Reply(client, Reply::PodEnded)).collect()
    }

    /// A client asks for something.
    pub fn request(&mut self, client: ClientId, request: Request) -> Vec<Effect> {
        match request {
            Request::Stop { force } => vec![Effect::Reply(client, Reply::Stopping), Effect::Stop { force }],
            Request::Exec(request) => match self.exec(client, request) {
                Ok(effect) => effect.into_iter().collect(),
                Err(reply) => vec![Effect::Reply(client, reply)],
            },
            Request::ResizeApp { app, size } => match self.apps.iter().find(|known| known.name == app) {
                Some(known) => {
                    let resize = |id| send(ToGuest::Resize { process: Process::App(id), size });
                    known.id.map(resize).into_iter().collect()
                }
                None => vec![Effect::Disconnect(client)],
            },
            other => match self.message_to_command(client, other) {
                Some(message) => vec![Effect::Send(Box::new(message))],
                None => vec![Effect::Disconnect(client)],
            },
        }
    }

    /// A client is gone.
    pub fn gone(&mut self, client: ClientId) -> Vec<Effect> {
        for app in &mut self.apps {
            if let AppPhase::Starting(waiting) = &mut app.phase {
                waiting.retain(|(other, _)| *other != client);
            }
        }
        let Some((&id, session)) = self.sessions.iter_mut().find(|(_, it)| it.client == Some(client)) else {
            return vec![];
        };
        session.client = None;
        let mut effects = vec![send(ToGuest::HangUp(id))];
        // What the client did not take is dropped, or the command's last words would wait for ever for their turn.
        for &stream in session.stdio.streams() {
            let state = session.stream(stream);
            let bytes = INITIAL_CREDIT_BYTES.saturating_sub(state.credit);
            if bytes > 0 && state.open {
                state.credit = INITIAL_CREDIT_BYTES;
                effects.push(send(ToGuest::Credit { process: Process::Session(id), stream, bytes }));
            }
        }
        effects
    }

    /// The guest says something of a session.
    pub fn receive(&mut self, message: ToHost) -> Result<Vec<Effect>, Violation> {
        match message {
            ToHost::SessionStarted { session, .. } => {
                let known = self.session(session)?;
                if std::mem::replace(&mut known.started, true) {
                    return Err(Violation::OutOfOrder { message: "SessionStarted", when: "twice" });
                }
                Ok(known.client.map(|client| Effect::Reply(client, Reply::Started)).into_iter().collect())
            }
            ToHost::SessionFailed { session, reason } => {
                if self.session(session)?.started {
                    let when = "of a session that was started";
                    return Err(Violation::OutOfOrder { message: "SessionFailed", when });
                }
                Ok(self.end(session, Reply::Failed(app_end::bounded(reason))))
            }
            ToHost::SessionExited { session, exit } => {
                if !self.session(session)?.started {
                    let when = "of a session that was not started";
                    return Err(Violation::OutOfOrder { message: "SessionExited", when });
                }
                let killed = matches!(exit, guest_api::AppExit::Signal(_));
                let reply = if killed && self.ending { Reply::PodEnded } else { Reply::Exited(exit) };
                Ok(self.end(session, reply))
            }
            ToHost::Output { process: Process::Session(session), stream, data } => {
                self.output(session, stream, data)
            }
            ToHost::OutputClosed { process: Process::Session(session), stream } => {
                let state = self.session(session)?.stream(stream);
                if !std::mem::replace(&mut state.open, false) {
                    return Err(Violation::OutOfOrder { message: "OutputClosed", when: "twice" });
                }
                Ok(vec![])
            }
            ToHost::InputCredit { process: Process::Session(session), bytes } => {
                let known = self.session(session)?;
                known.input_credit = known
                    .input_credit
                    .checked_add(bytes)
                    .filter(|credit| *credit <= INITIAL_INPUT_CREDIT_BYTES)
                    .ok_or(Violation::BeyondInput)?;
                let client = known.client;
                Ok(client.map(|it| Effect::Reply(it, Reply::InputCredit(bytes))).into_iter().collect())
            }
            _ => Err(Violation::OutOfOrder { message: "a message of an app", when: "in a session" }),
        }
    }

    fn output(
        &mut self,
        id: SessionId,
        stream: StdioStream,
        data: Vec<u8>,
    ) -> Result<Vec<Effect>, Violation> {
        let known = self.session(id)?;
        let started = known.started;
        let client = known.client;
        let state = known.stream(stream);
        if !state.open || !started {
            return Err(Violation::OutOfOrder {
                message: "Output",
                when: "of a session or stream that is not open",
            });
        }
        let length = u32::try_from(data.len()).ok().filter(|_| data.len() <= MAX_OUTPUT_BYTES);
        let left = length.and_then(|length| Some((length, state.credit.checked_sub(length)?)));
        let (bytes, left) = left.ok_or(Violation::BeyondCredit(format!("session {}", id.0)))?;
        Ok(match client {
            Some(client) => {
                state.credit = left;
                vec![Effect::Reply(client, Reply::Output { stream, data })]
            }
            None => vec![send(ToGuest::Credit { process: Process::Session(id), stream, bytes })],
        })
    }

    fn session(&mut self, id: SessionId) -> Result<&mut Session, Violation> {
        self.sessions.get_mut(&id).ok_or(Violation::UnknownSession(id.0))
    }

    fn end(&mut self, id: SessionId, reply: Reply) -> Vec<Effect> {
        let client = self.sessions.remove(&id).and_then(|session| session.client);
        client.map(|client| Effect::Reply(client, reply)).into_iter().collect()
    }

    fn exec(&mut self, client: ClientId, request: ExecRequest) -> Result<Option<Effect>, Reply> {
        let failed = |reason: String| Reply::Failed(reason);
        if self.commands() >= MAX_SESSIONS {
            return Err(failed(format!(
                "{MAX_SESSIONS} commands are running in this pod, which is the limit"
            )));
        }
        if self.has_command(client) {
            return Err(failed("a connection runs one command".to_owned()));
        }
        let bytes = request.command.iter().map(|argument| argument.len().saturating_add(1)).sum::<usize>();
        if bytes > MAX_COMMAND_BYTES {
            return Err(failed(format!("the command line is longer than {MAX_COMMAND_BYTES} bytes")));
        }
        if request.command.first().is_none_or(String::is_empty) {
            return Err(failed("there is no command".to_owned()));
        }
        if request.terminal_type.len() > MAX_TERMINAL_TYPE_BYTES {
            return Err(failed(format!("TERM is longer than {MAX_TERMINAL_TYPE_BYTES} bytes")));
        }
        let nul = |text: &String| text.contains('\0');
        if request.command.iter().any(nul) || nul(&request.terminal_type) {
            return Err(failed("there is a NUL byte in the command line".to_owned()));
        }
        let Some(app) = self.apps.iter_mut().find(|app| app.name == request.app) else {
            return Err(failed(no_app(&request.app)));
        };
        let mut environment = app.environment.clone();
        environment.retain(|(name, _)| name != "TERM");
        environment.push(("TERM".to_owned(), request.terminal_type));
        let spec = SessionSpec {
            id: SessionId(self.next),
            // One that is given later counts from the start of the app on.
            app: app.id.unwrap_or(AppId(0)),
            command: request.command,
            environment,
            stdio: request.terminal.map_or(Stdio::PIPES, Stdio::terminal),
        };
        self.next =
            self.next.checked_add(1).ok_or_else(|| failed("too many commands were run".to_owned()))?;
        match &mut app.phase {
            AppPhase::Starting(waiting) => {
                waiting.push((client, spec));
                Ok(None)
            }
            AppPhase::Started => Ok(Some(self.begin(client, spec))),
            AppPhase::Added => Err(failed(format!("app {:?} has not been started", app.name))),
            AppPhase::Failed => Err(failed(format!("app {:?} could not be started", app.name))),
        }
    }

    fn begin(&mut self, client: ClientId, spec: SessionSpec) -> Effect {
        self.sessions.insert(spec.id, Session::new(client, spec.stdio));
        send(ToGuest::Exec(spec))
    }

    /// Commands that run or wait for their app.
    fn commands(&self) -> usize {
        let waiting = |app: &App| match &app.phase {
            AppPhase::Starting(waiting) => waiting.len(),
            AppPhase::Added | AppPhase::Started | AppPhase::Failed => 0,
        };
        self.sessions.len() + self.apps.iter().map(waiting).sum::<usize>()
    }

    fn has_command(&self, client: ClientId) -> bool {
        let waits = |app: &App| match &app.phase {
            AppPhase::Starting(waiting) => waiting.iter().any(|(other, _)| *other == client),
            AppPhase::Added | AppPhase::Started | AppPhase::Failed => false,
        };
        self.sessions.values().any(|session| session.client == Some(client)) || self.apps.iter().any(waits)
    }

    /// The message to the client's command that the request stands for; none if a client may not ask for that now.
    fn message_to_command(&mut self, client: ClientId, request: Request) -> Option<ToGuest> {
        let (&id, session) = self.sessions.iter_mut().find(|(_, it)| it.client == Some(client))?;
        if !session.started {
            return None;
        }
        let process = Process::Session(id);
        match request {
            Request::Input(data) => {
                let length = u32::try_from(data.len()).ok().filter(|_| data.len() <= MAX_INPUT_BYTES)?;
                if session.input_closed {
                    return None;
                }
                session.input_credit = session.input_credit.checked_sub(length)?;
                Some(ToGuest::Input { process, data })
            }
            Request::InputClosed => {
                (!std::mem::replace(&mut session.input_closed, true)).then_some(ToGuest::InputClosed(process))
            }
            Request::Resize(size) => Some(ToGuest::Resize { process, size }),
            Request::Signal(signal) => Some(ToGuest::Signal { process, signal }),
            Request::Credit { stream, bytes } => {
                let state = session.stream(stream);
                state.credit =
                    state.credit.checked_add(bytes).filter(|credit| *credit <= INITIAL_CREDIT_BYTES)?;
                Some(ToGuest::Credit { process, stream, bytes })
            }
            Request::Stop { .. }
            | Request::Exec(_)
            | Request::ResizeApp { .. }
            | Request::AddApp(_)
            | Request::StartApp(_)
            | Request::StopApp(_)
            | Request::RemoveApp(_)
            | Request::Metrics => None,
        }
    }
}

fn no_app(name: &str) -> String {
    format!("the pod has no app {name:?}")
}

fn send(message: ToGuest) -> Effect {
    Effect::Send(Box::new(message))
}
