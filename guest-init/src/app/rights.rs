//! What a process may do, whoever it runs as.
//!
//! Responsible for: giving up capabilities for good, and the promise to gain no rights. Must not know: which ones an app
//! gets. Follows capabilities(7), prctl(2) (PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS) and proc_pid_oom_score_adj(5).

use std::io;

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

/// Limits what the calling process and its descendants can ever do to `allowed`, bit N for capability N. What it can do now
/// goes when it becomes another user, or executes a program.
pub fn bound(allowed: u64) -> Result<(), Errno> {
    for number in (0..u64::BITS).filter(|number| allowed & (1 << number) == 0) {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            // The kernel knows no more than these.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sets how readily the kernel kills the calling process and its descendants when memory runs out.
pub fn adjust_oom_score(adjustment: i16) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
}
