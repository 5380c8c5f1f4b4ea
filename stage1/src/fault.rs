//! Points at which a test may kill stage1.
//!
//! Responsible for: ending this process as if it had crashed, where a test asks for it. Must not know: what any point
//! means. Follows docs/architecture.md, "Crashes"; compiled in with the feature `fault-injection` only, which the
//! product is built without.
//!
//! `fault::point("component.step")` stands right behind the step. A process whose environment has that name in
//! `RKT_FAULT_POINT` dies there of SIGKILL: no destructor runs, no buffer is written out, locks fall as the kernel lets
//! go of them. `RKT_FAULT_HIT=N` means the Nth time it gets there; `RKT_FAULT_TRACE=FILE` notes every point passed.

/// One of the points.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub const fn point(_name: &'static str) {}

/// One of the points.
#[cfg(feature = "fault-injection")]
pub fn point(name: &'static str) {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static HITS: AtomicUsize = AtomicUsize::new(0);

    trace(name);
    if std::env::var_os("RKT_FAULT_POINT").is_none_or(|wanted| wanted != name) {
        return;
    }
    let hit = HITS.fetch_add(1, Ordering::Relaxed) + 1;
    let wanted = std::env::var("RKT_FAULT_HIT").ok().and_then(|number| number.parse().ok()).unwrap_or(1);
    if hit == wanted {
        // If that failed, the test would meet a process that lives on.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(feature = "fault-injection")]
fn trace(name: &str) {
    use std::io::Write;

    let Some(path) = std::env::var_os("RKT_FAULT_TRACE") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    // A line that is missing makes the test say that the point is never reached.
    let _ = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
}
