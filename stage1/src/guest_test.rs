use guest_api::*;

use super::exit::ExitCode;
use super::guest::*;

fn conversation() -> Conversation {
    Conversation::new([("web".to_owned(), 2), ("db".to_owned(), 0)])
}

fn spec() -> PodSpec {
    PodSpec {
        identity: Identity { uuid: String::new(), hostname: String::new(), realtime_ns: 0, entropy: [0; 32] },
        apps: vec![],
        stop_on_failure: true,
        stop_grace_ms: 0,
        metadata_service: false,
        mutable: false,
        network: NetworkSpec::default(),
    }
}

fn hello() -> ToHost {
    ToHost::Hello(Hello { protocol: PROTOCOL_VERSION, kernel_release: "6.12".into() })
}

fn send(message: ToGuest) -> Action {
    Action::Send(Box::new(message))
}

/// Feeds the messages and returns what the last one led to.
fn after(conversation: &mut Conversation, messages: Vec<ToHost>) -> Result<Vec<Action>, Violation> {
    messages.into_iter().map(|message| conversation.receive(message, spec)).last().unwrap()
}

fn started(app: u16) -> ToHost {
    ToHost::Started { app: AppId(app), pid: 10 + u32::from(app) }
}

fn closed() -> ToHost {
    ToHost::OutputClosed { process: Process::App(AppId(0)), stream: StdioStream::Stdout }
}

fn exited(app: u16, exit: AppExit) -> ToHost {
    ToHost::Exited { app: AppId(app), exit }
}

fn stdout(app: u16, bytes: usize) -> ToHost {
    ToHost::Output { process: Process::App(AppId(app)), stream: StdioStream::Stdout, data: vec![b'x'; bytes] }
}

#[test]
fn guest_that_calls_is_told_its_pod() {
    assert_eq!(after(&mut conversation(), vec![hello()]), Ok(vec![send(ToGuest::Configure(spec()))]));
}

#[test]
fn conversation_begins_with_the_guests_call() {
    let mut conversation = conversation();
    assert!(!conversation.has_begun());
    conversation.stop();
    assert!(!conversation.has_begun());

    conversation.receive(hello(), spec).unwrap();

    assert!(conversation.has_begun());
}

#[test]
fn guest_of_another_version_is_refused() {
    let hello = ToHost::Hello(Hello { protocol: PROTOCOL_VERSION + 1, kernel_release: String::new() });

    let result = after(&mut conversation(), vec![hello]);

    assert_eq!(result, Err(Violation::ProtocolVersion { guest: PROTOCOL_VERSION + 1 }));
}

#[test]
fn pod_is_ready_when_the_guest_says_so_and_only_once() {
    let mut conversation = conversation();

    let ready = after(&mut conversation, vec![hello(), started(0), started(1), ToHost::Ready]);

    assert_eq!(ready, Ok(vec![Action::PodReady]));
    assert!(conversation.receive(ToHost::Ready, spec).is_err());
}

#[test]
fn exit_is_recorded_with_its_status() {
    let actions =
        after(&mut conversation(), vec![hello(), started(0), exited(0, AppExit::Signal(9))]).unwrap();

    assert_eq!(actions.last(), Some(&Action::RecordStatus { app: AppId(0), status: 9 }));
}

#[test]
fn descendants_of_an_app_may_write_after_its_end() {
    let actions =
        after(&mut conversation(), vec![hello(), started(0), exited(0, AppExit::Code(0)), stdout(0, 1)])
            .unwrap();

    assert!(matches!(actions[..], [Action::Output { .. }]));
}

#[test]
fn exit_code_is_that_of_the_first_failing_app() {
    let mut conversation = conversation();

    let last = after(
        &mut conversation,
        vec![
            hello(),
            started(0),
            started(1),
            exited(1, AppExit::Code(42)),
            exited(0, AppExit::Signal(15)),
            ToHost::Halting,
        ],
    );

    assert_eq!(last, Ok(vec![Action::Finished]));
    assert!(conversation.is_finished());
    assert_eq!(conversation.exit_code(), ExitCode(42));
}

#[test]
fn app_that_cannot_start_fails_the_pod_and_stops_the_others() {
    let mut conversation = conversation();
    let failed = ToHost::StartFailed { app: AppId(0), reason: "unable to find \"x\"".into() };

    let actions = after(&mut conversation, vec![hello(), started(1), failed]).unwrap();

    assert_eq!(
        actions,
        [Action::StartFailed { app: AppId(0), reason: "unable to find \"x\"".into() }, send(ToGuest::Stop)]
    );
    assert_eq!(conversation.exit_code(), ExitCode::RKT_FAILED);
}

#[test]
fn guest_that_gives_up_ends_the_pod_with_its_reason() {
    let mut conversation = conversation();

    let actions = after(&mut conversation, vec![hello(), ToHost::Failed { reason: "mount".into() }]).unwrap();

    assert_eq!(actions, [Action::Complain("mount".into()), Action::Finished]);
    assert_eq!(conversation.exit_code(), ExitCode::RKT_FAILED);
}

#[test]
fn stop_is_sent_once() {
    let mut conversation = conversation();
    after(&mut conversation, vec![hello()]).unwrap();

    assert_eq!(conversation.stop(), [send(ToGuest::Stop)]);
    assert_eq!(conversation.stop(), []);
}

#[test]
fn stop_before_the_guest_calls_is_remembered() {
    let mut conversation = conversation();

    assert_eq!(conversation.stop(), []);
    let actions = after(&mut conversation, vec![hello()]).unwrap();

    assert_eq!(actions, [send(ToGuest::Configure(spec())), send(ToGuest::Stop)]);
}

#[test]
fn output_within_credit_is_passed_on() {
    let actions = after(&mut conversation(), vec![hello(), started(0), stdout(0, 3)]).unwrap();

    assert_eq!(
        actions,
        [Action::Output { app: AppId(0), stream: StdioStream::Stdout, data: b"xxx".to_vec() }]
    );
}

#[test]
fn output_beyond_credit_is_a_violation() {
    let mut conversation = conversation();
    after(&mut conversation, vec![hello(), started(0)]).unwrap();
    let pieces = INITIAL_CREDIT_BYTES as usize / MAX_OUTPUT_BYTES;

    for _ in 0..pieces {
        assert!(conversation.receive(stdout(0, MAX_OUTPUT_BYTES), spec).is_ok());
    }

    assert_eq!(conversation.receive(stdout(0, 1), spec), Err(Violation::BeyondCredit("app \"web\"".into())));
}

#[test]
fn written_bytes_are_granted_again_in_steps() {
    let mut conversation = conversation();
    after(&mut conversation, vec![hello(), started(0)]).unwrap();
    for _ in 0..INITIAL_CREDIT_BYTES as usize / MAX_OUTPUT_BYTES {
        conversation.receive(stdout(0, MAX_OUTPUT_BYTES), spec).unwrap();
    }
    let step = INITIAL_CREDIT_BYTES / 2;

    assert_eq!(conversation.written(AppId(0), StdioStream::Stdout, step - 1), []);
    let actions = conversation.written(AppId(0), StdioStream::Stdout, 8);

    let credit =
        ToGuest::Credit { process: Process::App(AppId(0)), stream: StdioStream::Stdout, bytes: step + 7 };
    assert_eq!(actions, [send(credit)]);
    for _ in 0..step as usize / MAX_OUTPUT_BYTES {
        assert!(conversation.receive(stdout(0, MAX_OUTPUT_BYTES), spec).is_ok());
    }
    assert!(conversation.receive(stdout(0, 7), spec).is_ok());
    assert!(conversation.receive(stdout(0, 1), spec).is_err());
}

#[test]
fn stream_that_was_closed_earns_nothing() {
    let mut conversation = conversation();
    after(&mut conversation, vec![hello(), started(0), stdout(0, 9), closed()]).unwrap();

    assert_eq!(conversation.written(AppId(0), StdioStream::Stdout, INITIAL_CREDIT_BYTES), []);
}

#[test]
fn message_larger_than_agreed_is_a_violation() {
    let result = after(&mut conversation(), vec![hello(), started(0), stdout(0, MAX_OUTPUT_BYTES + 1)]);

    assert_eq!(result, Err(Violation::BeyondCredit("app \"web\"".into())));
}

#[test]
fn nothing_may_come_out_of_order() {
    let cases = [
        vec![started(0)],
        vec![hello(), hello()],
        vec![hello(), exited(0, AppExit::Code(0))],
        vec![hello(), started(0), started(0)],
        vec![hello(), stdout(0, 1)],
        vec![hello(), ToHost::StartFailed { app: AppId(0), reason: String::new() }, stdout(0, 1)],
        vec![hello(), started(0), closed(), stdout(0, 1)],
        vec![hello(), started(0), closed(), closed()],
        vec![hello(), started(0), exited(0, AppExit::Code(0)), exited(0, AppExit::Code(0))],
        vec![hello(), ToHost::Halting, ToHost::Ready],
    ];
    for messages in cases {
        let text = format!("{messages:?}");
        assert!(matches!(after(&mut conversation(), messages), Err(Violation::OutOfOrder { .. })), "{text}");
    }
}

#[test]
fn app_the_pod_does_not_have_is_a_violation() {
    assert_eq!(after(&mut conversation(), vec![hello(), started(2)]), Err(Violation::UnknownApp(2)));
}

#[test]
fn pod_that_is_killed_while_it_runs_asks_the_guest_to_and_one_that_boots_asks_nobody() {
    let mut running = conversation();
    after(&mut running, vec![hello()]).unwrap();

    assert_eq!(running.kill(), (true, vec![send(ToGuest::Kill)]));
    assert_eq!(conversation().kill(), (false, vec![]));
}

#[test]
fn apps_that_ran_when_the_vm_was_killed_were_killed() {
    let mut conversation = conversation();
    after(&mut conversation, vec![hello(), started(0), started(1), exited(1, AppExit::Code(0))]).unwrap();

    assert_eq!(conversation.vm_was_killed(), [Action::RecordStatus { app: AppId(0), status: 9 }]);

    assert_eq!(conversation.exit_code(), ExitCode(9));
}

#[test]
fn what_is_said_of_commands_is_passed_on_once_the_guest_has_its_pod() {
    let message = || ToHost::SessionStarted { session: SessionId(3), pid: 8 };
    let mut conversation = conversation();

    assert!(matches!(conversation.receive(message(), spec), Err(Violation::OutOfOrder { .. })));
    assert_eq!(after(&mut conversation, vec![hello(), message()]), Ok(vec![Action::OfSession(message())]));
}

#[test]
fn guest_is_told_the_time_from_its_call_to_its_end() {
    let mut conversation = conversation();
    let before = conversation.compare_clocks(7);
    conversation.receive(hello(), spec).unwrap();
    let between = conversation.compare_clocks(8);
    conversation.receive(ToHost::Halting, spec).unwrap();
    let after = conversation.compare_clocks(9);

    assert_eq!(before, []);
    assert_eq!(between, [send(ToGuest::Clock { realtime_ns: 8 })]);
    assert_eq!(after, []);
}

fn handler_started(app: u16) -> ToHost {
    ToHost::HandlerStarted { app: AppId(app), handler: Handler::PreStart, pid: 5 }
}

#[test]
fn event_handler_may_write_before_its_app_is_started() {
    let mut conversation = conversation();

    let output = after(&mut conversation, vec![hello(), handler_started(0), stdout(0, 3)]);

    assert!(matches!(output.as_deref(), Ok([Action::Output { .. }])), "{output:?}");
    assert_eq!(
        after(&mut conversation, vec![started(0)]),
        Ok(vec![Action::AppStarted { app: AppId(0), pid: 10 }])
    );
}

#[test]
fn app_whose_event_handler_failed_ends_with_the_handlers_status() {
    let mut conversation = conversation();
    let end = HandlerEnd::Ended(AppExit::Code(3));
    let failed = ToHost::HandlerFailed { app: AppId(0), handler: Handler::PreStart, end };

    let said = after(&mut conversation, vec![hello(), handler_started(0), failed]);
    let ended = after(&mut conversation, vec![exited(0, AppExit::Code(3))]);

    let text = "event handler pre-start of app \"web\" exited with code 3".to_owned();
    assert_eq!(said, Ok(vec![Action::Complain(text)]));
    assert_eq!(ended, Ok(vec![Action::RecordStatus { app: AppId(0), status: 3 }]));
    assert_eq!(conversation.exit_code(), ExitCode(3));
}

#[test]
fn guest_cannot_speak_of_event_handlers_without_end() {
    let failed = |handler| {
        let end = HandlerEnd::NotRun("no".repeat(1024 * 1024));
        ToHost::HandlerFailed { app: AppId(0), handler, end }
    };
    let mut conversation = conversation();
    after(&mut conversation, vec![hello(), handler_started(0), handler_started(0)]).unwrap();
    let said = after(&mut conversation, vec![failed(Handler::PreStart)]).unwrap();
    after(&mut conversation, vec![failed(Handler::PostStop)]).unwrap();

    let Some(Action::Complain(text)) = said.first() else { panic!("{said:?}") };
    assert!(text.len() < 32 * 1024 && text.ends_with("..."), "{} bytes", text.len());
    for message in [handler_started(0), failed(Handler::PreStart), handler_started(1)] {
        let outcome = conversation.receive(message, spec);
        assert!(matches!(outcome, Err(Violation::OutOfOrder { .. })), "{outcome:?}");
    }
}

#[test]
fn reasons_of_the_guest_are_cut() {
    let failed = |app| ToHost::StartFailed { app: AppId(app), reason: "ä".repeat(1024 * 1024) };
    let last = ToHost::Failed { reason: "ä".repeat(1024 * 1024) };
    let mut conversation = conversation();

    let first = after(&mut conversation, vec![hello(), failed(0)]).unwrap();
    let last = after(&mut conversation, vec![last]).unwrap();

    let of = |actions: &[Action]| match actions.first() {
        Some(Action::StartFailed { reason, .. } | Action::Complain(reason)) => reason.len(),
        other => panic!("{other:?}"),
    };
    assert!(of(&first) < 32 * 1024 && of(&last) < 32 * 1024);
}

#[test]
fn app_that_cannot_be_started_after_its_event_handlers_has_no_open_streams() {
    let mut conversation = conversation();
    let failed = ToHost::StartFailed { app: AppId(0), reason: "no".into() };

    let actions = after(&mut conversation, vec![hello(), handler_started(0), failed]).unwrap();

    let closed = |action: &&Action| matches!(action, Action::OutputClosed { .. });
    assert_eq!(actions.iter().filter(closed).count(), 2, "{actions:?}");
    assert!(after(&mut conversation, vec![stdout(0, 1)]).is_err());
}

#[test]
fn event_handler_of_an_app_that_is_over_is_a_violation() {
    let messages = vec![hello(), started(0), exited(0, AppExit::Code(0)), handler_started(0)];

    assert!(matches!(after(&mut conversation(), messages), Err(Violation::OutOfOrder { .. })));
}

#[test]
fn death_of_an_app_is_told_in_words_unless_it_was_asked_for() {
    let killed = |conversation: &mut Conversation, app| {
        let actions = after(conversation, vec![exited(app, AppExit::Signal(15))]).unwrap();
        actions.iter().any(|action| matches!(action, Action::Complain(_)))
    };
    let mut conversation = conversation();
    after(&mut conversation, vec![hello(), started(0), started(1)]).unwrap();

    assert!(killed(&mut conversation, 0), "nobody asked for it");
    assert!(!killed(&mut conversation, 1), "the pod ends because the other one failed");
}

#[test]
fn app_that_ran_out_of_memory_is_reported_as_such() {
    let oom = ToHost::OutOfMemory { app: AppId(0) };

    let actions =
        after(&mut conversation(), vec![hello(), started(0), oom, exited(0, AppExit::Signal(9))]).unwrap();

    let text = "app \"web\" was killed by SIGKILL: it ran out of memory".to_owned();
    assert_eq!(actions[0], Action::Complain(text));
}

fn app_spec(id: u16) -> AppSpec {
    AppSpec { id: AppId(id), ..crate::plan_test::app_plan("added").spec }
}

/// A conversation with a guest that has its pod, to which an app was added.
fn mutable_with_app(id: u16) -> Conversation {
    let mut conversation = Conversation::mutable([]);
    let hello = Hello { protocol: PROTOCOL_VERSION, kernel_release: String::new() };
    conversation.receive(ToHost::Hello(hello), spec).unwrap();
    conversation.receive(ToHost::Ready, spec).unwrap();
    conversation.start_app(app_spec(id));
    conversation
}

#[test]
fn app_of_a_mutable_pod_decides_nothing_about_the_pod() {
    let mut conversation = mutable_with_app(4);
    let app = AppId(4);
    conversation.receive(ToHost::Started { app, pid: 9 }, spec).unwrap();

    let actions = conversation.receive(ToHost::Exited { app, exit: AppExit::Code(3) }, spec).unwrap();

    assert_eq!(actions, [Action::RecordStatus { app, status: 3 }]);
    assert!(conversation.is_running());
    assert_eq!(conversation.exit_code(), ExitCode::SUCCESS);
}

#[test]
fn app_that_nobody_started_or_gave_up_is_a_violation() {
    let stranger = ToHost::Started { app: AppId(5), pid: 9 };
    assert_eq!(mutable_with_app(4).receive(stranger, spec), Err(Violation::UnknownApp(5)));
    assert_eq!(mutable_with_app(4).receive(ToHost::Forgotten(AppId(5)), spec), Err(Violation::UnknownApp(5)));
    assert!(matches!(
        mutable_with_app(4).receive(ToHost::Forgotten(AppId(4)), spec),
        Err(Violation::OutOfOrder { message: "Forgotten", .. })
    ));
}

#[test]
fn nothing_is_said_of_an_app_that_was_forgotten() {
    let mut conversation = mutable_with_app(4);
    let app = AppId(4);
    conversation.receive(ToHost::StartFailed { app, reason: String::new() }, spec).unwrap();

    assert_eq!(conversation.forget_app(app), [Action::Send(Box::new(ToGuest::ForgetApp(app)))]);
    assert_eq!(conversation.forget_app(app), []);
    assert_eq!(conversation.receive(ToHost::Forgotten(app), spec).unwrap(), [Action::Forgotten(app)]);

    let late = ToHost::Exited { app, exit: AppExit::Code(0) };
    assert_eq!(conversation.receive(late, spec), Err(Violation::UnknownApp(4)));
}

#[test]
fn first_app_that_fails_decides_even_if_its_end_takes_longer_than_that_of_another() {
    let mut conversation = conversation();
    let failing = ToHost::Failing { app: AppId(0), exit: AppExit::Code(4) };
    let messages = vec![hello(), started(0), started(1), failing, exited(1, AppExit::Signal(15))];

    let actions = after(&mut conversation, messages).unwrap();

    assert_eq!(actions, [Action::RecordStatus { app: AppId(1), status: 15 }]);
    after(&mut conversation, vec![exited(0, AppExit::Code(4))]).unwrap();
    assert_eq!(conversation.exit_code(), ExitCode(4));
}

#[test]
fn app_that_says_it_fails_before_it_runs_is_a_violation() {
    let failing = ToHost::Failing { app: AppId(0), exit: AppExit::Code(4) };

    assert!(matches!(after(&mut conversation(), vec![hello(), failing]), Err(Violation::OutOfOrder { .. })));
}
