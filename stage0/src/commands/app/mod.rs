//! `rkt app …`: pods whose apps come and go.
//!
//! Responsible for: the list of these commands, what they have in common, and calling the right one. Must not know: how a
//! command works. Follows rkt-reference.md 1.6 ("Experimental commands") and 7.4.

mod add;
mod list;
mod rm;
mod sandbox;
mod start;
mod status;
mod stop;

use std::str::FromStr;

use appc::{AcName, ImageManifest, PodManifest};
use clap::Subcommand;

use super::enter;
use crate::cli::apps::AppList;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::pod::first_process;
use crate::pod::locate::{FoundPod, Pods};
use crate::stage1::Stage1Manifest;
use crate::stage1::crossing::Crossing;

/// What the commands end with that have an exit code of their own for failures.
const EXIT_ONE: u8 = 1;

/// `rkt app [command]`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<AppCommand>,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum AppCommand {
    #[command(
        about = "Add an app to a pod",
        long_about = "This adds an application available in the local image store to a running mutable pod.\n\nThe app does not run before it is started. What follows \"--\" takes the place of the image's arguments.",
        override_usage = "app add UUID IMAGEID [--name=NAME] [--mnt-volume=name=VOL,kind=host,source=PATH,target=PATH] ... [-- image-args...]"
    )]
    Add(add::Arguments),
    #[command(
        about = "Execute commands in the given app's namespace",
        long_about = "This executes the commands in the given app's namespace.\n\nBy default the CMD that is run is /bin/bash.",
        override_usage = "app exec [--app=APPNAME] UUID [CMD [ARGS ...]]"
    )]
    Exec(enter::Arguments),
    #[command(
        about = "List apps for the given pod",
        long_about = "This only lists the name and state of the apps, app status will show more detailed info.",
        override_usage = "app list [--no-legend] UUID"
    )]
    List(list::Arguments),
    #[command(
        about = "Remove an app from a pod",
        long_about = "This allows removing an app from a running pod, it will stop it if it's still running.\n\nWhat the app has written is removed, too.",
        override_usage = "app rm UUID --app=NAME"
    )]
    Rm(OneApp),
    #[command(
        about = "Create an empty pod application sandbox",
        long_about = "Initializes an empty pod having no applications, and runs it until it is stopped.\n\nApps are added and removed with rkt app add and rkt app rm. Neither the end of an app nor\nits failure ends the pod.",
        override_usage = "app sandbox [--net=NETWORK] [--port=NAME:PROTOCOL:PODPORT:HOSTIP:HOSTPORT] ..."
    )]
    Sandbox(Box<sandbox::Arguments>),
    #[command(
        about = "Start an app in a pod",
        long_about = "Starts an app that was added to a pod, also one that has ended.",
        override_usage = "app start UUID --app=NAME"
    )]
    Start(OneApp),
    #[command(
        about = "Check the status of an app in the given pod",
        long_about = "This will print detailed status of an app.",
        override_usage = "app status UUID --app=APP_NAME [--format=json]"
    )]
    Status(status::Arguments),
    #[command(
        about = "Stop an app in a pod",
        long_about = "Stops an app of a pod. It can be started again.",
        override_usage = "app stop UUID --app=NAME"
    )]
    Stop(OneApp),
}

impl AppCommand {
    /// The command's own name.
    pub const fn name(&self) -> &'static str {
        match self {
            AppCommand::Add(_) => "add",
            AppCommand::Exec(_) => "exec",
            AppCommand::List(_) => "list",
            AppCommand::Rm(_) => "rm",
            AppCommand::Sandbox(_) => "sandbox",
            AppCommand::Start(_) => "start",
            AppCommand::Status(_) => "status",
            AppCommand::Stop(_) => "stop",
        }
    }
}

/// Runs a command; its exit code.
pub fn dispatch(command: AppCommand, list: AppList, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let or_one = |outcome: Result<u8>| {
        outcome.or_else(|error| {
            log.error(&error);
            Ok(EXIT_ONE)
        })
    };
    match command {
        AppCommand::Add(_) => add::run(list, globals, log),
        AppCommand::Exec(arguments) => enter::run("app exec", &arguments, globals, log),
        AppCommand::List(arguments) => or_one(list::run(&arguments, globals)),
        AppCommand::Rm(arguments) => rm::run(&arguments, globals, log),
        AppCommand::Sandbox(arguments) => or_one(sandbox::run(&arguments, globals, log)),
        AppCommand::Start(arguments) => start::run(&arguments, globals, log),
        AppCommand::Status(arguments) => or_one(status::run(&arguments, globals)),
        AppCommand::Stop(arguments) => stop::run(&arguments, globals, log),
    }
}

/// One app of one pod.
#[derive(Debug, Clone, clap::Args)]
pub struct OneApp {
    /// name of the app, this flag must be set
    #[arg(long, value_name = "string", default_value = "")]
    app: String,

    /// The pod.
    uuid: Vec<String>,
}

impl OneApp {
    /// The pod as the user named it, and the app. `doing` says what for.
    fn get(&self, doing: &str) -> Result<(&str, AcName)> {
        let [uuid] = self.uuid.as_slice() else {
            return Err(Stage0Error::refused("must provide the pod UUID"));
        };
        if self.app.is_empty() {
            return Err(Stage0Error::refused(format!("must provide the app to {doing}")));
        }
        Ok((uuid, AcName::from_str(&self.app).context("invalid app name")?))
    }
}

/// A pod that a user named, and the others beside it.
fn find(globals: &GlobalFlags, uuid: &str) -> Result<(Pods, FoundPod)> {
    let pods = Pods::of(&config::data_directory(globals)?);
    let pod = pods.resolve(uuid)?;
    Ok((pods, pod))
}

/// What is to be done to an app of a running pod needs: stage1 that can do it, and the pod's first process.
fn first_process(pods: &Pods, pod: &FoundPod) -> Result<i32> {
    first_process::wait(pods, pod)
        .context(format!("unable to determine the pid for pod {:?}", pod.uuid().to_string()))
}

/// stage1 of a mutable pod, called on its behalf.
fn crossing<'a>(pod: &'a FoundPod, stage1: &'a ImageManifest, pid: i32, log: Log) -> Result<Crossing<'a>> {
    Stage1Manifest(stage1).expect_mutable()?;
    Crossing::new(pod.path(), stage1, pid, log)
}

/// Errors: the pod has no such app.
fn expect_app(manifest: &PodManifest, app: &AcName) -> Result<()> {
    match manifest.app(app.as_str()) {
        Some(_) => Ok(()),
        None => Err(Stage0Error::refused(format!("error: nonexistent app {:?}", app.as_str()))),
    }
}
