//! `rkt api-service`: what it tells of what happens.

use std::time::{SystemTime, UNIX_EPOCH};

use rkt_tests::rkt::TestRkt;
use tonic::{Code, Status};

use crate::api_client::wire::{
    AppState, Event, EventFilter, EventType, InspectPodRequest, ListenEventsRequest,
};
use crate::api_client::{Api, pair};
use crate::publisher::{self, rkt_with_image, run_arguments};
use crate::{app_commands, held_pod};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(since.as_secs()).expect("it is not much later")
}

/// Listens while `act` makes things happen, until `enough` has been told.
fn listen(
    api: &Api,
    filter: EventFilter,
    act: impl FnOnce(),
    enough: impl Fn(&[Event]) -> bool,
) -> Result<Vec<Event>, Status> {
    let mut client = api.client();
    let request = ListenEventsRequest { filter: Some(filter) };
    let mut stream = api.wait(client.listen_events(request))?.into_inner();
    act();
    api.wait(async {
        let mut events = Vec::new();
        while !enough(&events) {
            let Some(message) = stream.message().await? else { break };
            events.extend(message.events);
        }
        Ok(events)
    })
}

fn kinds(events: &[Event]) -> Vec<EventType> {
    events.iter().map(Event::r#type).collect()
}

#[test]
fn the_life_of_a_pod_is_told_in_order() {
    let mut rkt = rkt_with_image();
    rkt.set_env("STUB_APP_CODE", "3");
    let api = Api::start(&rkt);
    let start = now();

    let act = || {
        rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(3);
        rkt.run(["gc", "--mark-only"]).expect_code(0);
        rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    };
    let is_collected = |event: &Event| event.r#type() == EventType::PodGarbageCollected;
    let uuid = || rkt.uuid("uuid");
    let events = listen(&api, EventFilter::default(), act, |events| events.iter().any(is_collected));

    let events = events.expect("events");
    let pod: Vec<Event> = events.iter().filter(|event| event.id == uuid()).cloned().collect();
    assert_eq!(
        kinds(&pod),
        [
            EventType::PodPrepared,
            EventType::PodStarted,
            EventType::AppStarted,
            EventType::AppExited,
            EventType::PodExited,
            EventType::PodGarbageCollected,
        ],
        "{events:?}"
    );
    let from: Vec<&str> = pod.iter().map(|event| event.from.as_str()).collect();
    let uuid = uuid();
    assert_eq!(from, [&uuid, &uuid, "app", "app", &uuid, &uuid].map(|name: &str| name));
    assert_eq!(pod[3].data, [pair("exit_code", "3")]);
    assert!(pod.iter().all(|event| (start..=now()).contains(&event.time)), "{pod:?}");
    let images: Vec<&str> = events
        .iter()
        .filter(|event| event.r#type() == EventType::ImageImported)
        .map(|event| event.from.as_str())
        .collect();
    assert!(images.contains(&publisher::NAME), "{events:?}");
}

#[test]
fn apps_of_a_sandbox_start_and_exit_one_by_one_and_again() {
    let rkt = held_pod::rkt();
    let pod = app_commands::sandbox(&rkt, &[]);
    let api = Api::start(&rkt);
    let app = |command: &str| drop(rkt.run(["app", command, &pod.uuid, "--app=app"]).expect_code(0));
    rkt.run(["app", "add", &pod.uuid, publisher::NAME]).expect_code(0);
    let state = || {
        let request = InspectPodRequest { id: pod.uuid.clone() };
        let mut client = api.client();
        let answer = api.wait(client.inspect_pod(request)).expect("an answer").into_inner();
        answer.pod.expect("a pod").apps.first().map(|app| app.state())
    };
    let hears = |act: &dyn Fn(), kind: EventType| {
        let events = listen(&api, EventFilter::default(), act, |events| !events.is_empty()).expect("events");
        assert_eq!(kinds(&events), [kind]);
        assert_eq!((events[0].from.as_str(), &events[0].id), ("app", &pod.uuid));
    };
    assert_eq!(state(), Some(AppState::Undefined));

    for _ in 0..2 {
        hears(&|| app("start"), EventType::AppStarted);
        assert_eq!(state(), Some(AppState::Running));
        hears(&|| app("stop"), EventType::AppExited);
        assert_eq!(state(), Some(AppState::Exited));
    }
    app("rm");
    assert_eq!(state(), None);
    held_pod::release(&rkt, pod);
}

#[test]
fn images_that_come_and_go_are_told() {
    let rkt = rkt_with_image();
    let api = Api::start(&rkt);

    let act = || {
        rkt.run(["fetch", "--insecure-options=image", "./app.aci"]).expect_code(0);
    };
    let imported = listen(&api, EventFilter::default(), act, |events| !events.is_empty()).expect("events");
    let act = || {
        rkt.run(["image", "rm", publisher::NAME]).expect_code(0);
    };
    let removed = listen(&api, EventFilter::default(), act, |events| !events.is_empty()).expect("events");

    assert_eq!(kinds(&imported), [EventType::ImageImported]);
    assert_eq!(kinds(&removed), [EventType::ImageRemoved]);
    for event in [&imported[0], &removed[0]] {
        assert_eq!((event.from.as_str(), event.id.len()), (publisher::NAME, 71));
    }
}

#[test]
fn a_client_chooses_what_it_is_told() {
    let rkt = rkt_with_image();
    let api = Api::start(&rkt);
    let run = || {
        rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci", "--name=web"])).expect_code(0);
    };

    let types = vec![EventType::AppExited.into(), EventType::PodExited.into()];
    let filter = EventFilter { types, ..EventFilter::default() };
    let told = listen(&api, filter.clone(), run, |events| events.len() >= 2).expect("events");
    assert_eq!(kinds(&told), [EventType::AppExited, EventType::PodExited]);

    // What the service remembers is told to whoever asks for the past, and nothing of it to others.
    let past = EventFilter { since_time: 1, names: vec!["web".to_owned()], ..EventFilter::default() };
    let told = listen(&api, past.clone(), || (), |events| events.len() >= 2).expect("events");
    assert_eq!(kinds(&told), [EventType::AppStarted, EventType::AppExited]);
    let over = EventFilter { until_time: now() + 1, ids: vec![rkt.uuid("uuid")], ..past };
    let told = listen(&api, over.clone(), || (), |_| false).expect("the stream ends at its time");
    assert_eq!(kinds(&told), [EventType::AppStarted, EventType::AppExited]);
    let present = EventFilter { since_time: 0, ..over };
    assert_eq!(listen(&api, present, || (), |_| false).expect("the stream ends"), []);
}

#[test]
fn listeners_are_told_that_the_service_exits() {
    let rkt = TestRkt::new();
    let mut api = Api::start(&rkt);
    let pid = api.service().pid();

    let exit = || nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalling");
    let told = listen(&api, EventFilter::default(), exit, |_| false);

    assert_eq!(told.expect_err("the service has gone").code(), Code::Unavailable);
    api.finish().expect_code(0);
}
