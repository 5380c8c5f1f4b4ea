//! `gc`: removes what a pod may have left behind outside its directory.
//!
//! Responsible for: tolerating every state a pod can be in, as often as it is called. Must not know: the pod directory's
//! removal, which is stage0's. Follows rkt-reference 4.5.
//!
//! There is little to do by design: mounts are in name spaces that ended with their processes, but for apps' overlays, which stage0 unmounts
//! with all that is mounted in the pod; sockets are pairs without
//! names; the child processes die with the supervisor, whose end is what lets stage0 call this. Networks and control groups have
//! something to give back.

use std::path::Path;

use crate::error::EntrypointError;
use crate::exit::ExitCode;
use crate::fault;
use crate::flags::GcFlags;
use crate::{groups, network};

/// Collects what the pod in the working directory left.
pub fn run(flags: &GcFlags) -> Result<ExitCode, EntrypointError> {
    let networks = network::tear_down(flags.uuid, flags.local_config.as_deref(), None);
    // Whatever is wrong with the one, the other goes.
    groups::remove(Path::new("."), flags.uuid)?;
    networks?;
    fault::point("gc.done");
    Ok(ExitCode::SUCCESS)
}
