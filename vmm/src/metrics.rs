//! What a machine counts while it runs, and when it came how far.
//!
//! Responsible for: numbers in memory that is shared with the processes forked later, so that whoever watches the machine reads them
//! without asking it. Must not know: who reads them. Follows docs/metrics.md.
//!
//! The one who runs the machine writes them and can write anything: to others they are numbers, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use vm_memory::mmap::MmapRegion;

use crate::Error;
use crate::devices::console_tail::ConsoleTail;
use crate::virtio::net::counters::NetCounters;
use crate::vm::MAX_NETWORK_CARDS;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `amount` more.
    pub fn add(&self, amount: u64) {
        // Each counter stands for itself.
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// When something happened for the first time.
#[derive(Debug, Default)]
pub struct Mark(AtomicU64);

impl Mark {
    /// It happens now.
    pub fn set(&self) {
        // Some things happen with every message: only the first time is asked for.
        if self.get().is_none() {
            let _ = self.0.compare_exchange(0, monotonic_ns(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`, if it has happened.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != 0)
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of every [`Mark`].
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// Why virtual CPUs left the guest, as far as this process had to do something about it.
#[derive(Debug, Default)]
pub struct ExitCounters {
    /// Reads from a port.
    pub port_reads: Counter,
    /// Writes to a port.
    pub port_writes: Counter,
    /// Reads from a device's window.
    pub mmio_reads: Counter,
    /// Writes to a device's window, but for those that the kernel delivers by itself: notifications of queues.
    pub mmio_writes: Counter,
    /// Signals, which stop the machine or the whole process.
    pub interruptions: Counter,
}

/// One virtio device.
#[derive(Debug, Default)]
pub struct DeviceCounters {
    /// Notifications of its queues that this process heard. Zero for queues that another process or the kernel serves.
    pub notifications: Counter,
}

/// When the machine came how far.
#[derive(Debug, Default)]
pub struct MachineMarks {
    /// It is built: KVM, memory, devices, kernel.
    pub built: Mark,
    /// Its first processor enters the guest, whose kernel begins there.
    pub entered: Mark,
}

/// Everything that a machine counts, and what outlives it.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Exits of all virtual CPUs.
    pub exits: ExitCounters,
    /// The shared file system.
    pub fs: DeviceCounters,
    /// The socket device.
    pub vsock: DeviceCounters,
    /// The entropy device.
    pub rng: DeviceCounters,
    /// The balloon.
    pub balloon: DeviceCounters,
    /// Network cards, in the order of the configuration.
    pub net: [DeviceCounters; MAX_NETWORK_CARDS],
    /// What they passed.
    pub cards: [NetCounters; MAX_NETWORK_CARDS],
    /// How far it came.
    pub marks: MachineMarks,
    /// What its kernel said last on its serial port.
    pub console: ConsoleTail,
}

impl Metrics {
    /// All zero, in memory that processes forked later share. It is never given back: there is one machine in a process.
    pub fn shared() -> Result<&'static Self, Error> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        let region =
            MmapRegion::<()>::build(None, size_of::<Self>(), protection, flags).map_err(|error| {
                Error::Os { operation: "map the counters", source: std::io::Error::other(error) }
            })?;
        let region: &'static MmapRegion<()> = Box::leak(Box::new(region));
        // SAFETY: the mapping is as large as a `Metrics`, aligned to a page, never unmapped, and all zero, which is a valid value of
        // the atomic integers that a `Metrics` consists of; whoever shares it changes them as such.
        Ok(unsafe { &*region.as_ptr().cast::<Self>() })
    }
}
