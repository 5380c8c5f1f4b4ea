//! The end of a pod's control groups.
//!
//! Responsible for: removing groups whose last process may take a moment to end, in a process of its own if need be; as often as it is
//! called. Must not know: what the groups are for. Follows cgroups(7), "Cgroup removal"; docs/architecture.md, "Crashes".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use uuid::Uuid;

use super::{GroupError, LEAF, RECORD, name_of};
use crate::fault;
use crate::process;

/// How long processes of a pod that is over may take to be gone: KVM takes a virtual machine apart in some ten milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often they are looked after.
const PAUSE: Duration = Duration::from_millis(5);

/// Removes the groups of the pod in `directory`, which is over; does nothing if there are none.
pub fn remove(directory: &Path, uuid: Uuid) -> Result<(), GroupError> {
    let record = match fs::read_to_string(directory.join(RECORD)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        record => record.map_err(GroupError::Record)?,
    };
    // Nobody but this pod has groups of the name, whatever the file says.
    let own = record.lines().map(PathBuf::from).filter(|path| path.ends_with(name_of(uuid)));
    let mut result = Ok(());
    for path in own {
        // Whatever is in there lost its supervisor.
        let _ = fs::write(path.join("cgroup.kill"), "1");
        if let Err(cause) = remove_within(&path, PATIENCE) {
            result = Err(GroupError::Removal { path, cause });
        }
        fault::point("groups.removed");
    }
    if result.is_ok() {
        // As long as it is there, so may groups be: rkt keeps the pod.
        fs::remove_file(directory.join(RECORD)).map_err(GroupError::Record)?;
        fault::point("groups.forgotten");
    }
    result
}

/// Removes groups whose processes are ending, without waiting for them. What cannot be removed is gc's.
pub fn remove_soon(uuid: Uuid, mut groups: Vec<PathBuf>) {
    groups.retain(|path| path.ends_with(name_of(uuid)) && remove_within(path, Duration::ZERO).is_err());
    if !groups.is_empty() {
        process::detached(|| {
            for path in &groups {
                let _ = remove_within(path, PATIENCE);
            }
        });
    }
}

fn remove_within(path: &Path, patience: Duration) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match attempt(path) {
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                if begun.elapsed() >= patience {
                    return Err(error);
                }
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Removes a group that no process is in.
pub fn attempt(path: &Path) -> io::Result<()> {
    for group in [path.join(LEAF), path.to_owned()] {
        match fs::remove_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
