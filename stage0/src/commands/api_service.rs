//! `rkt api-service`.
//!
//! Responsible for: its flags, and what the service knows of the command line. Must not know: requests. Follows
//! rkt-reference.md 7.1.

use std::path::Path;

use super::version::APPC_VERSION;
use crate::api::{self, API_VERSION, Exit, GlobalFlags as Flags, Info, Listeners, Reader, Service};
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result};
use crate::log::Log;

/// Flags of `rkt api-service`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// address to listen for client API requests, HOST:PORT or unix://PATH (default localhost:15441)
    #[arg(long, value_name = "string")]
    listen: Option<String>,
}

/// Serves the API until SIGTERM or SIGINT.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    log.print("API service starting...");
    let data = config::data_directory(globals)?;
    let info = info(&data, globals);
    let listeners = Listeners::open(arguments.listen.as_deref(), log)?;
    let history = api::watch(data.clone(), log).context("cannot watch pods and images")?;
    let exit = Exit::default();
    let service = Service::new(info, Reader::new(data, log), history, exit.exiting());
    api::serve(listeners, service, &exit, log)?;
    Ok(0)
}

fn info(data: &Path, globals: &GlobalFlags) -> Info {
    let text = |path: &Path| path.display().to_string();
    Info {
        rkt_version: env!("CARGO_PKG_VERSION").to_owned(),
        appc_version: APPC_VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        global_flags: Some(Flags {
            dir: text(data),
            system_config_dir: text(&globals.system_config),
            local_config_dir: text(&globals.local_config),
            user_config_dir: globals.user_config.as_deref().map(text).unwrap_or_default(),
            insecure_flags: globals.insecure_options.to_string(),
            trust_keys_from_https: globals.trust_keys_from_https,
        }),
    }
}
