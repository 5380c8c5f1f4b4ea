//! `rkt image cat-manifest`.
//!
//! Responsible for: printing an image's manifest. Must not know: what is in it. Follows rkt-reference.md 1.6.

use serde_json::Value;

use super::{find, open_store};
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::error::{Context, Result};
use crate::output;
use crate::pod::report::to_json;

/// Flags of `rkt image cat-manifest`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// apply indent to format the output
    #[arg(long, switch = true)]
    pretty_print: bool,

    pub operands: Vec<String>,
}

/// Prints every member of the manifest, those that rkt does not understand too.
pub fn run(arguments: &Arguments, globals: &GlobalFlags) -> Result<u8> {
    let store = open_store(globals)?;
    for image in &arguments.operands {
        let key = find(&store, image)?;
        let json = store.manifest_json(&key).context("cannot get image manifest")?;
        let manifest: Value = serde_json::from_slice(&json).context("cannot read the image manifest")?;
        output::print(&to_json(&manifest, arguments.pretty_print)?);
    }
    Ok(0)
}
