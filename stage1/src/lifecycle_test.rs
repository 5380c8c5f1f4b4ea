use appc::{App, ImageManifest};
use guest_api::Lifecycle;

use super::lifecycle::{environment, environment_of_commands, of};

fn section(handlers: &str) -> App {
    let text = format!(r#"{{"exec": ["/app"], "user": "0", "group": "0", "eventHandlers": {handlers}}}"#);
    serde_json::from_str(&text).unwrap()
}

fn image(annotation: &str) -> ImageManifest {
    let text = format!(
        r#"{{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/a", "annotations":
            [{{"name": "appc.io/executor/supports-systemd-notify", "value": "{annotation}"}}]}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn event_handlers_are_told_by_their_names() {
    let handlers =
        r#"[{"name": "post-stop", "exec": ["/tidy"]}, {"name": "pre-start", "exec": ["/wait", "5"]}]"#;

    let lifecycle = of(&section(handlers), None).unwrap();

    assert_eq!(lifecycle.pre_start, [["/wait", "5"]]);
    assert_eq!(lifecycle.post_stop, [["/tidy"]]);
    assert!(!lifecycle.says_when_ready);
}

#[test]
fn unknown_event_handler_is_refused_in_rkts_words() {
    let error = of(&section(r#"[{"name": "on-fire", "exec": ["/x"]}]"#), None).unwrap_err();

    assert_eq!(error.to_string(), "unrecognized eventHandler: on-fire");
}

#[test]
fn app_says_when_it_is_ready_if_its_image_says_so() {
    assert!(of(&section("[]"), Some(&image("true"))).unwrap().says_when_ready);
    assert!(!of(&section("[]"), Some(&image("false"))).unwrap().says_when_ready);
}

#[test]
fn socket_for_notifications_takes_the_place_of_the_callers() {
    let given = vec![("NOTIFY_SOCKET".to_owned(), "/host".to_owned()), ("A".to_owned(), "1".to_owned())];
    let says = Lifecycle { says_when_ready: true, ..Lifecycle::default() };

    let variables = environment(given.clone(), &says, Some(3_000_000));

    let socket = ("NOTIFY_SOCKET".to_owned(), "/run/systemd/notify".to_owned());
    let watchdog = ("WATCHDOG_USEC".to_owned(), "3000000".to_owned());
    assert_eq!(variables, [("A".to_owned(), "1".to_owned()), socket, watchdog]);
    assert_eq!(environment(given.clone(), &Lifecycle::default(), Some(3_000_000)), given);
}

#[test]
fn commands_in_an_app_have_no_socket_for_notifications() {
    let mut app = crate::plan_test::app_plan("web").spec;
    app.lifecycle.says_when_ready = true;
    let given = vec![("A".to_owned(), "1".to_owned())];
    app.environment = environment(given.clone(), &app.lifecycle, Some(3_000_000));

    assert_eq!(environment_of_commands(&app), given);
}
