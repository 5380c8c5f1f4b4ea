use guest_api::{AppExit, AppId, MAX_SESSIONS, SessionId, SessionSpec, Stdio, ToHost};
use proptest::prelude::*;

use crate::session::{Action, Event, HANG_UP_GRACE, Refusal, Sessions};

const S: SessionId = SessionId(7);

fn spec(id: SessionId) -> SessionSpec {
    SessionSpec {
        id,
        app: AppId(0),
        command: vec!["/bin/true".to_owned()],
        environment: Vec::new(),
        stdio: Stdio::LOG,
    }
}

fn ended(code: u8) -> Event {
    Event::Ended { session: S, exit: AppExit::Code(code) }
}

fn started() -> Action {
    Action::Send(ToHost::SessionStarted { session: S, pid: 9 })
}

fn exited(code: u8) -> [Action; 3] {
    let exit = ToHost::SessionExited { session: S, exit: AppExit::Code(code) };
    [Action::Close(S), Action::Forget(S), Action::Send(exit)]
}

/// With one command, which has come as far as the events say.
fn after(events: impl IntoIterator<Item = Event>) -> Sessions {
    let mut sessions = Sessions::default();
    sessions.admit(&spec(S)).unwrap();
    for event in events {
        sessions.on(event);
    }
    sessions
}

fn executed() -> Event {
    Event::Executed { session: S, pid: 9 }
}

#[test]
fn command_starts_runs_and_ends_in_order() {
    let mut sessions = after([]);

    assert_eq!(sessions.on(executed()), [started()]);
    assert_eq!(sessions.on(ended(3)), [Action::Drain(S)]);
    assert_eq!(sessions.on(Event::Drained(S)), exited(3));
}

#[test]
fn command_that_cannot_start_is_told_and_forgotten() {
    let mut sessions = after([]);
    let reason = "no such file".to_owned();

    let told = Action::Send(ToHost::SessionFailed { session: S, reason: reason.clone() });
    assert_eq!(sessions.on(Event::StartFailed { session: S, reason }), [Action::Forget(S), told]);
    assert_eq!(sessions.on(ended(0)), []);
    assert_eq!(sessions.admit(&spec(S)), Ok(()));
}

#[test]
fn command_that_nobody_waits_for_is_hung_up_and_killed_if_that_does_not_help() {
    let mut sessions = after([executed()]);

    let hang_up = [Action::HangUp(S), Action::SetDeadline(S, HANG_UP_GRACE)];
    assert_eq!(sessions.on(Event::HungUp(S)), hang_up);
    assert_eq!(sessions.on(Event::HungUp(S)), []);
    assert_eq!(sessions.on(Event::DeadlinePassed(S)), [Action::Kill(S)]);
    assert_eq!(sessions.on(ended(0)), [Action::Kill(S), Action::Drain(S)]);
    assert_eq!(sessions.on(Event::Drained(S)), exited(0));
}

#[test]
fn hang_up_before_the_start_waits_for_it() {
    let mut sessions = after([]);

    assert_eq!(sessions.on(Event::HungUp(S)), []);
    let expected = [started(), Action::HangUp(S), Action::SetDeadline(S, HANG_UP_GRACE)];
    assert_eq!(sessions.on(executed()), expected);
}

#[test]
fn output_of_an_ended_command_that_nobody_takes_does_not_keep_it() {
    let mut sessions = after([executed(), ended(0)]);

    assert_eq!(sessions.on(Event::HungUp(S)), [Action::Close(S)]);
    assert_eq!(sessions.on(Event::Drained(S)), exited(0));
}

#[test]
fn number_in_use_an_empty_command_and_one_too_many_are_refused() {
    let mut sessions = Sessions::default();
    for id in 1..=u32::try_from(MAX_SESSIONS).unwrap() {
        sessions.admit(&spec(SessionId(id))).unwrap();
    }

    assert_eq!(sessions.admit(&spec(SessionId(1))), Err(Refusal::InUse(1)));
    assert_eq!(sessions.admit(&spec(SessionId(0))), Err(Refusal::TooMany));
    let empty = SessionSpec { command: vec![String::new()], ..spec(SessionId(0)) };
    assert_eq!(sessions.admit(&empty), Err(Refusal::NoCommand));
    assert_eq!(Refusal::TooMany.to_string(), "64 commands run in the pod already, which is the limit");
}

#[test]
fn command_that_ends_makes_room_for_another() {
    let mut sessions = after([executed(), ended(0), Event::Drained(S)]);

    for id in 0..u32::try_from(MAX_SESSIONS).unwrap() {
        assert_eq!(sessions.admit(&spec(SessionId(id))), Ok(()));
    }
}

#[test]
fn nothing_is_started_in_a_pod_that_is_being_killed() {
    let mut sessions = Sessions::default();

    sessions.close();

    assert_eq!(sessions.admit(&spec(S)), Err(Refusal::PodEnding));
}

fn any_event() -> impl Strategy<Value = Event> {
    let session = (0_u32..3).prop_map(SessionId);
    (session, 0..6).prop_map(|(session, kind)| match kind {
        0 => Event::Executed { session, pid: 1 },
        1 => Event::StartFailed { session, reason: String::new() },
        2 => Event::Ended { session, exit: AppExit::Code(0) },
        3 => Event::Drained(session),
        4 => Event::HungUp(session),
        _ => Event::DeadlinePassed(session),
    })
}

proptest! {
    #[test]
    fn whatever_happens_every_command_is_told_of_in_order_and_ends_once(
        events in proptest::collection::vec(any_event(), 0..60),
    ) {
        let mut sessions = Sessions::default();
        let ids = [0, 1, 2].map(SessionId);
        for id in ids {
            sessions.admit(&spec(id)).unwrap();
        }

        let sent: Vec<ToHost> = events
            .into_iter()
            .flat_map(|event| sessions.on(event))
            .filter_map(|action| if let Action::Send(message) = action { Some(message) } else { None })
            .collect();

        for id in ids {
            let story: Vec<&str> = sent
                .iter()
                .filter_map(|message| match message {
                    ToHost::SessionStarted { session, .. } if *session == id => Some("started"),
                    ToHost::SessionFailed { session, .. } if *session == id => Some("failed"),
                    ToHost::SessionExited { session, .. } if *session == id => Some("exited"),
                    _ => None,
                })
                .collect();
            let whole = ["", "failed", "started", "started exited"];
            prop_assert!(whole.contains(&story.join(" ").as_str()), "{:?}", story);
        }
    }
}
