use super::filter::{may_want_pod, wants_event, wants_image, wants_pod};
use super::wire::{
    App, Event, EventFilter, EventType, Image, ImageFilter, KeyValue, Pod, PodFilter, PodState,
};

fn text(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

fn pod() -> Pod {
    let app = |name: &str, image: &str| App {
        name: name.to_owned(),
        image: Some(Image { id: image.to_owned(), ..Image::default() }),
        ..App::default()
    };
    Pod {
        id: "u1".to_owned(),
        state: PodState::Running.into(),
        apps: vec![app("web", "i1"), app("db", "i2")],
        annotations: vec![pair("a", "1"), pair("b", "2")],
        cgroup: "/machine/pod".to_owned(),
        ..Pod::default()
    }
}

#[test]
fn no_filter_wants_everything() {
    assert!(wants_pod(&[], &Pod::default()));
    assert!(wants_pod(&[PodFilter::default()], &pod()));
    assert!(wants_image(&[], &Image::default()));
    assert!(wants_event(&EventFilter::default(), &Event::default()));
}

#[test]
fn ids_states_and_cgroups_are_alternatives() {
    let none = PodFilter::default();
    let running = PodState::Running.into();
    let yes = [
        PodFilter { ids: text(&["u0", "u1"]), ..none.clone() },
        PodFilter { states: vec![PodState::Exited.into(), running], ..none.clone() },
        PodFilter { cgroups: text(&["/", "/machine/pod"]), ..none.clone() },
    ];
    let no = [
        PodFilter { ids: text(&["u"]), ..none.clone() },
        PodFilter { states: vec![PodState::Exited.into()], ..none.clone() },
        PodFilter { cgroups: text(&["/machine", "/machine/pod/x"]), ..none.clone() },
    ];

    for filter in yes {
        assert!(wants_pod(std::slice::from_ref(&filter), &pod()), "{filter:?}");
    }
    for filter in no {
        assert!(!wants_pod(std::slice::from_ref(&filter), &pod()), "{filter:?}");
    }
}

#[test]
fn of_apps_images_and_annotations_all_are_needed() {
    let none = PodFilter::default();
    let yes = [
        PodFilter { app_names: text(&["db", "web"]), ..none.clone() },
        PodFilter { image_ids: text(&["i1", "i2"]), ..none.clone() },
        PodFilter { annotations: vec![pair("b", "2"), pair("a", "1")], ..none.clone() },
    ];
    let no = [
        PodFilter { app_names: text(&["db", "cache"]), ..none.clone() },
        PodFilter { image_ids: text(&["i1", "i3"]), ..none.clone() },
        PodFilter { annotations: vec![pair("a", "1"), pair("b", "1")], ..none.clone() },
        PodFilter { network_names: text(&["default"]), ..none.clone() },
    ];

    for filter in yes {
        assert!(wants_pod(std::slice::from_ref(&filter), &pod()), "{filter:?}");
    }
    for filter in no {
        assert!(!wants_pod(std::slice::from_ref(&filter), &pod()), "{filter:?}");
    }
}

#[test]
fn a_process_finds_its_pod_by_its_cgroup() {
    let inside = PodFilter { pod_sub_cgroups: text(&["/other", "/machine/pod/web"]), ..PodFilter::default() };
    let above = PodFilter { pod_sub_cgroups: text(&["/machine"]), ..PodFilter::default() };
    let without = Pod { cgroup: String::new(), ..pod() };

    assert!(wants_pod(std::slice::from_ref(&inside), &pod()));
    assert!(!wants_pod(&[above], &pod()));
    assert!(!wants_pod(&[inside], &without), "no cgroup is above none");
}

#[test]
fn conditions_of_one_filter_are_all_needed_and_one_filter_is_enough() {
    let web = PodFilter { app_names: text(&["web"]), ..PodFilter::default() };
    let web_of_another = PodFilter { ids: text(&["u2"]), ..web.clone() };

    assert!(!wants_pod(std::slice::from_ref(&web_of_another), &pod()));
    assert!(wants_pod(&[web_of_another.clone(), web], &pod()));
    assert!(!may_want_pod(&[web_of_another], "u1"));
}

#[test]
fn names_of_images_match_by_beginning_last_part_and_content() {
    let image = Image {
        name: "example.com/team/etcd".to_owned(),
        import_timestamp: 100,
        labels: vec![pair("os", "linux")],
        ..Image::default()
    };
    let none = ImageFilter::default();
    let cases = [
        (ImageFilter { prefixes: text(&["x", "example.com/t"]), ..none.clone() }, true),
        (ImageFilter { prefixes: text(&["team"]), ..none.clone() }, false),
        (ImageFilter { base_names: text(&["etcd"]), ..none.clone() }, true),
        (ImageFilter { base_names: text(&["team/etcd"]), ..none.clone() }, false),
        (ImageFilter { keywords: text(&["no", "m/e"]), ..none.clone() }, true),
        (ImageFilter { full_names: text(&["example.com/team/etcd"]), ..none.clone() }, true),
        (ImageFilter { full_names: text(&["example.com/team"]), ..none.clone() }, false),
        (ImageFilter { labels: vec![pair("os", "linux")], ..none.clone() }, true),
        (ImageFilter { labels: vec![pair("os", "plan9")], ..none.clone() }, false),
        (ImageFilter { imported_after: 99, imported_before: 101, ..none.clone() }, true),
        (ImageFilter { imported_after: 100, ..none.clone() }, false),
        (ImageFilter { imported_before: 100, ..none }, false),
    ];

    for (filter, wanted) in cases {
        assert_eq!(wants_image(std::slice::from_ref(&filter), &image), wanted, "{filter:?}");
    }
}

#[test]
fn events_match_by_type_subject_and_time() {
    let event = Event {
        r#type: EventType::AppExited.into(),
        id: "u1".to_owned(),
        from: "web".to_owned(),
        time: 100,
        ..Event::default()
    };
    let none = EventFilter::default();
    let types = |kind: EventType| vec![EventType::PodStarted.into(), kind.into()];
    let cases = [
        (EventFilter { types: types(EventType::AppExited), ..none.clone() }, true),
        (EventFilter { types: types(EventType::AppStarted), ..none.clone() }, false),
        (EventFilter { ids: text(&["u0", "u1"]), names: text(&["web"]), ..none.clone() }, true),
        (EventFilter { ids: text(&["u1"]), names: text(&["db"]), ..none.clone() }, false),
        (EventFilter { since_time: 99, until_time: 101, ..none.clone() }, true),
        (EventFilter { since_time: 100, ..none.clone() }, false),
        (EventFilter { until_time: 100, ..none }, false),
    ];

    for (filter, wanted) in cases {
        assert_eq!(wants_event(&filter, &event), wanted, "{filter:?}");
    }
}
