//! `rkt enter`.
//!
//! Responsible for: which app and which command, then stage1's enter in place of this process. Must not know: how stage1
//! gets into the app. Follows rkt-reference.md 1.6, 4.4 and 9.4.

use super::app_choice::AppChoice;
use super::require_superuser;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::pod::first_process;
use crate::pod::locate::Pods;
use crate::stage1::call::{EnterOptions, exec_enter};
use crate::stage1::{Entrypoint, Stage1Manifest};
use crate::store::TreeStore;

/// What is run when the user names nothing.
const DEFAULT_COMMAND: &str = "/bin/bash";

/// Flags of `rkt enter`, the pod, and the command with everything that follows it.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// name of the app to enter within the specified pod
    #[arg(long, value_name = "string", default_value = "")]
    app: String,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

impl Arguments {
    /// Flags end at the UUID; what looks like one before it is none that rkt knows.
    pub fn check(&self) -> std::result::Result<(), String> {
        match self.rest.first() {
            Some(word) if word.starts_with('-') => Err(format!("unknown flag: {word}")),
            Some(_) => Ok(()),
            None => Err("missing argument UUID".to_owned()),
        }
    }
}

/// Runs a command in an app. Returns only if that fails. `typed` is what the user typed behind `rkt`.
pub fn run(typed: &str, arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let Some((uuid, command)) = arguments.rest.split_first() else {
        return Err(Stage0Error::refused("must provide a pod UUID"));
    };
    let data = config::data_directory(globals)?;
    let pods = Pods::of(&data);
    let pod = pods.resolve(uuid)?;
    pod.expect_running()?;
    let pid = first_process::wait(&pods, &pod)
        .context(format!("unable to determine the pid for pod {:?}", pod.uuid().to_string()))?;
    let app = AppChoice { command: typed, wanted: &arguments.app }
        .find(&pod, log)
        .context("unable to determine app name")?;
    let default = [DEFAULT_COMMAND.to_owned()];
    let command = if command.is_empty() {
        log.print(format!("no command specified, assuming {DEFAULT_COMMAND:?}"));
        &default
    } else {
        command
    };

    let trees = TreeStore::open(&data).context("cannot open treestore")?;
    let tree = pod.stage1_tree()?.parse().context("error getting stage1 treeStoreID")?;
    let manifest = pod.stage1_manifest().context("enter failed")?;
    let entrypoint = Stage1Manifest(&manifest).entrypoint(Entrypoint::Enter).context("enter failed")?;
    let options = EnterOptions {
        pod: pod.path(),
        // Not the pod's own root, into which stage1's processes can write.
        program: &trees.rootfs(&tree).join(entrypoint),
        pid,
        app: app.as_str(),
        command,
    };
    Err(exec_enter(&options))
}
