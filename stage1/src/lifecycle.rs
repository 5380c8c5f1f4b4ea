//! What an app asks for around its own process.
//!
//! Responsible for: event handlers, and whether the app says itself when it has started. Must not know: when any of it happens
//! (guest-init does). Follows rkt-reference 6.8 and 6.10, sd_notify(3).

use appc::{App, ImageManifest};
use guest_api::{AppSpec, Handler, Lifecycle};

use crate::plan::PlanError;

/// Images whose program calls sd_notify(3) have this annotation with the value `true`.
const SUPPORTS_NOTIFICATION: &str = "appc.io/executor/supports-systemd-notify";

/// Names the socket to the program.
const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET";

/// Says how often the program has to say that it is alive.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";

/// Where guest-init puts it in the app: the path that rkt's apps found it at.
const NOTIFY_SOCKET: &str = "/run/systemd/notify";

/// The lifecycle of an app.
pub fn of(section: &App, image: Option<&ImageManifest>) -> Result<Lifecycle, PlanError> {
    let mut lifecycle = Lifecycle::default();
    for handler in &section.event_handlers {
        let known = [Handler::PreStart, Handler::PostStop].into_iter().find(|it| it.name() == handler.name);
        let handlers = match known {
            Some(Handler::PreStart) => &mut lifecycle.pre_start,
            Some(Handler::PostStop) => &mut lifecycle.post_stop,
            None => return Err(PlanError::EventHandler(handler.name.clone())),
        };
        // One without a program asks for nothing.
        if !handler.exec.is_empty() {
            handlers.push(handler.exec.clone());
        }
    }
    let annotation = image.and_then(|image| image.annotations.get(SUPPORTS_NOTIFICATION));
    lifecycle.says_when_ready = annotation.is_some_and(|value| value == "true");
    Ok(lifecycle)
}

/// The app's environment, with the socket's path for an app that is to say when it has started, and with how often the service
/// manager wants to hear that it is alive.
pub fn environment(
    mut environment: Vec<(String, String)>,
    lifecycle: &Lifecycle,
    watchdog_microseconds: Option<u64>,
) -> Vec<(String, String)> {
    if lifecycle.says_when_ready {
        let watchdog = watchdog_microseconds.map(|interval| (WATCHDOG_VARIABLE, interval.to_string()));
        let ours = [(NOTIFY_VARIABLE, NOTIFY_SOCKET.to_owned())].into_iter().chain(watchdog);
        for (variable, value) in ours {
            environment.retain(|(name, _)| name != variable);
            environment.push((variable.to_owned(), value));
        }
    }
    environment
}

/// That of commands in the app, which have nothing to say for it.
pub fn environment_of_commands(app: &AppSpec) -> Vec<(String, String)> {
    let mut environment = app.environment.clone();
    if app.lifecycle.says_when_ready {
        environment.retain(|(name, _)| name != NOTIFY_VARIABLE && name != WATCHDOG_VARIABLE);
    }
    environment
}
