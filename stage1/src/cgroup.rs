//! The control group that the pod runs in.
//!
//! Responsible for: what to write into `subcgroup`. Must not know: who reads it. Follows cgroups(7), /proc/PID/cgroup, and
//! rkt-reference 2.2 and 6.12: a pod has the group of the `rkt run` that started it.

/// The path of a process's group below the root of a hierarchy, from the content of its `/proc/PID/cgroup`: systemd's own where
/// the old hierarchies are mounted, else the only one.
pub fn path(text: &str) -> Option<&str> {
    let of = |controllers: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (found, path) = rest.split_once(':')?;
            (found == controllers).then(|| path.trim_start_matches('/'))
        })
    };
    of("name=systemd").or_else(|| of(""))
}
