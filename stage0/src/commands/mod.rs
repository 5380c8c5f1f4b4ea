//! rkt's commands, one file each.
//!
//! Responsible for: the list of commands and calling the right one. Must not know: how a command works. Follows
//! rkt-reference.md 1.6.

pub mod api_service;
pub mod app;
pub mod app_choice;
pub mod attach;
pub mod cat_manifest;
pub mod completion;
pub mod config;
pub mod enter;
pub mod export;
pub mod fetch;
pub mod format;
pub mod gc;
pub mod image;
pub mod images;
pub mod list;
pub mod logs;
pub mod metadata_service;
pub mod new_pod;
pub mod pod_names;
pub mod preparation;
pub mod prepare;
pub mod rm;
pub mod run;
pub mod run_prepared;
pub mod status;
pub mod stop;
pub mod trust;
pub mod version;

#[cfg(test)]
mod show_test;

use clap::Subcommand;

use crate::cli::apps::AppList;
use crate::cli::globals::GlobalFlags;
use crate::cli::{self, EXIT_FAILURE};
use crate::error::{Result, Stage0Error};

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    #[command(
        about = "Run API service (experimental)",
        long_about = "The API service listens for gRPC requests on the address and port specified by the\n--listen flag.\n\nIt only reads, so any user who may read the data directory can run it. There is no authentication:\nwhoever can connect can read what it reads. The user guide is docs/api.md.",
        override_usage = "api-service [--listen=\"localhost:15441\"]"
    )]
    ApiService(api_service::Arguments),
    #[command(about = "Operate on apps of mutable pods", override_usage = "app [command]")]
    App(app::Arguments),
    #[command(
        about = "Attach to an app running within a rkt pod",
        long_about = "UUID should be the UUID of a running pod.\n\nWhat can be attached to are the streams or the terminal that the app was given\nby --stdin, --stdout and --stderr when its pod was prepared or the app was added.",
        override_usage = "attach [--app=APPNAME] [--mode=MODE] UUID"
    )]
    Attach(attach::Arguments),
    #[command(
        about = "Inspect and print the pod manifest",
        long_about = "UUID should be the UUID of a pod.",
        override_usage = "cat-manifest [--pretty-print=BOOL] --uuid-file=FILE | UUID"
    )]
    CatManifest(cat_manifest::Arguments),
    #[command(
        about = "Output shell completion code for the specified shell",
        long_about = "The shell is bash, zsh or fish. The code has to be read by the shell.\n\nIn bash: source <(rkt completion bash)\n\nIn zsh: rkt completion zsh > \"${fpath[1]}/_rkt\"\n\nIn fish: rkt completion fish > ~/.config/fish/completions/rkt.fish",
        override_usage = "completion SHELL"
    )]
    Completion(completion::Arguments),
    #[command(
        about = "Print configuration for each stage in JSON format",
        long_about = "The output is JSON with \"stage0\" as key and rkt configuration entries as values.\nThe entries resemble the original rkt configuration format, credentials included.",
        override_usage = "config [--pretty-print=BOOL]"
    )]
    Config(config::Arguments),
    #[command(
        about = "Enter the namespaces of an app within a rkt pod",
        long_about = "By default the CMD that is run is /bin/bash.\n\nWhat follows UUID is passed to the app exactly as it is.",
        override_usage = "enter [--app=APPNAME] UUID [CMD [ARGS ...]]"
    )]
    Enter(enter::Arguments),
    #[command(
        about = "Export an app from an exited pod to an ACI file",
        long_about = "UUID should be the UUID of an exited pod.\n\nThe image is that of one app, with everything it changed. What was mounted in it is left out.",
        override_usage = "export [--app=APPNAME] [--overwrite] UUID OUTPUT_ACI_FILE"
    )]
    Export(export::Arguments),
    #[command(
        about = "Fetch image(s) and store them in the local store",
        long_about = "Locates and downloads remote ACIs and their attached signatures.\n\nThe result is the hash of each image, one a line.",
        override_usage = "fetch IMAGE_URL..."
    )]
    Fetch(fetch::Arguments),
    #[command(
        about = "Garbage collect rkt pods no longer in use",
        long_about = "This is intended to be run periodically.\n\nPods that exited are marked first, and removed by the first gc after the grace period.",
        override_usage = "gc [--grace-period=duration] [--expire-prepared=duration]"
    )]
    Gc(gc::Arguments),
    #[command(about = "Help about any command", override_usage = "help [command]")]
    Help(HelpArguments),
    #[command(about = "Operate on image(s) in the local store", override_usage = "image [command]")]
    Image(image::Arguments),
    #[command(about = "List pods", override_usage = "list")]
    List(list::Arguments),
    #[command(
        about = "Print the output of the apps of a rkt pod",
        long_about = "Prints what the apps of a pod have written so far, also when the pod has ended.\n\nStandard error is printed on standard error. If the lines can be those of several apps, they begin with the app's name.\nThe logs of a pod are limited to 50 MiB for each app, and go with the pod. Interactive apps have none.",
        override_usage = "logs [--app=NAME] [--follow] [--since=TIME|DURATION] [--lines=N] --uuid-file=FILE | UUID"
    )]
    Logs(logs::Arguments),
    #[command(
        about = "Run metadata service",
        long_about = "Provides a means for running apps to introspect their execution\nenvironment and assert their identity.\n\nPods use it if they are run with --mds-register. The user guide is docs/metadata-service.md.",
        override_usage = "metadata-service [--listen-port=PORT]"
    )]
    MetadataService(metadata_service::Arguments),
    #[command(
        about = "Prepare to run image(s) in a pod in rkt",
        long_about = "IMAGE should be a string referencing an image; either a hash, local file on disk, or URL.\nThey will be checked in that order and the first match will be used.\n\nThe result is the UUID of a pod that run-prepared runs, also after a reboot.\n\nAn \"--\" may be used to inhibit rkt prepare's parsing of subsequent arguments,\nwhich will instead be appended to the preceding image app's exec arguments.\nEnd the image arguments with a lone \"---\" to resume argument parsing.",
        override_usage = "prepare [--volume=name,kind=host,...] [--mount volume=VOL,target=PATH] [--quiet] IMAGE [-- image-args...[---]]..."
    )]
    Prepare(Box<prepare::Arguments>),
    #[command(
        about = "Remove all files and resources associated with an exited pod",
        override_usage = "rm --uuid-file=FILE | UUID ..."
    )]
    Rm(rm::Arguments),
    #[command(
        about = "Run image(s) in a pod in rkt",
        long_about = "IMAGE should be a string referencing an image; either a hash, local file on disk, or URL.\nThey will be checked in that order and the first match will be used.\n\nVolumes are made available to the container via --volume.\nMounts bind volumes into each image's root within the container via --mount.\n--mount is position-sensitive; occurring before any images applies to all images,\noccurring after any images applies only to the nearest preceding image.\n\nAn \"--\" may be used to inhibit rkt run's parsing of subsequent arguments,\nwhich will instead be appended to the preceding image app's exec arguments.\nEnd the image arguments with a lone \"---\" to resume argument parsing.",
        override_usage = "run [--volume=name,kind=host,...] [--mount volume=VOL,target=PATH] IMAGE [-- image-args...[---]]..."
    )]
    Run(Box<run::Arguments>),
    #[command(
        about = "Run a prepared application pod in rkt",
        long_about = "UUID should be that of a pod which rkt prepare made.",
        override_usage = "run-prepared UUID"
    )]
    RunPrepared(run_prepared::Arguments),
    #[command(
        about = "Check the status of a rkt pod",
        override_usage = "status [--wait=bool|timeout] [--wait-ready=bool|timeout] --uuid-file=FILE | UUID"
    )]
    Status(status::Arguments),
    #[command(
        about = "Stop a pod",
        long_about = "The apps are stopped in order, unless --force is given. Exit codes of apps survive both.",
        override_usage = "stop [--force] --uuid-file=FILE | UUID ..."
    )]
    Stop(stop::Arguments),
    #[command(
        about = "Trust a key for image verification",
        long_about = "Adds keys to the local keystore for use in verifying signed images.\n\nPUBKEY may be either a local file or URL.\n\nA key is trusted for images of the name --prefix says and below it, or with --root for every image.",
        override_usage = "trust [--prefix=PREFIX] [--insecure-allow-http] [--skip-fingerprint-review] [--root] PUBKEY ..."
    )]
    Trust(trust::Arguments),
    #[command(about = "Print the version and exit", override_usage = "version")]
    Version,
}

/// `rkt help [command]`.
#[derive(Debug, Clone, clap::Args)]
pub struct HelpArguments {
    /// The command, word by word.
    command: Vec<String>,
}

impl Command {
    /// The command's name, below the commands it is part of.
    pub fn path(&self) -> Vec<&'static str> {
        match self {
            Command::ApiService(_) => vec!["api-service"],
            Command::App(arguments) => {
                let command = arguments.command.as_ref().map(app::AppCommand::name);
                std::iter::once("app").chain(command).collect()
            }
            Command::Attach(_) => vec!["attach"],
            Command::Completion(_) => vec!["completion"],
            Command::Config(_) => vec!["config"],
            Command::CatManifest(_) => vec!["cat-manifest"],
            Command::Export(_) => vec!["export"],
            Command::Enter(_) => vec!["enter"],
            Command::Fetch(_) => vec!["fetch"],
            Command::Gc(_) => vec!["gc"],
            Command::Help(_) => vec!["help"],
            Command::Image(arguments) => {
                let command = arguments.command.as_ref().map(image::ImageCommand::name);
                std::iter::once("image").chain(command).collect()
            }
            Command::List(_) => vec!["list"],
            Command::Logs(_) => vec!["logs"],
            Command::MetadataService(_) => vec!["metadata-service"],
            Command::Prepare(_) => vec!["prepare"],
            Command::Rm(_) => vec!["rm"],
            Command::Run(_) => vec!["run"],
            Command::RunPrepared(_) => vec!["run-prepared"],
            Command::Status(_) => vec!["status"],
            Command::Stop(_) => vec!["stop"],
            Command::Trust(_) => vec!["trust"],
            Command::Version => vec!["version"],
        }
    }

    /// The last word of the path: prefix of the command's diagnostics.
    pub fn name(&self) -> &'static str {
        self.path().last().copied().unwrap_or("rkt")
    }

    /// What follows the first non-flag, for commands that take an image list.
    pub fn rest(&self) -> Option<&[String]> {
        match self {
            Command::App(app::Arguments { command: Some(app::AppCommand::Add(arguments)) }) => {
                Some(&arguments.rest)
            }
            Command::Fetch(arguments) => Some(&arguments.rest),
            Command::Image(image::Arguments { command: Some(image::ImageCommand::Fetch(arguments)) }) => {
                Some(&arguments.rest)
            }
            Command::Prepare(arguments) => Some(&arguments.rest),
            Command::Run(arguments) => Some(&arguments.rest),
            _ => None,
        }
    }

    /// Whether as many arguments were given as the command takes.
    pub fn check_operands(&self) -> std::result::Result<(), String> {
        if let Command::Enter(arguments)
        | Command::App(app::Arguments { command: Some(app::AppCommand::Exec(arguments)) }) = self
        {
            return arguments.check();
        }
        let Command::Image(image::Arguments { command: Some(command) }) = self else { return Ok(()) };
        let Some((given, wanted)) = command.operands() else { return Ok(()) };
        if let Some(missing) = wanted.get(given.len()) {
            return Err(format!("missing argument {missing}"));
        }
        match given.get(wanted.len()) {
            Some(surplus) => Err(format!("unexpected argument {surplus:?}")),
            None => Ok(()),
        }
    }
}

/// Whether a command accepts a per-app flag.
pub fn takes_app_flag(command: &str, flag: &str) -> bool {
    match command {
        "fetch" => flag == "signature",
        "prepare" | "run" => flag != "mnt-volume",
        // `app add`, whose image is in the store.
        "add" => !matches!(flag, "signature" | "cap-retain" | "cap-remove"),
        _ => false,
    }
}

/// Whether `--` may introduce app arguments.
pub fn takes_app_arguments(command: &str) -> bool {
    matches!(command, "prepare" | "run" | "add")
}

/// How many words come before the first image.
pub fn operands_before_images(command: &str) -> usize {
    // `app add UUID IMAGE`
    usize::from(command == "add")
}

/// Runs a command; its exit code.
pub fn dispatch(command: Command, list: AppList, globals: &GlobalFlags) -> u8 {
    let log = globals.log(command.name());
    let outcome = match command {
        Command::ApiService(arguments) => api_service::run(&arguments, globals, log),
        Command::MetadataService(arguments) => metadata_service::run(&arguments, log),
        Command::App(app::Arguments { command: Some(command) }) => app::dispatch(command, list, globals, log),
        Command::App(app::Arguments { command: None }) => Ok(cli::print_help(&["app"])),
        Command::Attach(arguments) => attach::run(&arguments, globals, log),
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Config(arguments) => config::run(&arguments, globals),
        Command::CatManifest(arguments) => cat_manifest::run(&arguments, globals),
        Command::Export(arguments) => export::run(&arguments, globals, log),
        Command::Enter(arguments) => enter::run("enter", &arguments, globals, log),
        Command::Fetch(arguments) => fetch::run(&arguments, list, globals),
        Command::Gc(arguments) => gc::run(&arguments, globals, log),
        Command::Help(arguments) => Ok(cli::print_help(&arguments.command)),
        Command::Image(image::Arguments { command: Some(command) }) => {
            image::dispatch(command, list, globals, log)
        }
        Command::Image(image::Arguments { command: None }) => Ok(cli::print_help(&["image"])),
        Command::List(arguments) => list::run(&arguments, globals, log),
        Command::Logs(arguments) => logs::run(&arguments, globals),
        Command::Prepare(arguments) => prepare::run(&arguments, list, globals, log),
        Command::Rm(arguments) => rm::run(&arguments, globals, log),
        Command::Run(arguments) => run::run(&arguments, list, globals, log),
        Command::RunPrepared(arguments) => run_prepared::run(&arguments, globals, log),
        Command::Status(arguments) => status::run(&arguments, globals, log),
        Command::Stop(arguments) => stop::run(&arguments, globals, log),
        Command::Trust(arguments) => trust::run(&arguments, globals, log),
        Command::Version => Ok(version::run()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            log.error(&error);
            EXIT_FAILURE
        }
    }
}

/// Refuses anyone but root, before anything is touched.
pub fn require_superuser() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Stage0Error::refused("cannot run as unprivileged user"))
    }
}
