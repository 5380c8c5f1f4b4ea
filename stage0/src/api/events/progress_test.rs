use std::time::{Duration, UNIX_EPOCH};

use super::progress::{AppPhase, Phase, Progress, Start};
use crate::api::wire::EventType::{self, *};

fn progress(phase: Phase, apps: &[(&str, AppPhase)]) -> Progress {
    Progress { phase, apps: apps.iter().map(|(name, app)| ((*name).to_owned(), *app)).collect() }
}

const STARTED: AppPhase = AppPhase::Started(Start(None));

fn exited(code: Option<i32>) -> AppPhase {
    AppPhase::Exited(Start(None), code)
}

fn kinds(now: &Progress, before: Option<&Progress>) -> Vec<EventType> {
    now.since(before).into_iter().map(|happening| happening.kind).collect()
}

#[test]
fn each_step_of_a_life_is_one_event() {
    let steps = [
        (progress(Phase::Preparing, &[]), vec![]),
        (progress(Phase::Prepared, &[]), vec![PodPrepared]),
        (progress(Phase::Running, &[("a", AppPhase::Waiting)]), vec![PodStarted]),
        (progress(Phase::Running, &[("a", STARTED)]), vec![AppStarted]),
        (progress(Phase::Running, &[("a", exited(Some(3)))]), vec![AppExited]),
        (progress(Phase::Exited, &[("a", exited(Some(3)))]), vec![PodExited]),
    ];

    let mut before: Option<Progress> = None;
    for (now, expected) in steps {
        assert_eq!(kinds(&now, before.as_ref()), expected, "{now:?}");
        assert_eq!(kinds(&now, Some(&now)), vec![], "nothing happens twice");
        before = Some(now);
    }
    let gone: Vec<_> = before.unwrap().until_gone().into_iter().map(|happening| happening.kind).collect();
    assert_eq!(gone, [PodGarbageCollected]);
}

#[test]
fn a_life_that_nobody_saw_is_told_in_full() {
    let exited = progress(Phase::Exited, &[("a", exited(None)), ("b", exited(Some(0)))]);

    let happenings = exited.since(None);

    let told: Vec<_> = happenings.iter().map(|h| (h.kind, h.app.as_deref(), h.exit_code)).collect();
    let expected = [
        (PodPrepared, None, None),
        (PodStarted, None, None),
        (AppStarted, Some("a"), None),
        (AppExited, Some("a"), None),
        (AppStarted, Some("b"), None),
        (AppExited, Some("b"), Some(0)),
        (PodExited, None, None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_pod_that_vanished_went_all_the_way() {
    let cases = [
        (progress(Phase::Preparing, &[]), vec![PodPrepareAborted, PodGarbageCollected]),
        (progress(Phase::Aborted, &[]), vec![PodGarbageCollected]),
        (progress(Phase::Prepared, &[]), vec![PodGarbageCollected]),
        (
            progress(Phase::Running, &[("a", STARTED), ("b", AppPhase::Waiting)]),
            vec![AppExited, PodExited, PodGarbageCollected],
        ),
        (progress(Phase::Discarded, &[]), vec![PodGarbageCollected]),
    ];

    for (last, expected) in cases {
        let told: Vec<_> = last.until_gone().into_iter().map(|happening| happening.kind).collect();
        assert_eq!(told, expected, "{last:?}");
    }
}

#[test]
fn an_app_that_is_started_again_or_taken_away_is_told_of() {
    let start = |second| Start(Some(UNIX_EPOCH + Duration::from_secs(second)));
    let app = |phase| progress(Phase::Running, &[("a", phase)]);
    let none = progress(Phase::Running, &[]);
    let cases = [
        (app(AppPhase::Exited(start(1), Some(0))), app(AppPhase::Started(start(2))), vec![AppStarted]),
        (app(AppPhase::Started(start(1))), app(AppPhase::Started(start(2))), vec![AppExited, AppStarted]),
        (
            app(AppPhase::Exited(start(1), Some(0))),
            app(AppPhase::Exited(start(2), Some(0))),
            vec![AppStarted, AppExited],
        ),
        (app(AppPhase::Started(start(1))), none.clone(), vec![AppExited]),
        (app(AppPhase::Exited(start(1), Some(0))), none.clone(), vec![]),
        (app(AppPhase::Waiting), none, vec![]),
    ];

    for (before, now, expected) in cases {
        assert_eq!(kinds(&now, Some(&before)), expected, "{before:?} {now:?}");
    }
}

#[test]
fn an_aborted_preparation_is_told_once() {
    let (preparing, aborted) = (progress(Phase::Preparing, &[]), progress(Phase::Aborted, &[]));
    let discarded = progress(Phase::Discarded, &[]);

    assert_eq!(kinds(&aborted, Some(&preparing)), [PodPrepareAborted]);
    assert_eq!(kinds(&discarded, Some(&preparing)), [PodPrepareAborted]);
    assert_eq!(kinds(&discarded, Some(&aborted)), []);
    assert_eq!(kinds(&discarded, Some(&progress(Phase::Prepared, &[]))), []);
}
