//! `rkt image gc`.
//!
//! Responsible for: which trees and images are in use, and what is said about those that go. Must not know: how the stores
//! remove anything. Follows rkt-reference.md 2.7 and 3.11.

use std::collections::HashSet;
use std::time::Duration;

use super::open_store;
use super::rm::Tally;
use crate::cli::globals::GlobalFlags;
use crate::cli::values::parse_period;
use crate::config;
use crate::error::{Context, Result};
use crate::log::Log;
use crate::pod::locate::Pods;
use crate::pod::state::State;
use crate::store::{ImageStore, Key};

/// Flags of `rkt image gc`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// duration to wait since an image was last used before removing it
    #[arg(long, default_value = "24h", value_parser = parse_period)]
    grace_period: Duration,
}

/// Removes what nobody uses.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let data = config::data_directory(globals)?;
    let pods = Pods::of(&data);
    let store = open_store(globals)?;
    let running = running_images(&pods, &store).context("failed to get list of images for running pods")?;
    let collected =
        store.collect_images(arguments.grace_period, &running).context("error removing images")?;
    let mut tally = Tally::default();
    for key in &collected.images {
        tally.removed(key, false, log);
    }
    if collected.stale_files {
        log.print("some files cannot be removed; the next \"rkt image gc\" tries again");
    }
    Ok(tally.conclude(log))
}

/// The images that apps of running pods were made from.
fn running_images(pods: &Pods, store: &ImageStore) -> Result<HashSet<Key>> {
    let mut images = HashSet::new();
    for (uuid, stage) in pods.list_nameable().context("failed to get pod handles")? {
        let Some(pod) = pods.open(uuid, stage)? else { continue };
        if pod.state() != State::Running {
            continue;
        }
        for app in &pod.manifest().context(format!("error reading pod {uuid}"))?.apps {
            // An image that is not there any more cannot be removed.
            images.extend(store.resolve_key(app.image.id.as_str()).ok());
        }
    }
    Ok(images)
}
