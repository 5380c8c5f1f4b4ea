use guest_api::{
    AppExit, AppId, AppSpec, INITIAL_CREDIT_BYTES, INITIAL_INPUT_CREDIT_BYTES, MAX_INPUT_BYTES,
    MAX_OUTPUT_BYTES, MAX_SESSIONS, Process, SessionId, SessionSpec, Stdio, StdioStream, ToGuest, ToHost,
    WindowSize,
};

use super::protocol::{ExecRequest, Reply, Request};
use super::server::ClientId;
use super::sessions::{Effect, Sessions};
use crate::guest::Violation;

const CLIENT: ClientId = ClientId(4);
const OTHER: ClientId = ClientId(5);
const SESSION: SessionId = SessionId(0);
const PROCESS: Process = Process::Session(SESSION);

fn app(id: u16, name: &str) -> AppSpec {
    AppSpec {
        id: AppId(id),
        name: name.into(),
        rootfs: format!("apps/{name}"),
        read_only_rootfs: false,
        exec: vec!["/bin/app".into()],
        environment: vec![("A".into(), "1".into()), ("TERM".into(), "dumb".into())],
        working_directory: "/".into(),
        user: "0".into(),
        group: "0".into(),
        group_falls_back_to_user: false,
        supplementary_gids: vec![],
        mounts: vec![],
        files: vec![],
        stdio: Stdio::LOG,
        isolation: guest_api::Isolation::NONE,
        lifecycle: guest_api::Lifecycle::default(),
        sockets: Vec::new(),
    }
}

/// Sessions of a pod whose two apps run.
fn sessions() -> Sessions {
    let mut sessions = Sessions::new(&[app(0, "web"), app(1, "db")]);
    sessions.app_started(AppId(0));
    sessions.app_started(AppId(1));
    sessions
}

fn request(app: &str) -> ExecRequest {
    ExecRequest {
        app: app.into(),
        command: vec!["sh".into(), "-c".into(), "a  b".into()],
        terminal: None,
        terminal_type: "screen".into(),
    }
}

fn exec(sessions: &mut Sessions, client: ClientId, app: &str) -> Vec<Effect> {
    sessions.request(client, Request::Exec(request(app)))
}

/// Sessions with a command of [`CLIENT`] that runs.
fn running() -> Sessions {
    let mut sessions = sessions();
    exec(&mut sessions, CLIENT, "web");
    sessions.receive(ToHost::SessionStarted { session: SESSION, pid: 7 }).unwrap();
    sessions
}

fn send(message: ToGuest) -> Effect {
    Effect::Send(Box::new(message))
}

fn output(bytes: usize) -> ToHost {
    ToHost::Output { process: PROCESS, stream: StdioStream::Stdout, data: vec![b'x'; bytes] }
}

fn exited(exit: AppExit) -> ToHost {
    ToHost::SessionExited { session: SESSION, exit }
}

#[test]
fn command_runs_in_the_app_it_names_with_its_environment_and_the_callers_terminal_type() {
    let mut sessions = sessions();

    let effects = exec(&mut sessions, CLIENT, "db");

    let spec = SessionSpec {
        id: SESSION,
        app: AppId(1),
        command: vec!["sh".into(), "-c".into(), "a  b".into()],
        environment: vec![("A".into(), "1".into()), ("TERM".into(), "screen".into())],
        stdio: Stdio::PIPES,
    };
    assert_eq!(effects, [send(ToGuest::Exec(spec))]);
}

#[test]
fn command_on_a_terminal_gets_one_of_the_same_size() {
    let mut sessions = sessions();
    let size = WindowSize { rows: 40, columns: 100 };

    let asked = ExecRequest { terminal: Some(size), ..request("web") };
    let effects = sessions.request(CLIENT, Request::Exec(asked));

    let [Effect::Send(message)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(matches!(&**message, ToGuest::Exec(spec) if spec.stdio == Stdio::terminal(size)));
}

#[test]
fn command_of_an_app_that_is_starting_waits_for_it() {
    let mut sessions = Sessions::new(&[app(0, "web"), app(1, "db")]);

    assert_eq!(exec(&mut sessions, CLIENT, "web"), []);
    assert_eq!(exec(&mut sessions, OTHER, "db"), []);

    let started = sessions.app_started(AppId(0));
    assert!(matches!(started.as_slice(), [Effect::Send(_)]), "{started:?}");
    let failed = sessions.app_failed(AppId(1));
    assert!(matches!(failed.as_slice(), [Effect::Reply(OTHER, Reply::Failed(_))]), "{failed:?}");
}

#[test]
fn command_of_a_client_that_left_while_it_waited_is_never_started() {
    let mut sessions = Sessions::new(&[app(0, "web")]);
    exec(&mut sessions, CLIENT, "web");

    assert_eq!(sessions.gone(CLIENT), []);

    assert_eq!(sessions.app_started(AppId(0)), []);
}

#[test]
fn command_that_cannot_be_is_refused_with_the_reason() {
    let nothing = ExecRequest { command: vec![], ..request("web") };
    let nul = ExecRequest { command: vec!["a\0b".into()], ..request("web") };
    let long = ExecRequest { command: vec!["x".repeat(3 * 1024 * 1024)], ..request("web") };
    for (request, reason) in [
        (request("mail"), "no app \"mail\""),
        (nothing, "no command"),
        (nul, "NUL byte"),
        (long, "longer than"),
    ] {
        let effects = sessions().request(CLIENT, Request::Exec(request));

        let [Effect::Reply(CLIENT, Reply::Failed(said))] = effects.as_slice() else { panic!("{effects:?}") };
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn number_of_commands_is_limited() {
    let mut sessions = sessions();
    for client in 0..MAX_SESSIONS as u64 {
        assert!(matches!(exec(&mut sessions, ClientId(client), "web").as_slice(), [Effect::Send(_)]));
    }

    let effects = exec(&mut sessions, ClientId(1000), "web");

    assert!(matches!(effects.as_slice(), [Effect::Reply(_, Reply::Failed(_))]), "{effects:?}");
}

#[test]
fn what_the_command_says_and_how_it_ends_reach_its_client() {
    let mut sessions = running();

    let said = sessions.receive(output(3)).unwrap();
    let ended = sessions.receive(exited(AppExit::Code(7))).unwrap();

    let reply = Reply::Output { stream: StdioStream::Stdout, data: b"xxx".to_vec() };
    assert_eq!(said, [Effect::Reply(CLIENT, reply)]);
    assert_eq!(ended, [Effect::Reply(CLIENT, Reply::Exited(AppExit::Code(7)))]);
}

#[test]
fn input_signals_and_window_sizes_reach_the_command() {
    let mut sessions = running();
    let size = WindowSize { rows: 1, columns: 2 };
    for (request, message) in [
        (Request::Input(b"in".to_vec()), ToGuest::Input { process: PROCESS, data: b"in".to_vec() }),
        (Request::Resize(size), ToGuest::Resize { process: PROCESS, size }),
        (Request::Signal(15), ToGuest::Signal { process: PROCESS, signal: 15 }),
        (Request::InputClosed, ToGuest::InputClosed(PROCESS)),
    ] {
        assert_eq!(sessions.request(CLIENT, request), [send(message)]);
    }
}

#[test]
fn credit_passes_from_one_end_to_the_other() {
    let mut sessions = running();
    sessions.receive(output(1000)).unwrap();
    sessions.request(CLIENT, Request::Input(vec![0; 100]));

    let stream = StdioStream::Stdout;
    let granted = sessions.request(CLIENT, Request::Credit { stream, bytes: 1000 });
    let taken = sessions.receive(ToHost::InputCredit { process: PROCESS, bytes: 100 }).unwrap();

    assert_eq!(granted, [send(ToGuest::Credit { process: PROCESS, stream, bytes: 1000 })]);
    assert_eq!(taken, [Effect::Reply(CLIENT, Reply::InputCredit(100))]);
}

#[test]
fn client_that_does_what_it_has_no_credit_for_is_disconnected() {
    let credit = Request::Credit { stream: StdioStream::Stdout, bytes: 1 };
    let long = Request::Input(vec![0; MAX_INPUT_BYTES + 1]);
    for request in [credit, long] {
        assert_eq!(running().request(CLIENT, request), [Effect::Disconnect(CLIENT)]);
    }
    let mut sessions = running();
    for _ in 0..INITIAL_INPUT_CREDIT_BYTES as usize / MAX_INPUT_BYTES {
        sessions.request(CLIENT, Request::Input(vec![0; MAX_INPUT_BYTES]));
    }

    assert_eq!(sessions.request(CLIENT, Request::Input(vec![0])), [Effect::Disconnect(CLIENT)]);
}

#[test]
fn client_without_a_command_that_runs_has_nothing_to_say_to_one() {
    let mut starting = sessions();
    exec(&mut starting, CLIENT, "web");

    assert_eq!(starting.request(CLIENT, Request::InputClosed), [Effect::Disconnect(CLIENT)]);
    assert_eq!(running().request(OTHER, Request::Signal(9)), [Effect::Disconnect(OTHER)]);
}

#[test]
fn second_command_over_one_connection_is_refused() {
    let effects = exec(&mut running(), CLIENT, "db");

    assert!(matches!(effects.as_slice(), [Effect::Reply(CLIENT, Reply::Failed(_))]), "{effects:?}");
}

#[test]
fn guest_that_says_more_than_it_has_credit_for_is_not_to_be_trusted() {
    let mut sessions = running();
    for _ in 0..INITIAL_CREDIT_BYTES as usize / MAX_OUTPUT_BYTES {
        sessions.receive(output(MAX_OUTPUT_BYTES)).unwrap();
    }

    assert!(matches!(sessions.receive(output(1)), Err(Violation::BeyondCredit(_))));
    assert!(matches!(running().receive(output(MAX_OUTPUT_BYTES + 1)), Err(Violation::BeyondCredit(_))));
    let credit = ToHost::InputCredit { process: PROCESS, bytes: 1 };
    assert_eq!(running().receive(credit), Err(Violation::BeyondInput));
}

#[test]
fn guest_that_speaks_of_a_session_out_of_order_is_not_to_be_trusted() {
    let started = || ToHost::SessionStarted { session: SESSION, pid: 7 };
    let failed = ToHost::SessionFailed { session: SESSION, reason: "no".into() };
    let mut asked = sessions();
    exec(&mut asked, CLIENT, "web");
    let mut over = running();
    over.receive(exited(AppExit::Code(0))).unwrap();

    assert_eq!(sessions().receive(started()), Err(Violation::UnknownSession(0)));
    assert!(matches!(running().receive(started()), Err(Violation::OutOfOrder { .. })));
    assert!(matches!(running().receive(failed), Err(Violation::OutOfOrder { .. })));
    assert!(matches!(asked.receive(output(1)), Err(Violation::OutOfOrder { .. })));
    assert!(matches!(asked.receive(exited(AppExit::Code(0))), Err(Violation::OutOfOrder { .. })));
    assert_eq!(over.receive(output(1)), Err(Violation::UnknownSession(0)));
    let closed = || ToHost::OutputClosed { process: PROCESS, stream: StdioStream::Stderr };
    let mut silent = running();
    silent.receive(closed()).unwrap();
    assert!(matches!(silent.receive(closed()), Err(Violation::OutOfOrder { .. })));
}

#[test]
fn command_of_a_client_that_left_is_hung_up_and_what_it_still_says_is_dropped() {
    let mut sessions = running();
    sessions.receive(output(1000)).unwrap();
    let credit = |bytes| send(ToGuest::Credit { process: PROCESS, stream: StdioStream::Stdout, bytes });

    assert_eq!(sessions.gone(CLIENT), [send(ToGuest::HangUp(SESSION)), credit(1000)]);

    assert_eq!(sessions.receive(output(500)).unwrap(), [credit(500)]);
    assert_eq!(sessions.receive(exited(AppExit::Signal(1))).unwrap(), []);
    assert_eq!(sessions.gone(CLIENT), []);
}

#[test]
fn command_that_a_pods_end_kills_ends_with_the_pod() {
    let mut killed = running();
    killed.pod_ends();
    let mut left = running();
    left.pod_ends();
    let mut unfinished = running();

    let killed = killed.receive(exited(AppExit::Signal(9))).unwrap();
    let left = left.receive(exited(AppExit::Code(4))).unwrap();

    assert_eq!(killed, [Effect::Reply(CLIENT, Reply::PodEnded)]);
    assert_eq!(left, [Effect::Reply(CLIENT, Reply::Exited(AppExit::Code(4)))]);
    assert_eq!(unfinished.pod_ended(), [Effect::Reply(CLIENT, Reply::PodEnded)]);
}

#[test]
fn stop_is_confirmed_and_then_done() {
    let effects = sessions().request(CLIENT, Request::Stop { force: true });

    assert_eq!(effects, [Effect::Reply(CLIENT, Reply::Stopping), Effect::Stop { force: true }]);
}
