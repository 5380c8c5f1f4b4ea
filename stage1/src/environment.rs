//! An app's environment.
//!
//! Responsible for: stage1's layers over what stage0 put into the pod manifest, and the text of `/rkt/env/APP`. Must not
//! know: `--environment`, `--set-env` and the other layers that stage0 merged. Follows rkt-reference 6.1 and 2.2.

use appc::{AcName, App};
use guest_api::{METADATA_ADDRESS, METADATA_PORT};

/// Given to apps that do not set them; root's values whoever the app runs as, as in rkt.
const DEFAULTS: [(&str, &str); 5] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("SHELL", "/bin/sh"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("HOME", "/root"),
];

/// The complete environment of an app, in order. `terminal` is the type of the terminal that the app gets, if it gets one;
/// `metadata_token` what the metadata service knows the pod by, if it does.
pub fn complete(
    name: &AcName,
    app: &App,
    terminal: Option<&str>,
    metadata_token: Option<&str>,
) -> Vec<(String, String)> {
    let mut app = app.clone();
    app.set_env("AC_APP_NAME", name.as_str());
    if let Some(token) = metadata_token {
        app.set_env("AC_METADATA_URL", &format!("http://{METADATA_ADDRESS}:{METADATA_PORT}/{token}"));
    }
    for (name, value) in DEFAULTS.into_iter().chain(terminal.map(|kind| ("TERM", kind))) {
        if app.env(name).is_none() {
            app.set_env(name, value);
        }
    }
    app.environment.into_iter().map(|variable| (variable.name, variable.value)).collect()
}

/// `/rkt/env/APP`: one unquoted `KEY=VALUE` a line. The file is an interface of rkt and has no way to write a newline in a
/// value; the app itself gets its values unharmed.
pub fn file(environment: &[(String, String)]) -> String {
    environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}
