//! Even time on the instruction clock, for benches. Does not know what they measure.

use std::fs;
use std::process::{Child, Command};

/// Keeps the machine's CPU busy at the lowest priority there is. The instruction clock leaps to the next timer whenever the
/// CPU is idle, so that a wait of microseconds for the host's disk would count as anything up to seconds; with somebody
/// running, time goes on at its even pace. Where KVM is real there is nothing to even out.
#[derive(Debug)]
pub struct Spinner(Option<Child>);

impl Spinner {
    /// Until this is dropped.
    pub fn start() -> Self {
        let emulated = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"));
        let spin = || Command::new("chrt").args(["--idle", "0", "sh", "-c", "while :; do :; done"]).spawn();
        Self(emulated.then(|| spin().expect("chrt starts")))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
