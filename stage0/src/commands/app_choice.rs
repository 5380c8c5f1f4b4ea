//! `--app`: one app of a pod.
//!
//! Responsible for: the app a user names, or the only one. Must not know: what is done with it. Follows rkt-reference.md
//! 1.6 (`enter`, `export`) and 9.4.

use std::str::FromStr;

use appc::AcName;

use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::pod::locate::FoundPod;

/// What the user said.
#[derive(Debug, Clone, Copy)]
pub struct AppChoice<'a> {
    /// The command, for the message that says what to do.
    pub command: &'a str,
    /// Value of `--app`; empty if there is none.
    pub wanted: &'a str,
}

impl AppChoice<'_> {
    /// The app. Errors: the pod has none of that name, or several and none was named; they are listed then.
    pub fn find(self, pod: &FoundPod, log: Log) -> Result<AcName> {
        let manifest = pod.manifest().context("error reading pod manifest")?;
        if !self.wanted.is_empty() {
            let name = AcName::from_str(self.wanted).context(format!("invalid app name: {}", self.wanted))?;
            return match manifest.apps.iter().any(|app| app.name == name) {
                true => Ok(name),
                false => Err(Stage0Error::refused(format!("app {name} is not present in pod"))),
            };
        }
        match manifest.apps.as_slice() {
            [] => Err(Stage0Error::refused("pod contains zero apps")),
            [app] => Ok(app.name.clone()),
            apps => {
                log.print("pod contains multiple apps:");
                for app in apps {
                    log.print(format!("\t{}", app.name));
                }
                Err(Stage0Error::refused(format!("specify app using \"rkt {} --app= ...\"", self.command)))
            }
        }
    }
}
