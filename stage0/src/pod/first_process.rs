//! The process of a running pod that stage1's enter is told.
//!
//! Responsible for: `pid`, or the single child of `ppid`, as soon as stage1 has written either. Must not know: what that
//! process is. Follows rkt-reference.md 4.3 (3) and 4.4.

use std::path::Path;
use std::time::Duration;

use super::locate::{FoundPod, Pods};
use super::state::State;
use crate::error::{Result, Stage0Error};

/// How often the pod's files are looked at.
const POLL: Duration = Duration::from_millis(100);

/// Waits for the process while the pod runs.
pub fn wait(pods: &Pods, pod: &FoundPod) -> Result<i32> {
    loop {
        // Through the open directory: it stays the pod's, wherever gc moves it.
        if let Some(pid) = find(pod)? {
            return Ok(pid);
        }
        if !pod.again(pods)?.is_some_and(|pod| pod.state() == State::Running) {
            return Err(Stage0Error::refused(format!("pod {} is no longer running", pod.uuid())));
        }
        std::thread::sleep(POLL);
    }
}

/// `None` as long as stage1 is not so far.
fn find(pod: &FoundPod) -> Result<Option<i32>> {
    if let Some(pid) = pod.number_in("pid") {
        return Ok(Some(pid));
    }
    let Some(parent) = pod.number_in("ppid") else { return Ok(None) };
    match children(Path::new("/proc"), parent).as_slice() {
        [] => Ok(None),
        [child] => Ok(Some(*child)),
        _ => Err(Stage0Error::refused(format!("too many children of pid {parent}"))),
    }
}

/// The children of a process; none when it is gone. One file lists them where the kernel has it (CONFIG_PROC_CHILDREN).
fn children(proc: &Path, parent: i32) -> Vec<i32> {
    let list = proc.join(format!("{parent}/task/{parent}/children"));
    if let Ok(list) = std::fs::read_to_string(list) {
        return list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(proc, *pid) == Some(parent))
        .collect()
}

/// The fourth field of `stat`, counted from the end of the program's name, which may hold anything (proc(5)).
fn parent_of(proc: &Path, pid: i32) -> Option<i32> {
    let stat = std::fs::read(proc.join(format!("{pid}/stat"))).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: i32, stat: &str) {
        std::fs::create_dir(proc.join(pid.to_string())).unwrap();
        std::fs::write(proc.join(format!("{pid}/stat")), stat).unwrap();
    }

    #[test]
    fn children_are_found_without_the_kernels_list_whatever_their_names_are() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), 10, "10 (init) S 1 10 10 0");
        process(proc.path(), 11, "11 (a) S 1 (b) R 10 11 11 0");
        process(proc.path(), 12, "12 (c) S 11 12 12 0");
        std::fs::write(proc.path().join("version"), "").unwrap();

        assert_eq!(children(proc.path(), 10), [11]);
        assert_eq!(children(proc.path(), 99), Vec::<i32>::new());
    }

    #[test]
    fn the_kernels_list_is_used_where_there_is_one() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(proc.path().join("10/task/10")).unwrap();
        std::fs::write(proc.path().join("10/task/10/children"), "11 12 ").unwrap();

        assert_eq!(children(proc.path(), 10), [11, 12]);
    }
}
