//! `rkt attach`.
//!
//! Responsible for: which app and which of its endpoints, then stage1's attach in place of this process. Must not know: how
//! stage1 gets at an app's input and output. Follows rkt-reference.md 1.6, 4.7 and 7.6.

use super::app_choice::AppChoice;
use super::require_superuser;
use crate::cli::attach_mode::AttachMode;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::pod::first_process;
use crate::pod::locate::Pods;
use crate::stage1::Entrypoint;
use crate::stage1::crossing::Crossing;

/// Flags of `rkt attach` and the pod.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// name of the app to attach to within the specified pod
    #[arg(long, value_name = "string", default_value = "")]
    app: String,

    /// what to attach to: 'auto' for all there is, a list of stdin, stdout and stderr or of tty, tty-in and tty-out; or 'list' to print what there is
    #[arg(long, value_name = "string", default_value = "auto")]
    mode: String,

    /// The pod.
    uuid: Vec<String>,
}

/// Connects the terminal with an app. Returns only if that fails.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let [uuid] = arguments.uuid.as_slice() else {
        return Err(Stage0Error::refused("must provide exactly one UUID"));
    };
    let mode =
        AttachMode::parse(&arguments.mode).map_err(Stage0Error::refused).context("invalid attach mode")?;
    let pods = Pods::of(&config::data_directory(globals)?);
    let pod = pods.resolve(uuid)?;
    pod.expect_running()?;
    let pid = first_process::wait(&pods, &pod)
        .context(format!("unable to determine the pid for pod {:?}", pod.uuid().to_string()))?;
    let app = AppChoice { command: "attach", wanted: &arguments.app }
        .find(&pod, log)
        .context("unable to determine app name")?;
    let stage1 = pod.stage1_manifest().context("attach failed")?;
    let crossing = Crossing::new(pod.path(), &stage1, pid, log).context("attach failed")?;
    let error = crossing.exec(Entrypoint::Attach, &mode.arguments(app.as_str(), globals.debug));
    Err(error).context("attach failed")
}
