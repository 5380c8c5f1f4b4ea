//! `rkt fetch`.
//!
//! Responsible for: fetching what the user names and printing its hash. Must not know: how an image is fetched. Follows
//! rkt-reference.md 1.6 and 3.9 (rendering ahead of the first run).

use std::str::FromStr;

use super::images::{Images, StoreFlags};
use crate::cli::apps::AppList;
use crate::cli::flag::{FlagKind, words};
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::image::PullPolicy;
use crate::output;
use crate::store::{ImageStore, TreeStore};

/// Flags of `rkt fetch`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// print the full image hash after fetching
    #[arg(long, switch = false)]
    full: bool,

    /// when to pull an image
    #[arg(long, default_value = "update", value_parser = words(PullPolicy::WORDS, PullPolicy::from_str))]
    pull_policy: PullPolicy,

    #[command(flatten)]
    store: StoreFlags,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Fetches each image in turn, and stops at the first that fails.
pub fn run(arguments: &Arguments, list: AppList, globals: &GlobalFlags) -> Result<u8> {
    if list.apps.is_empty() {
        return Err(Stage0Error::refused("must provide at least one image"));
    }
    let data = config::data_directory(globals)?;
    let store = ImageStore::open(&data).context("cannot open store")?;
    let images = Images { store: &store, globals, pull_policy: arguments.store.or(arguments.pull_policy)? };
    for app in &list.apps {
        let key = images.fetch(app)?;
        // Files of all owners can be written by root only; anyone else leaves that to the first run.
        if rustix::process::geteuid().is_root() {
            let trees = TreeStore::open(&data).context("cannot open treestore")?;
            trees.render(&store, &key).context(format!("error rendering image {:?}", app.image))?;
        }
        output::print(if arguments.full { key.as_str() } else { key.short() });
    }
    Ok(0)
}
