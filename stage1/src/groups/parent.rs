//! In which group the pod's one is made.
//!
//! Responsible for: a place that allows controllers, chosen by rules that docs/machine.md states. Must not know: the pod. Follows
//! cgroup-v2.rst, "No Internal Process Constraint" and "Delegation", and systemd's CGROUP_DELEGATION.md.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::hierarchies::{Controller, Hierarchy, Version};

/// Where systemd keeps machines.
const MACHINES: &str = "machine.slice";

/// There if and only if systemd is the host's service manager (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// Attributes by which a service manager says that a group and what is in it are somebody else's.
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// What to enable controllers with.
const ENABLED: &str = "cgroup.subtree_control";

/// The group for pods, which gives its children all it can.
pub fn of(hierarchy: &Hierarchy) -> io::Result<PathBuf> {
    let own = hierarchy.mount.join(&hierarchy.own);
    match hierarchy.version {
        Version::One => Ok(own),
        Version::Two => second(hierarchy, &own, Path::new(SYSTEMD).is_dir()),
    }
}

/// A group with processes gives its children no controllers, so that of rkt's own process is none to choose: in a subtree that was delegated,
/// it is the topmost group of that; else the place for machines.
fn second(hierarchy: &Hierarchy, own: &Path, systemd: bool) -> io::Result<PathBuf> {
    let inside = own.ancestors().take_while(|group| *group != hierarchy.mount);
    if let Some(delegated) = inside.into_iter().find(|group| is_delegated(group))
        && enable(delegated, &hierarchy.controllers).is_ok()
    {
        return Ok(delegated.to_owned());
    }
    // What cannot be enabled the pod's group will lack, and say so.
    let _ = enable(&hierarchy.mount, &hierarchy.controllers);
    if !systemd {
        return Ok(hierarchy.mount.clone());
    }
    let machines = hierarchy.mount.join(MACHINES);
    match fs::create_dir(&machines) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let _ = enable(&machines, &hierarchy.controllers);
    Ok(machines)
}

fn is_delegated(group: &Path) -> bool {
    DELEGATED.iter().any(|name| {
        let mut value = [0; 1];
        matches!(rustix::fs::getxattr(group, *name, &mut value), Ok(1)) && value == *b"1"
    })
}

/// Has a group give its children these controllers, as far as it has them itself; as many of them as it can.
pub fn enable(group: &Path, controllers: &[Controller]) -> io::Result<()> {
    let has =
        |list: &str, one: &Controller| list.split_whitespace().any(|name| name == one.name(Version::Two));
    let enabled = fs::read_to_string(group.join(ENABLED))?;
    let mut wanted = controllers.iter().filter(|one| !has(&enabled, one)).peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let available = fs::read_to_string(group.join("cgroup.controllers"))?;
    let lacking = wanted.filter(|one| has(&available, one));
    let results = lacking.map(|one| fs::write(group.join(ENABLED), format!("+{}", one.name(Version::Two))));
    results.fold(Ok(()), io::Result::and)
}
