//! `rkt config`.
//!
//! Responsible for: showing the merged configuration in the form of its own files. Must not know: how they are merged.
//! Follows rkt-reference.md 1.6 and 2.8.

use serde_json::{Value, json};

use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::config::{Configuration, Credentials};
use crate::error::{Context, Result};
use crate::output;
use crate::pod::report::to_json;

/// Flags of `rkt config`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// apply indent to format the output
    #[arg(long, switch = true)]
    pretty_print: bool,
}

/// Prints the configuration.
pub fn run(arguments: &Arguments, globals: &GlobalFlags) -> Result<u8> {
    let entries = entries(&Configuration::of(globals)).context("cannot get configuration")?;
    output::print(&to_json(&json!({ "stage0": entries }), arguments.pretty_print)?);
    Ok(0)
}

/// One object for each host, one for each registry, one for paths and one for stage1.
fn entries(configuration: &Configuration) -> Result<Vec<Value>> {
    let mut entries = Vec::new();
    for (domain, credentials) in configuration.auth()?.domains() {
        let shown = match credentials {
            Credentials::Basic(basic) => json!(basic),
            Credentials::OAuth(oauth) => json!(oauth),
            Credentials::Aws(aws) => json!(aws),
        };
        entries.push(json!({
            "rktVersion": "v1", "rktKind": "auth",
            "domains": [domain], "type": credentials.kind(), "credentials": shown,
        }));
    }
    for (registry, credentials) in configuration.docker_auth()?.registries() {
        entries.push(json!({
            "rktVersion": "v1", "rktKind": "dockerAuth",
            "registries": [registry], "credentials": credentials,
        }));
    }
    // What is not configured is an empty string, as a program that reads this expects every key.
    let paths = configuration.paths()?;
    entries.push(json!({
        "rktVersion": "v1", "rktKind": "paths",
        "data": paths.data.unwrap_or_default(), "stage1-images": paths.stage1_images.unwrap_or_default(),
    }));
    let stage1 = configuration.stage1()?;
    let mut shown = json!({
        "rktVersion": "v1", "rktKind": "stage1",
        "name": stage1.name.unwrap_or_default(), "version": stage1.version.unwrap_or_default(),
        "location": stage1.location.unwrap_or_default(),
    });
    // Which is not one of the keys that it expects.
    if let (Some(jail), Some(entry)) = (stage1.jail, shown.as_object_mut()) {
        entry.insert("jail".to_owned(), json!(jail));
    }
    entries.push(shown);
    Ok(entries)
}
