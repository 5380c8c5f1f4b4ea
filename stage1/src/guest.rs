//! The conversation with the guest, as a state machine without I/O.
//!
//! Responsible for: which message may come when, how much an app may write, when the pod fails, when it is over and with
//! which exit code. Must not know: sockets, processes, files; the supervisor carries the [`Action`]s out. Follows
//! guest-api's message order and rkt-reference 6.8.

use std::collections::BTreeMap;

use guest_api::{
    AppExit, AppId, AppSpec, Handler, HandlerEnd, Hello, INITIAL_CREDIT_BYTES, MAX_OUTPUT_BYTES, Notice,
    PROTOCOL_VERSION, PodSpec, Process, StdioStream, ToGuest, ToHost, TunnelMessage,
};
use tunnels::TunnelError;

use crate::app_end;
use crate::exit::{ExitCode, PodOutcome};

/// Credit is granted in steps of half of what the guest starts with: a message for every line would wake the guest for every line,
/// and what is held back (a step and a partial line) leaves the guest enough to go on with.
const CREDIT_STEP_BYTES: u32 = INITIAL_CREDIT_BYTES / 2;

/// What an app died of whose VM was killed.
const SIGKILL: u8 = 9;

/// What the supervisor is to do next, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the message.
    Send(Box<ToGuest>),
    /// The app's process runs: label its output with the PID.
    AppStarted {
        /// The app.
        app: AppId,
        /// Its PID in the guest.
        pid: u32,
    },
    /// An event handler of the app runs: label the app's output with its PID.
    HandlerStarted {
        /// The app.
        app: AppId,
        /// The handler's PID in the guest.
        pid: u32,
    },
    /// Every app was started: tell the host so.
    PodReady,
    /// Pass the bytes on, then report them with [`Conversation::written`].
    Output {
        /// The app.
        app: AppId,
        /// Its stream.
        stream: StdioStream,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Nothing more comes from the stream.
    OutputClosed {
        /// The app.
        app: AppId,
        /// Its stream.
        stream: StdioStream,
    },
    /// Record the app's exit status.
    RecordStatus {
        /// The app.
        app: AppId,
        /// The status.
        status: u8,
    },
    /// The app has taken so many bytes of input.
    InputCredit {
        /// The app.
        app: AppId,
        /// How many.
        bytes: u32,
    },
    /// The message is about a command in an app.
    OfSession(ToHost),
    /// The message is about a tunnel.
    OfTunnel(TunnelMessage),
    /// The app speaks to the host's service manager.
    Notices {
        /// The app.
        app: AppId,
        /// What it says.
        notices: Vec<Notice>,
    },
    /// The app will never run: tell the user.
    StartFailed {
        /// The app.
        app: AppId,
        /// Why.
        reason: String,
    },
    /// The guest knows nothing of the app any more: nothing more is said of it.
    Forgotten(AppId),
    /// Tell the user.
    Complain(String),
    /// The guest has nothing more to say and nothing more to lose.
    Finished,
}

/// What a guest must not do. Any of it ends the pod: both sides come from the same image, so the guest is broken or
/// hostile.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Another version of guest-init.
    #[error("guest-init speaks protocol version {guest}, stage1 version {PROTOCOL_VERSION}")]
    ProtocolVersion {
        /// Its version.
        guest: u16,
    },
    /// A message that does not fit the state of the conversation.
    #[error("the guest sent {message} {when}")]
    OutOfOrder {
        /// Name of the message.
        message: &'static str,
        /// State of the conversation.
        when: &'static str,
    },
    /// An app that the pod does not have.
    #[error("the guest speaks of app number {0}, which the pod does not have")]
    UnknownApp(u16),
    /// A command that nobody asked for.
    #[error("the guest speaks of session {0}, which does not exist")]
    UnknownSession(u32),
    /// More output than was granted, or in pieces larger than agreed.
    #[error("{0} sent more output than the host granted")]
    BeyondCredit(String),
    /// More, or something else, than tunnels take.
    #[error("the guest broke the rules of tunnels")]
    Tunnel(#[source] TunnelError),
    /// Credit for input that was never sent.
    #[error("the guest granted credit for input that it was not sent")]
    BeyondInput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has called yet.
    Booting,
    /// The guest has its pod and starts it.
    Starting,
    /// Every app was started.
    Running,
    /// `Halting` has come.
    Halted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppPhase {
    Starting,
    /// An event handler runs, or has.
    Prepared,
    Started,
    Ended,
    /// The guest was told to forget it.
    Forgetting,
}

#[derive(Debug)]
struct Stream {
    credit: u32,
    /// Bytes written but not granted yet.
    earned: u32,
    open: bool,
}

#[derive(Debug)]
struct App {
    name: String,
    phase: AppPhase,
    out_of_memory: bool,
    /// It has failed before anybody asked for its end.
    failing: bool,
    /// Its end was asked for.
    stopping: bool,
    /// Event handlers that have not been run. Whatever the guest may say of an app without end would fill the host's memory.
    handlers_left: usize,
    /// Occasions of event handlers that have failed.
    handlers_failed: Vec<Handler>,
    stdout: Stream,
    stderr: Stream,
}

impl App {
    fn new((name, handlers_left): (String, usize)) -> Self {
        let stream = || Stream { credit: INITIAL_CREDIT_BYTES, earned: 0, open: true };
        Self {
            name,
            phase: AppPhase::Starting,
            out_of_memory: false,
            failing: false,
            stopping: false,
            handlers_left,
            handlers_failed: Vec::new(),
            stdout: stream(),
            stderr: stream(),
        }
    }

    fn stream(&mut self, stream: StdioStream) -> &mut Stream {
        match stream {
            StdioStream::Stdout => &mut self.stdout,
            StdioStream::Stderr => &mut self.stderr,
        }
    }
}

/// Nothing of the app has run but event handlers.
const NOT_STARTED: &[AppPhase] = &[AppPhase::Starting, AppPhase::Prepared];

/// One pod's conversation.
#[derive(Debug)]
pub struct Conversation {
    phase: Phase,
    apps: BTreeMap<AppId, App>,
    outcome: PodOutcome,
    stop_requested: bool,
    /// The apps are sent signals: somebody asked for it, or one of them failed.
    ending: bool,
    /// Apps come and go, and how they end is not how the pod ends.
    mutable: bool,
}

impl Conversation {
    /// With a guest that has not called yet and will get these apps, numbered from 0: their names, and how many event handlers
    /// each has.
    pub fn new(apps: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self {
            phase: Phase::Booting,
            apps: (0..).map(AppId).zip(apps.into_iter().map(App::new)).collect(),
            outcome: PodOutcome::default(),
            stop_requested: false,
            ending: false,
            mutable: false,
        }
    }

    /// The same with a guest whose apps come and go.
    pub fn mutable(apps: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self { mutable: true, ..Self::new(apps) }
    }

    /// Whether the guest has its pod, and apps may be added to it.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running && !self.stop_requested
    }

    /// Starts an app. Its number is that of no other which the guest knows.
    pub fn start_app(&mut self, spec: AppSpec) -> Vec<Action> {
        self.apps.insert(spec.id, App::new((spec.name.clone(), spec.lifecycle.count())));
        vec![send(ToGuest::StartApp(Box::new(spec)))]
    }

    /// Asks for the end of an app.
    pub fn stop_app(&mut self, app: AppId) -> Vec<Action> {
        let Some(known) = self.apps.get_mut(&app) else { return vec![] };
        known.stopping = true;
        vec![send(ToGuest::StopApp(app))]
    }

    /// Tells the guest that an app, which has ended, is needed no more.
    pub fn forget_app(&mut self, app: AppId) -> Vec<Action> {
        match self.apps.get_mut(&app) {
            Some(known) if known.phase == AppPhase::Ended => {
                known.phase = AppPhase::Forgetting;
                vec![send(ToGuest::ForgetApp(app))]
            }
            _ => vec![],
        }
    }

    /// Whether the guest has said its first word.
    pub fn has_begun(&self) -> bool {
        self.phase != Phase::Booting
    }

    /// Whether the guest has said its last word.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Halted
    }

    /// Exit code of the pod as far as it is known.
    pub fn exit_code(&self) -> ExitCode {
        self.outcome.exit_code()
    }

    /// The user wants the pod to end. A guest that has not called yet is told when it does.
    pub fn stop(&mut self) -> Vec<Action> {
        let first = !std::mem::replace(&mut self.stop_requested, true);
        self.ending = true;
        if first && matches!(self.phase, Phase::Starting | Phase::Running) {
            vec![send(ToGuest::Stop)]
        } else {
            vec![]
        }
    }

    /// The pod is to end at once. False if the guest has not called yet: it has nothing to lose and is not asked.
    pub fn kill(&mut self) -> (bool, Vec<Action>) {
        (self.stop_requested, self.ending) = (true, true);
        match self.phase {
            Phase::Booting => (false, vec![]),
            Phase::Starting | Phase::Running => (true, vec![send(ToGuest::Kill)]),
            Phase::Halted => (true, vec![]),
        }
    }

    /// The guest's clock may have parted from the host's, which shows this time. A guest that has not called yet is told the
    /// time when it does.
    pub fn compare_clocks(&self, realtime_ns: u64) -> Vec<Action> {
        match self.phase {
            Phase::Starting | Phase::Running => vec![send(ToGuest::Clock { realtime_ns })],
            Phase::Booting | Phase::Halted => vec![],
        }
    }

    /// The VM was killed, and with it every app that ran.
    pub fn vm_was_killed(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let ran = |app: &App| matches!(app.phase, AppPhase::Prepared | AppPhase::Started);
        for (&app, known) in self.apps.iter_mut().filter(|(_, app)| ran(app)) {
            known.phase = AppPhase::Ended;
            let exit = AppExit::Signal(SIGKILL);
            if !self.mutable {
                self.outcome.app_ended(exit);
            }
            actions.push(Action::RecordStatus { app, status: exit.status() });
        }
        actions
    }

    /// That many bytes of the stream have reached their destination: the guest may send as many more.
    pub fn written(&mut self, app: AppId, stream: StdioStream, bytes: u32) -> Vec<Action> {
        let Ok(known) = self.app(app) else { return vec![] };
        let state = known.stream(stream);
        state.earned = state.earned.saturating_add(bytes);
        if !state.open || state.earned < CREDIT_STEP_BYTES {
            return vec![];
        }
        let bytes = std::mem::take(&mut state.earned);
        state.credit = state.credit.saturating_add(bytes);
        vec![send(ToGuest::Credit { process: Process::App(app), stream, bytes })]
    }

    /// Takes the guest's next message. `spec` makes the pod's specification when the guest asks for it: it holds the time
    /// and fresh entropy.
    pub fn receive(
        &mut self,
        message: ToHost,
        spec: impl FnOnce() -> PodSpec,
    ) -> Result<Vec<Action>, Violation> {
        if !matches!(message, ToHost::Hello(_)) {
            self.is_time_for(name(&message))?;
        }
        match message {
            ToHost::Hello(hello) => self.hello(&hello, spec),
            ToHost::Started { app, pid } => {
                self.advance(app, NOT_STARTED, AppPhase::Started, "Started")?;
                Ok(vec![Action::AppStarted { app, pid }])
            }
            ToHost::StartFailed { app, reason } => self.start_failed(app, reason),
            ToHost::Ready if self.phase == Phase::Starting => {
                self.phase = Phase::Running;
                Ok(vec![Action::PodReady])
            }
            ToHost::Ready => Err(Violation::OutOfOrder { message: "Ready", when: "twice" }),
            ToHost::Output { process: Process::App(app), stream, data } => {
                self.output(app, stream, data.len())?;
                Ok(vec![Action::Output { app, stream, data }])
            }
            ToHost::OutputClosed { process: Process::App(app), stream } => {
                let state = self.app(app)?.stream(stream);
                if !std::mem::replace(&mut state.open, false) {
                    return Err(Violation::OutOfOrder { message: "OutputClosed", when: "twice" });
                }
                Ok(vec![Action::OutputClosed { app, stream }])
            }
            ToHost::Exited { app, exit } => self.exited(app, exit),
            ToHost::HandlerStarted { app, pid, .. } => self.handler_started(app, pid),
            ToHost::HandlerFailed { app, handler, end } => self.handler_failed(app, handler, &end),
            ToHost::Failing { app, exit } => self.failing(app, exit),
            ToHost::OutOfMemory { app } => {
                self.app(app)?.out_of_memory = true;
                Ok(vec![])
            }
            ToHost::Notices { app, notices } => {
                self.app(app)?;
                Ok(vec![Action::Notices { app, notices }])
            }
            ToHost::Failed { reason } => {
                self.outcome.fail();
                self.phase = Phase::Halted;
                Ok(vec![Action::Complain(app_end::bounded(reason)), Action::Finished])
            }
            ToHost::Halting => {
                self.phase = Phase::Halted;
                Ok(vec![Action::Finished])
            }
            ToHost::InputCredit { process: Process::App(app), bytes } => {
                self.app(app)?;
                Ok(vec![Action::InputCredit { app, bytes }])
            }
            ToHost::Forgotten(app) => {
                if self.app(app)?.phase != AppPhase::Forgetting {
                    let when = "of an app that it was not told to forget";
                    return Err(Violation::OutOfOrder { message: "Forgotten", when });
                }
                self.apps.remove(&app);
                Ok(vec![Action::Forgotten(app)])
            }
            of_session @ (ToHost::SessionStarted { .. }
            | ToHost::SessionFailed { .. }
            | ToHost::SessionExited { .. }
            | ToHost::Output { process: Process::Session(_), .. }
            | ToHost::OutputClosed { process: Process::Session(_), .. }
            | ToHost::InputCredit { process: Process::Session(_), .. }) => {
                Ok(vec![Action::OfSession(of_session)])
            }
            ToHost::Tunnel(message) => Ok(vec![Action::OfTunnel(message)]),
        }
    }

    fn hello(&mut self, hello: &Hello, spec: impl FnOnce() -> PodSpec) -> Result<Vec<Action>, Violation> {
        if self.phase != Phase::Booting {
            return Err(Violation::OutOfOrder { message: "Hello", when: "twice" });
        }
        if hello.protocol != PROTOCOL_VERSION {
            return Err(Violation::ProtocolVersion { guest: hello.protocol });
        }
        self.phase = Phase::Starting;
        let mut actions = vec![send(ToGuest::Configure(spec()))];
        if self.stop_requested {
            actions.push(send(ToGuest::Stop));
        }
        Ok(actions)
    }

    /// Takes note of so many bytes of an app's output, which are then passed on and reported with [`Self::written`]: what
    /// [`Self::receive`] does with a message that holds them.
    pub fn output(&mut self, app: AppId, stream: StdioStream, bytes: usize) -> Result<(), Violation> {
        self.is_time_for("Output")?;
        let known = self.app(app)?;
        // An app's descendants may outlive it and go on writing.
        let started = known.phase != AppPhase::Starting;
        let state = known.stream(stream);
        if !state.open || !started {
            return Err(Violation::OutOfOrder {
                message: "Output",
                when: "of an app or stream that is not open",
            });
        }
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= MAX_OUTPUT_BYTES);
        match length.and_then(|length| state.credit.checked_sub(length)) {
            Some(left) => state.credit = left,
            None => return Err(Violation::BeyondCredit(format!("app {:?}", known.name))),
        }
        Ok(())
    }

    /// Whether the guest has said its first word, and not yet its last one.
    fn is_time_for(&self, message: &'static str) -> Result<(), Violation> {
        match self.phase {
            Phase::Booting => Err(Violation::OutOfOrder { message, when: "before its Hello" }),
            Phase::Halted => Err(Violation::OutOfOrder { message, when: "after Halting" }),
            Phase::Starting | Phase::Running => Ok(()),
        }
    }

    fn handler_started(&mut self, app: AppId, pid: u32) -> Result<Vec<Action>, Violation> {
        if self.app(app)?.phase != AppPhase::Started {
            self.advance(app, NOT_STARTED, AppPhase::Prepared, "HandlerStarted")?;
        }
        let known = self.app(app)?;
        let Some(left) = known.handlers_left.checked_sub(1) else {
            let when = "more often than the app has event handlers";
            return Err(Violation::OutOfOrder { message: "HandlerStarted", when });
        };
        known.handlers_left = left;
        Ok(vec![Action::HandlerStarted { app, pid }])
    }

    /// The handlers of an occasion end with the first that fails.
    fn handler_failed(
        &mut self,
        app: AppId,
        handler: Handler,
        end: &HandlerEnd,
    ) -> Result<Vec<Action>, Violation> {
        let known = self.app(app)?;
        if known.handlers_failed.contains(&handler) {
            return Err(Violation::OutOfOrder { message: "HandlerFailed", when: "twice" });
        }
        known.handlers_failed.push(handler);
        let (name, handler, how) = (&known.name, handler.name(), app_end::how_handler(end));
        Ok(vec![Action::Complain(format!("event handler {handler} of app {name:?} {how}"))])
    }

    fn start_failed(&mut self, app: AppId, reason: String) -> Result<Vec<Action>, Violation> {
        let prepared = self.app(app)?.phase == AppPhase::Prepared;
        self.advance(app, NOT_STARTED, AppPhase::Ended, "StartFailed")?;
        let known = self.app(app)?;
        let streams = [StdioStream::Stdout, StdioStream::Stderr];
        // What its event handlers wrote last need not end in a line break.
        let open = streams.into_iter().filter(|it| std::mem::replace(&mut known.stream(*it).open, false));
        let open: Vec<StdioStream> = open.collect();
        let ended = open.into_iter().filter(|_| prepared);
        let mut actions: Vec<Action> = ended.map(|stream| Action::OutputClosed { app, stream }).collect();
        actions.push(Action::StartFailed { app, reason: app_end::bounded(reason) });
        if !self.mutable {
            self.outcome.fail();
            actions.extend(self.stop());
        }
        Ok(actions)
    }

    /// The first app that fails decides on the pod's exit code, whenever its end is complete.
    fn failing(&mut self, app: AppId, exit: AppExit) -> Result<Vec<Action>, Violation> {
        let known = self.app(app)?;
        if !matches!(known.phase, AppPhase::Prepared | AppPhase::Started) {
            return Err(Violation::OutOfOrder { message: "Failing", when: "of an app that does not run" });
        }
        known.failing = true;
        if !self.mutable {
            self.outcome.app_ended(exit);
            self.ending = true;
        }
        Ok(vec![])
    }

    fn exited(&mut self, app: AppId, exit: AppExit) -> Result<Vec<Action>, Violation> {
        self.advance(app, &[AppPhase::Prepared, AppPhase::Started], AppPhase::Ended, "Exited")?;
        let ending = self.ending;
        let known = self.app(app)?;
        let asked = (ending && !known.failing) || known.stopping;
        let report = app_end::report(&known.name, exit, asked, known.out_of_memory);
        if !self.mutable {
            self.outcome.app_ended(exit);
            self.ending |= exit.status() != 0;
        }
        let mut actions: Vec<Action> = report.map(Action::Complain).into_iter().collect();
        actions.push(Action::RecordStatus { app, status: exit.status() });
        Ok(actions)
    }

    fn advance(
        &mut self,
        app: AppId,
        from: &[AppPhase],
        to: AppPhase,
        message: &'static str,
    ) -> Result<(), Violation> {
        let known = self.app(app)?;
        if !from.contains(&known.phase) {
            let when = match known.phase {
                AppPhase::Starting => "of an app that was not started",
                AppPhase::Prepared => "of an app whose event handlers were",
                AppPhase::Started => "of an app that was started",
                AppPhase::Ended | AppPhase::Forgetting => "of an app that ended",
            };
            return Err(Violation::OutOfOrder { message, when });
        }
        known.phase = to;
        Ok(())
    }

    fn app(&mut self, id: AppId) -> Result<&mut App, Violation> {
        self.apps.get_mut(&id).ok_or(Violation::UnknownApp(id.0))
    }
}

fn send(message: ToGuest) -> Action {
    Action::Send(Box::new(message))
}

fn name(message: &ToHost) -> &'static str {
    match message {
        ToHost::Hello(_) => "Hello",
        ToHost::Started { .. } => "Started",
        ToHost::StartFailed { .. } => "StartFailed",
        ToHost::Ready => "Ready",
        ToHost::Output { .. } => "Output",
        ToHost::OutputClosed { .. } => "OutputClosed",
        ToHost::Exited { .. } => "Exited",
        ToHost::HandlerStarted { .. } => "HandlerStarted",
        ToHost::HandlerFailed { .. } => "HandlerFailed",
        ToHost::OutOfMemory { .. } => "OutOfMemory",
        ToHost::Failing { .. } => "Failing",
        ToHost::Notices { .. } => "Notices",
        ToHost::Failed { .. } => "Failed",
        ToHost::Halting => "Halting",
        ToHost::SessionStarted { .. } => "SessionStarted",
        ToHost::SessionFailed { .. } => "SessionFailed",
        ToHost::SessionExited { .. } => "SessionExited",
        ToHost::InputCredit { .. } => "InputCredit",
        ToHost::Tunnel(_) => "Tunnel",
        ToHost::Forgotten(_) => "Forgotten",
    }
}
