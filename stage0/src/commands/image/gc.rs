//! `rkt image gc`.
//!
//! Responsible for: what goes in which order, and saying so. Must not know: how the stores remove anything. Follows
//! rkt-reference.md 2.7 and 3.11.

use std::path::Path;
use std::time::Duration;

use super::in_use::{SettledPods, running_images};
use super::open_store;
use super::rm::Tally;
use crate::cli::EXIT_FAILURE;
use crate::cli::globals::GlobalFlags;
use crate::cli::values::parse_period;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::fault;
use crate::log::Log;
use crate::store::{ImageStore, TreeStore};

/// Flags of `rkt image gc`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// duration to wait since an image was last used before removing it
    #[arg(long, default_value = "24h", value_parser = parse_period)]
    grace_period: Duration,
}

/// Removes trees that no pod uses; then images that nobody used for long and that no running pod uses.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let data = config::data_directory(globals)?;
    let store = open_store(globals)?;
    let all_trees_gone =
        collect_trees(&data, &store, log).context("failed to remove unreferenced treestores")?;
    fault::point("image-gc.trees.removed");
    let running = running_images(&data, &store).context("failed to get list of images for running pods")?;
    let collected =
        store.collect_images(arguments.grace_period, &running).context("failed to remove images")?;
    let mut tally = Tally::default();
    for key in &collected.images {
        tally.removed(key, false, log);
    }
    if collected.stale_files {
        log.print("some files cannot be removed; the next \"rkt image gc\" tries again");
    }
    let code = tally.conclude(log);
    Ok(if all_trees_gone { code } else { EXIT_FAILURE })
}

/// Trouble with one tree does not keep the others. False if there was some.
fn collect_trees(data: &Path, store: &ImageStore, log: Log) -> Result<bool> {
    let trees = TreeStore::open(data).context("cannot open treestore")?;
    let pods = SettledPods::of(data)?;
    let used = pods.trees().context("cannot get referenced treestoreIDs")?;
    let mut all_gone = true;
    for tree in trees.list().context("cannot get treestoreIDs from the store")? {
        if used.contains(&tree.id) {
            continue;
        }
        let id = tree.id.as_str();
        match trees.remove(&tree.id) {
            Ok(()) => log.print(format!("removed treestore {id:?}")),
            Err(error) => {
                all_gone = false;
                let what = format!("error removing treestore {id:?}");
                log.error(&Stage0Error::Failed { what, cause: error.into() });
                continue;
            }
        }
        if let Some(key) = &tree.image {
            store.set_tree_size(key, 0).context(format!("cannot record the size of image {key}"))?;
        }
    }
    Ok(all_gone)
}
