//! The cgroup a pod runs in.
//!
//! Responsible for: where that is written. Must not know: what a cgroup limits. Follows rkt-reference.md 7.1 and
//! cgroups(7).

use std::fs::File;
use std::io::Read;

use crate::pod::locate::FoundPod;
use crate::pod::state::State;

/// A path of cgroup directories; each name has at most 255 bytes and they are nested a few levels deep.
const MAX_PATH_BYTES: u64 = 4096;
/// `/proc/PID/cgroup`: a line for each of a dozen hierarchies.
const MAX_LIST_BYTES: u64 = 64 * 1024;
/// What systemd appends for its own processes when it is the first in a container or in stage1.
const INIT_SCOPE: &str = "/init.scope";

/// What stage1 left in `subcgroup`, else where the pod's process is. `pid` is the pod's.
pub fn of(pod: &FoundPod, pid: i32) -> Option<String> {
    if let Ok(bytes) = pod.read("subcgroup", MAX_PATH_BYTES) {
        let text = String::from_utf8(bytes).ok()?;
        let path = text.trim();
        return Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") });
    }
    if pod.state() != State::Running || pid <= 0 {
        return None;
    }
    let mut list = String::new();
    File::open(format!("/proc/{pid}/cgroup")).ok()?.take(MAX_LIST_BYTES).read_to_string(&mut list).ok()?;
    find(&list)
}

/// The path in systemd's own hierarchy, else in the unified one.
fn find(list: &str) -> Option<String> {
    let path_in = |hierarchy: &str| {
        list.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            (fields.next()? == hierarchy).then(|| fields.next()).flatten()
        })
    };
    let path = path_in("name=systemd").or_else(|| path_in(""))?;
    Some(path.strip_suffix(INIT_SCOPE).unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_hierarchy_comes_before_the_unified_one() {
        let both = "4:memory:/other\n1:name=systemd:/machine.slice/pod.scope/init.scope\n0::/unified\n";

        assert_eq!(find(both).as_deref(), Some("/machine.slice/pod.scope"));
        assert_eq!(find("0::/user.slice/a:b\n").as_deref(), Some("/user.slice/a:b"));
        assert_eq!(find("4:memory:/other\n"), None);
    }
}
