use std::time::Duration;

use guest_api::{AppExit, AppId, Handler, HandlerEnd, Lifecycle, ToHost};
use proptest::prelude::*;

use crate::pod::{Action, Event, KILL_WAIT, Pod, Refusal, Step, Whom};

const A: AppId = AppId(1);
const B: AppId = AppId(2);
const GRACE: Duration = Duration::from_secs(90);

static PLAIN: Lifecycle = Lifecycle { pre_start: vec![], post_stop: vec![], says_when_ready: false };

fn pod(apps: &[AppId]) -> Pod {
    Pod::new(apps.iter().map(|app| (*app, &PLAIN)), true, GRACE)
}

fn executed(app: AppId) -> Event {
    Event::Executed { app, pid: 10 + u32::from(app.0) }
}

fn ended(app: AppId, code: u8) -> Event {
    Event::Ended { app, exit: AppExit::Code(code) }
}

fn started(app: AppId) -> Action {
    Action::Send(ToHost::Started { app, pid: 10 + u32::from(app.0) })
}

fn exited(app: AppId, code: u8) -> Action {
    Action::Send(ToHost::Exited { app, exit: AppExit::Code(code) })
}

/// A pod whose apps all run.
fn running(apps: &[AppId]) -> Pod {
    let mut pod = pod(apps);
    for app in apps {
        pod.on(executed(*app));
    }
    pod
}

/// What follows the end of an app's main process.
fn leaves(app: AppId) -> [Action; 3] {
    [Action::Terminate(app, Whom::Own), Action::SetAppDeadline(app, GRACE), Action::Watch(app, Whom::Own)]
}

/// The same for one that failed.
fn fails(app: AppId, code: u8) -> Vec<Action> {
    let failing = Action::Send(ToHost::Failing { app, exit: AppExit::Code(code) });
    [&[failing][..], &leaves(app)].concat()
}

/// What follows the end of its last process.
fn drains(app: AppId) -> [Action; 2] {
    [Action::ClearAppDeadline(app), Action::Drain(app)]
}

fn sweep() -> [Action; 2] {
    [Action::KillEverything, Action::SetDeadline(KILL_WAIT)]
}

#[test]
fn ready_follows_the_start_of_the_last_app() {
    let mut pod = pod(&[A, B]);

    assert_eq!(pod.on(executed(B)), [started(B)]);
    assert_eq!(pod.on(executed(A)), [started(A), Action::Send(ToHost::Ready)]);
}

#[test]
fn pod_of_one_app_ends_in_order() {
    let mut pod = running(&[A]);

    assert_eq!(pod.on(ended(A, 0)), leaves(A));
    assert_eq!(pod.on(Event::Emptied(A)), [&drains(A)[..], &sweep()].concat());
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 0)]);
    assert_eq!(pod.on(Event::NoProcessLeft), [Action::ClearDeadline, Action::DrainEverything]);
    assert_eq!(pod.on(Event::StreamsClosed), [Action::Halt]);
}

#[test]
fn app_that_succeeds_leaves_the_others_running() {
    let mut pod = running(&[A, B]);

    assert_eq!(pod.on(ended(A, 0)), leaves(A));
    assert_eq!(pod.on(Event::Emptied(A)), drains(A));
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 0)]);
}

#[test]
fn app_that_fails_stops_the_others() {
    let mut pod = running(&[A, B]);

    let actions = pod.on(ended(A, 42));

    let stops =
        [Action::Terminate(B, Whom::All), Action::Terminate(A, Whom::All), Action::SetDeadline(GRACE)];
    assert_eq!(actions, [&fails(A, 42)[..], &stops].concat());
}

#[test]
fn app_killed_by_a_signal_has_failed() {
    let mut pod = running(&[A, B]);

    let actions = pod.on(Event::Ended { app: A, exit: AppExit::Signal(9) });

    assert!(actions.contains(&Action::Terminate(B, Whom::All)));
}

#[test]
fn failing_app_of_a_pod_that_tolerates_it_stops_nobody() {
    let mut pod = Pod::new([(A, &PLAIN), (B, &PLAIN)], false, GRACE);
    pod.on(executed(A));
    pod.on(executed(B));

    assert_eq!(pod.on(ended(A, 1)), fails(A, 1));
}

#[test]
fn app_that_cannot_start_fails_the_pod_without_ready() {
    let mut pod = pod(&[A, B]);
    pod.on(executed(B));

    let actions = pod.on(Event::StartFailed { app: A, reason: "gone".to_owned() });

    assert_eq!(
        actions,
        [
            Action::Send(ToHost::StartFailed { app: A, reason: "gone".to_owned() }),
            Action::Terminate(B, Whom::All),
            Action::SetDeadline(GRACE)
        ]
    );
}

#[test]
fn pod_whose_only_app_cannot_start_halts() {
    let mut pod = pod(&[A]);

    let actions = pod.on(Event::StartFailed { app: A, reason: "gone".to_owned() });

    assert!(actions.ends_with(&sweep()), "{actions:?}");
    pod.on(Event::NoProcessLeft);
    assert_eq!(pod.on(Event::StreamsClosed), [Action::Halt]);
}

#[test]
fn stop_terminates_apps_that_run_and_apps_that_still_start_in_reverse_order() {
    let mut pod = pod(&[A, B]);
    pod.on(executed(A));

    let actions = pod.on(Event::StopRequested);

    let reversed = [Action::Terminate(B, Whom::All), Action::Terminate(A, Whom::All)];
    assert_eq!(actions, [&reversed[..], &[Action::SetDeadline(GRACE)]].concat());
}

#[test]
fn second_stop_changes_nothing() {
    let mut pod = running(&[A]);
    pod.on(Event::StopRequested);

    assert_eq!(pod.on(Event::StopRequested), []);
}

#[test]
fn app_that_outlives_the_grace_period_is_killed() {
    let mut pod = running(&[A]);
    pod.on(Event::StopRequested);

    assert_eq!(pod.on(Event::DeadlinePassed), sweep());
    let killed = Event::Ended { app: A, exit: AppExit::Signal(9) };
    assert_eq!(pod.on(killed), [Action::Drain(A)]);
}

#[test]
fn app_that_hangs_in_the_kernel_does_not_hold_up_the_end() {
    let mut pod = running(&[A]);
    pod.on(Event::StopRequested);
    pod.on(Event::DeadlinePassed);

    let actions = pod.on(Event::DeadlinePassed);

    assert_eq!(actions, [Action::Drain(A), Action::ClearDeadline, Action::DrainEverything]);
    pod.on(Event::Drained(A));
    assert_eq!(pod.on(Event::StreamsClosed), [Action::Halt]);
}

#[test]
fn halt_waits_for_the_last_output_of_every_app() {
    let mut pod = running(&[A]);
    pod.on(ended(A, 0));
    pod.on(Event::Emptied(A));
    pod.on(Event::NoProcessLeft);

    assert_eq!(pod.on(Event::StreamsClosed), []);
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 0), Action::Halt]);
}

#[test]
fn lost_host_ends_the_pod_at_once_and_for_good() {
    let mut pod = running(&[A]);

    assert_eq!(pod.on(Event::ControlLost), [Action::Abandon]);
    assert_eq!(pod.on(ended(A, 1)), []);
}

#[test]
fn pod_without_apps_is_ready_and_over() {
    let mut pod = pod(&[]);

    let mut expected = vec![Action::Send(ToHost::Ready)];
    expected.extend(sweep());
    assert_eq!(pod.on(Event::NoProcessLeft), expected);
}

#[test]
fn events_about_unknown_apps_are_ignored() {
    let mut pod = running(&[A]);

    assert_eq!(pod.on(executed(B)), []);
    assert_eq!(pod.on(ended(B, 1)), []);
    assert_eq!(pod.on(Event::Drained(B)), []);
}

/// What the supervisor would do with each action, reduced to the events it leads to; `fates` decides how apps behave.
fn simulate(apps: u16, fates: &[u8], stop_after: usize) -> Vec<ToHost> {
    let ids: Vec<AppId> = (0..apps).map(AppId).collect();
    let fate = |app: AppId| fates.get(usize::from(app.0)).copied().unwrap_or(0);
    let mut pod = pod(&ids);
    let mut sent = Vec::new();
    let mut alive = ids.clone();
    let mut events: Vec<Event> = ids
        .iter()
        .map(|app| match fate(*app) {
            255 => Event::StartFailed { app: *app, reason: String::new() },
            _ => executed(*app),
        })
        .collect();
    events.extend(ids.iter().filter(|app| fate(**app) < 128).map(|app| ended(*app, fate(*app))));
    events.insert(stop_after.min(events.len()), Event::StopRequested);
    let mut queue = std::collections::VecDeque::from(events);
    while let Some(event) = queue.pop_front() {
        if let Event::Ended { app, .. } | Event::StartFailed { app, .. } = &event {
            alive.retain(|other| other != app);
        }
        for action in pod.on(event) {
            match action {
                Action::Send(message) => sent.push(message),
                Action::Terminate(app, _) if fate(app) % 2 == 0 => queue.push_back(ended(app, 15)),
                Action::Watch(app, _) => queue.push_back(Event::Emptied(app)),
                Action::Drain(app) => queue.push_back(Event::Drained(app)),
                Action::KillEverything => {
                    for app in std::mem::take(&mut alive) {
                        queue.push_back(Event::Ended { app, exit: AppExit::Signal(9) });
                    }
                    queue.push_back(Event::NoProcessLeft);
                }
                Action::DrainEverything => queue.push_back(Event::StreamsClosed),
                Action::SetDeadline(GRACE) => queue.push_back(Event::DeadlinePassed),
                Action::Halt => sent.push(ToHost::Halting),
                _ => {}
            }
        }
    }
    sent
}

proptest! {
    #[test]
    fn every_pod_halts_and_tells_every_apps_fate_exactly_once(
        fates in proptest::collection::vec(any::<u8>(), 1..6),
        stop_after in 0_usize..12,
    ) {
        let apps = u16::try_from(fates.len()).unwrap();

        let sent = simulate(apps, &fates, stop_after);

        prop_assert_eq!(sent.last(), Some(&ToHost::Halting));
        for id in (0..apps).map(AppId) {
            let starts = sent.iter().filter(|m| matches!(m, ToHost::Started { app, .. } if *app == id)).count();
            let ends = sent.iter().filter(|m| matches!(m, ToHost::Exited { app, .. } if *app == id)).count();
            let failures = sent.iter().filter(|m| matches!(m, ToHost::StartFailed { app, .. } if *app == id));
            prop_assert_eq!(starts, ends);
            prop_assert_eq!(starts + failures.count(), 1);
        }
        let readies = sent.iter().filter(|m| matches!(m, ToHost::Ready)).count();
        prop_assert_eq!(readies, usize::from(!fates.contains(&255)));
    }
}

/// A mutable pod with one app that was added and runs.
fn mutable_with(app: AppId) -> Pod {
    let mut pod = Pod::mutable([], GRACE);
    assert_eq!(pod.on(Event::NoProcessLeft), [Action::Send(ToHost::Ready)]);
    pod.admit(app, &PLAIN).unwrap();
    assert_eq!(pod.on(executed(app)), [started(app)]);
    pod
}

#[test]
fn mutable_pod_goes_on_when_its_last_app_fails() {
    let mut pod = mutable_with(A);

    assert_eq!(pod.on(ended(A, 3)), fails(A, 3));
    assert_eq!(pod.on(Event::Emptied(A)), drains(A));
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 3)]);
    assert_eq!(pod.on(Event::NoProcessLeft), []);
    assert_eq!(pod.on(Event::StopRequested), [&[Action::SetDeadline(GRACE)][..], &sweep()].concat());
}

#[test]
fn mutable_pod_goes_on_when_an_app_cannot_be_started() {
    let mut pod = mutable_with(A);
    pod.admit(B, &PLAIN).unwrap();

    let failed = pod.on(Event::StartFailed { app: B, reason: "no".to_owned() });

    assert_eq!(failed, [Action::Send(ToHost::StartFailed { app: B, reason: "no".to_owned() })]);
}

#[test]
fn stopped_app_has_ended_when_the_last_of_its_processes_has() {
    let mut pod = mutable_with(A);

    assert_eq!(
        pod.on(Event::AppStopRequested(A)),
        [Action::Terminate(A, Whom::All), Action::SetAppDeadline(A, GRACE)]
    );
    assert_eq!(pod.on(Event::AppStopRequested(A)), []);
    assert_eq!(pod.on(ended(A, 0)), [Action::Watch(A, Whom::Own)]);
    assert_eq!(pod.on(Event::Emptied(A)), [Action::ClearAppDeadline(A), Action::Drain(A)]);
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 0)]);
}

#[test]
fn app_that_ignores_the_request_to_stop_is_killed_alone() {
    let mut pod = mutable_with(A);
    pod.admit(B, &PLAIN).unwrap();
    pod.on(executed(B));
    pod.on(Event::AppStopRequested(A));

    let killed = pod.on(Event::AppDeadlinePassed(A));

    assert_eq!(killed, [Action::KillApp(A, Whom::All), Action::SetAppDeadline(A, KILL_WAIT)]);
    assert_eq!(pod.on(ended(B, 0)), leaves(B));
}

#[test]
fn stopped_app_whose_last_process_hangs_is_over_after_a_while() {
    let mut pod = mutable_with(A);
    pod.on(Event::AppStopRequested(A));
    pod.on(ended(A, 0));
    pod.on(Event::AppDeadlinePassed(A));

    assert_eq!(pod.on(Event::AppDeadlinePassed(A)), [Action::ClearAppDeadline(A), Action::Drain(A)]);
}

#[test]
fn forgotten_app_is_released_when_nothing_of_it_runs_and_its_number_is_free() {
    let mut pod = mutable_with(A);
    pod.on(ended(A, 0));
    pod.on(Event::Emptied(A));
    assert!(pod.needs(A));
    pod.on(Event::Drained(A));
    assert!(!pod.needs(A));

    let forgetting = pod.on(Event::ForgetRequested(A));

    assert_eq!(
        forgetting,
        [Action::KillApp(A, Whom::All), Action::SetAppDeadline(A, KILL_WAIT), Action::Watch(A, Whom::All)]
    );
    assert_eq!(pod.admit(A, &PLAIN), Err(Refusal::InUse(A.0)));
    assert_eq!(pod.on(Event::Emptied(A)), [Action::Release(A), Action::Send(ToHost::Forgotten(A))]);
    assert_eq!(pod.admit(A, &PLAIN), Ok(Some(Step::Main)));
}

#[test]
fn stop_of_a_mutable_pod_ends_apps_that_are_leaving_too() {
    let mut pod = mutable_with(A);
    pod.on(Event::AppStopRequested(A));
    pod.on(ended(A, 4));

    assert_eq!(pod.on(Event::StopRequested), [Action::Terminate(A, Whom::All), Action::SetDeadline(GRACE)]);
    assert_eq!(pod.admit(B, &PLAIN), Err(Refusal::PodEnding));
    assert_eq!(pod.on(Event::DeadlinePassed), sweep());
    let drain =
        [Action::ClearAppDeadline(A), Action::Drain(A), Action::ClearDeadline, Action::DrainEverything];
    assert_eq!(pod.on(Event::NoProcessLeft), drain);
    assert_eq!(pod.on(Event::StreamsClosed), []);
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 4), Action::Halt]);
}

#[test]
fn immutable_pod_admits_no_app() {
    assert_eq!(running(&[A]).admit(B, &PLAIN), Err(Refusal::Immutable));
}

/// A pod with one app that has two event handlers for each occasion.
fn handled() -> Pod {
    let twice = || vec![vec!["/handler".to_owned()]; 2];
    let lifecycle = Lifecycle { pre_start: twice(), post_stop: twice(), says_when_ready: false };
    Pod::new([(A, &lifecycle)], true, GRACE)
}

fn start(handler: Handler, number: usize) -> Action {
    Action::Start(A, Step::Handler(handler, number))
}

fn runs(handler: Handler) -> Action {
    Action::Send(ToHost::HandlerStarted { app: A, handler, pid: 11 })
}

fn failed(handler: Handler, end: HandlerEnd) -> Action {
    Action::Send(ToHost::HandlerFailed { app: A, handler, end })
}

#[test]
fn apps_begin_in_the_order_of_the_manifest() {
    assert_eq!(pod(&[A, B]).begin(), [Action::Start(A, Step::Main), Action::Start(B, Step::Main)]);
}

#[test]
fn event_handlers_run_one_after_the_other_around_their_app() {
    let mut pod = handled();

    assert_eq!(pod.begin(), [start(Handler::PreStart, 0)]);
    assert_eq!(pod.on(executed(A)), [runs(Handler::PreStart)]);
    assert_eq!(pod.on(ended(A, 0)), [start(Handler::PreStart, 1)]);
    assert_eq!(pod.on(executed(A)), [runs(Handler::PreStart)]);
    assert_eq!(pod.on(ended(A, 0)), [Action::Start(A, Step::Main)]);
    assert_eq!(pod.on(executed(A)), [started(A), Action::Send(ToHost::Ready)]);
    assert_eq!(pod.on(ended(A, 0)), leaves(A));
    let finishing = [Action::ClearAppDeadline(A), start(Handler::PostStop, 0)];
    assert_eq!(pod.on(Event::Emptied(A)), [&finishing[..], &[Action::SetAppDeadline(A, GRACE)]].concat());
    assert_eq!(pod.on(executed(A)), [runs(Handler::PostStop)]);
    assert_eq!(pod.on(ended(A, 0)), [start(Handler::PostStop, 1)]);
    pod.on(executed(A));
    assert_eq!(pod.on(ended(A, 0)), [&drains(A)[..], &sweep()].concat());
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 0)]);
}

#[test]
fn failing_handler_before_the_app_fails_the_app_and_those_after_it_still_run() {
    let mut pod = handled();
    pod.on(executed(A));

    let actions = pod.on(ended(A, 3));

    let told = failed(Handler::PreStart, HandlerEnd::Ended(AppExit::Code(3)));
    let stop = [Action::Terminate(A, Whom::All), Action::SetDeadline(GRACE)];
    assert_eq!(actions, [&[told][..], &fails(A, 3), &stop].concat());
    assert!(pod.on(Event::Emptied(A)).contains(&start(Handler::PostStop, 0)));
    pod.on(executed(A));
    pod.on(ended(A, 0));
    pod.on(ended(A, 0));
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 3)]);
}

#[test]
fn failing_handler_after_the_app_is_told_and_changes_nothing() {
    let mut pod = handled();
    (0..3).for_each(|_| drop((pod.on(executed(A)), pod.on(ended(A, 0)))));
    pod.on(Event::Emptied(A));
    pod.on(executed(A));

    let actions = pod.on(ended(A, 7));

    assert_eq!(actions[0], failed(Handler::PostStop, HandlerEnd::Ended(AppExit::Code(7))));
    assert!(actions.contains(&Action::Drain(A)), "the second one does not run: {actions:?}");
    assert_eq!(pod.on(Event::Drained(A)), [exited(A, 0)]);
}

#[test]
fn app_that_cannot_be_executed_after_its_handlers_is_cleaned_up_after() {
    let mut pod = handled();
    (0..2).for_each(|_| drop((pod.on(executed(A)), pod.on(ended(A, 0)))));

    let actions = pod.on(Event::StartFailed { app: A, reason: "gone".to_owned() });

    assert_eq!(actions[..3], leaves(A));
    assert!(pod.on(Event::Emptied(A)).contains(&start(Handler::PostStop, 0)));
    pod.on(executed(A));
    pod.on(ended(A, 0));
    pod.on(ended(A, 0));
    let told = Action::Send(ToHost::StartFailed { app: A, reason: "gone".to_owned() });
    assert_eq!(pod.on(Event::Drained(A)), [told]);
}

#[test]
fn handler_that_cannot_be_executed_fails_the_pod_in_its_own_name() {
    let mut pod = handled();

    let actions = pod.on(Event::StartFailed { app: A, reason: "gone".to_owned() });

    let reason = "event handler pre-start: gone".to_owned();
    assert_eq!(actions[0], Action::Send(ToHost::StartFailed { app: A, reason }));
}

#[test]
fn stop_while_a_handler_prepares_the_app_ends_it_unstarted() {
    let mut pod = handled();
    pod.on(executed(A));
    assert_eq!(pod.on(Event::StopRequested), [Action::Terminate(A, Whom::All), Action::SetDeadline(GRACE)]);

    let actions = pod.on(Event::Ended { app: A, exit: AppExit::Signal(15) });

    assert_eq!(actions, [Action::Watch(A, Whom::Own)]);
}

#[test]
fn app_killed_at_the_end_of_the_grace_period_is_cleaned_up_after() {
    let mut pod = handled();
    (0..2).for_each(|_| drop((pod.on(executed(A)), pod.on(ended(A, 0)))));
    pod.on(executed(A));
    pod.on(Event::StopRequested);

    let actions = pod.on(Event::DeadlinePassed);

    assert_eq!(actions[..2], [Action::KillApp(A, Whom::All), Action::SetAppDeadline(A, KILL_WAIT)]);
    pod.on(Event::Ended { app: A, exit: AppExit::Signal(9) });
    assert!(pod.on(Event::Emptied(A)).contains(&start(Handler::PostStop, 0)));
    assert_eq!(pod.on(Event::DeadlinePassed), sweep(), "they have a grace period, too");
}

#[test]
fn handlers_that_outlive_the_grace_period_are_killed_and_told_of() {
    let mut pod = handled();
    (0..3).for_each(|_| drop((pod.on(executed(A)), pod.on(ended(A, 0)))));
    pod.on(Event::Emptied(A));
    pod.on(executed(A));

    let actions = pod.on(Event::AppDeadlinePassed(A));

    assert_eq!(actions, [Action::KillApp(A, Whom::Own), Action::SetAppDeadline(A, KILL_WAIT)]);
    let actions = pod.on(Event::Ended { app: A, exit: AppExit::Signal(9) });
    assert_eq!(actions[0], failed(Handler::PostStop, HandlerEnd::TimedOut));
}

#[test]
fn kill_runs_no_handlers() {
    let mut pod = handled();
    (0..2).for_each(|_| drop((pod.on(executed(A)), pod.on(ended(A, 0)))));
    pod.on(executed(A));
    pod.on(Event::KillRequested);

    assert_eq!(pod.on(Event::Ended { app: A, exit: AppExit::Signal(9) }), [Action::Drain(A)]);
}

#[test]
fn processes_that_an_app_leaves_behind_are_killed_when_the_grace_period_is_over() {
    let mut pod = running(&[A, B]);
    pod.on(ended(A, 0));

    assert_eq!(
        pod.on(Event::AppDeadlinePassed(A)),
        [Action::KillApp(A, Whom::Own), Action::SetAppDeadline(A, KILL_WAIT)]
    );
    assert_eq!(pod.on(Event::Emptied(A)), drains(A));
}

#[test]
fn pod_is_ready_when_the_apps_that_say_so_have_said_so() {
    let says = Lifecycle { says_when_ready: true, ..Lifecycle::default() };
    let mut pod = Pod::new([(A, &says), (B, &PLAIN)], true, GRACE);
    pod.on(executed(A));

    assert_eq!(pod.on(executed(B)), [started(B)]);
    assert_eq!(pod.on(Event::SaysReady(A)), [Action::Send(ToHost::Ready)]);
    assert_eq!(pod.on(Event::SaysReady(A)), []);
}

#[test]
fn app_that_ends_well_without_saying_that_it_is_ready_keeps_nobody_waiting() {
    let says = Lifecycle { says_when_ready: true, ..Lifecycle::default() };
    let mut pod = Pod::new([(A, &says), (B, &PLAIN)], true, GRACE);
    pod.on(executed(A));
    pod.on(executed(B));

    assert!(pod.on(ended(A, 0)).contains(&Action::Send(ToHost::Ready)));
}
