//! `rkt image rm`.
//!
//! Responsible for: removing the images a user names, and saying so. Must not know: the order files are removed in. Follows
//! rkt-reference.md 1.6.

use super::{find, open_store};
use crate::cli::EXIT_FAILURE;
use crate::cli::globals::GlobalFlags;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::output;
use crate::store::{ImageStore, Key};

/// Flags of `rkt image rm`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    images: Vec<String>,
}

/// Removes each image; those that can be removed are, whatever happens to the others. As in rkt, an image that is not there
/// is reported and fails nothing: it is as gone as it should be.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    if arguments.images.is_empty() {
        return Err(Stage0Error::refused("must provide at least one image ID"));
    }
    let store = open_store(globals)?;
    let mut keys: Vec<(Key, String)> = Vec::new();
    for image in &arguments.images {
        match resolve(&store, image) {
            Ok((key, _)) if keys.iter().any(|(known, _)| *known == key) => {}
            Ok(found) => keys.push(found),
            Err(error) => log.error(&error),
        }
    }
    let mut tally = Tally::default();
    for (key, name) in keys {
        match store.remove(&key) {
            Ok(removed) => tally.removed(&key, removed.stale_files, log),
            Err(error) => {
                tally.failed += 1;
                let what = format!("error removing aci for image {:?} ({name:?})", key.as_str());
                log.error(&Stage0Error::Failed { what, cause: error.into() });
            }
        }
    }
    Ok(tally.conclude(log))
}

fn resolve(store: &ImageStore, image: &str) -> Result<(Key, String)> {
    let key = find(store, image)?;
    let info =
        store.info(&key).context(format!("error retrieving aci infos for image {:?}", key.as_str()))?;
    Ok((key, info.map(|info| info.name).unwrap_or_default()))
}

/// What became of several images.
#[derive(Debug, Default)]
pub(super) struct Tally {
    done: usize,
    stale: usize,
    failed: usize,
}

impl Tally {
    /// Reports an image that is gone.
    pub fn removed(&mut self, key: &Key, stale_files: bool, log: Log) {
        if stale_files {
            self.stale += 1;
            log.print(format!("some files cannot be removed for image {:?}", key.as_str()));
        }
        output::print(&format!("successfully removed aci for image: {:?}", key.as_str()));
        self.done += 1;
    }

    /// Sums up; the exit code.
    pub fn conclude(&self, log: Log) -> u8 {
        if self.done > 0 {
            log.print(format!("{} image(s) successfully removed", self.done));
        }
        if self.stale > 0 {
            log.print(format!("{} image(s) removed but left some stale files", self.stale));
        }
        if self.failed > 0 {
            log.print(format!("{} image(s) cannot be removed", self.failed));
        }
        if self.stale + self.failed == 0 {
            return 0;
        }
        log.print("error(s) found while removing images");
        EXIT_FAILURE
    }
}
