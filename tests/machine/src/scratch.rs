//! The directory of one run on the host: sockets, the disk's image, the console's log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::MachineError;

const PREFIX: &str = "run-";

/// Tells the runs of one process apart, which may be at the same time.
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// A directory that goes away with its value.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a directory of this process below `cache`, and removes those of processes that were killed.
    pub(crate) fn create(cache: &Path) -> Result<Self, MachineError> {
        remove_abandoned(cache);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = cache.join(format!("{PREFIX}{}-{run}", process::id()));
        let failed = |source| MachineError::File { action: "make", path: path.clone(), source };
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed)?;
        }
        fs::create_dir_all(&path).map_err(failed)?;
        Ok(Self { path })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove_abandoned(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = pid.split('-').next().unwrap_or(pid);
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
