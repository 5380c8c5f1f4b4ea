//! What happens to pods and images, as a stream.
//!
//! Responsible for: noticing it in the files that every rkt leaves, and remembering it for whoever listens. Must not know: gRPC.
//! Follows rkt-reference.md 7.1, inotify(7).
//!
//! rkt has no daemon, so nobody reports anything: pods are watched where they are, by inotify. What inotify says is only taken as a
//! hint *where* to look. An event is the difference between what was seen before and what is there now, so it does not matter whether
//! hints are lost, late or wrong, and a look at everything makes up for all of them ([`progress`]).

mod history;
mod image_watch;
mod listener;
mod notices;
mod pod_watch;
mod progress;

#[cfg(test)]
mod history_test;
#[cfg(test)]
mod pod_watch_test;
#[cfg(test)]
mod progress_test;

pub use history::History;
pub use listener::listen;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::log::Log;

/// How often everything is looked at although nothing was noticed, in case that something was overlooked.
const SWEEP: Duration = Duration::from_secs(30);
/// The same while not everything can be watched.
const UNWATCHED_SWEEP: Duration = Duration::from_secs(1);

/// Begins to watch. What is there already is no event. Returns when everything that happens from now on will be noticed.
pub fn watch(data: PathBuf, log: Log) -> std::io::Result<Arc<History>> {
    allow_many_descriptors();
    let history = Arc::new(History::default());
    pod_watch::start(&data, Arc::clone(&history), log)?;
    image_watch::start(data, Arc::clone(&history), log)?;
    Ok(history)
}

/// A descriptor is held for each running pod, and another for each connection: a host with a thousand pods needs more than the
/// usual 1,024. As many as may be had are enough, however many that is.
fn allow_many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // The usual ones are enough for most hosts.
    let _: rustix::io::Result<()> =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
