//! The wall clock.
//!
//! Responsible for: taking over the host's time, and following it when the host says that the two may have parted. Must not
//! know: when that is. Follows clock_settime(2), adjtimex(2) and KVM's clock pairing (Linux's
//! Documentation/virt/kvm/x86/hypercalls.rst).

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, DynamicClockId, Timespec};

use crate::InitError;

const NANOSECONDS: i128 = 1_000_000_000;
const MICROSECOND: i128 = 1_000;

/// The host's clock, where its KVM shows it: exact to microseconds, however long a message takes.
const HOST_CLOCK: &str = "/dev/ptp0";

/// Errors from here on are corrected at once; smaller ones by going faster or slower, so that no program sees time stand still
/// or jump. It is what NTP's own daemons do from 128 ms on; the kernel takes 256 s for as much.
const STEP: i128 = 128_000_000;

/// How wrong a time may be that a message brought: on a busy host it was on its way that long.
const MESSAGE_TOLERANCE: i128 = 100_000_000;

/// What becomes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// It is none that could be told from noise.
    None,
    /// Make it up bit by bit; in microseconds, positive when the guest is behind.
    Slew(i64),
    /// Set the clock.
    Step,
}

/// What the host's clock shows, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    realtime_ns: i128,
    tolerance_ns: i128,
}

/// Sets the clock to the host's, which showed `told_ns` when the host wrote that down.
pub fn set(told_ns: u64) -> Result<(), InitError> {
    set_to(host(told_ns).realtime_ns)
}

/// Follows the host's clock, which showed `told_ns` when the host wrote that down.
pub fn follow(told_ns: u64) -> Result<(), InitError> {
    let host = host(told_ns);
    match correction(
        host.realtime_ns - nanoseconds(rustix::time::clock_gettime(ClockId::Realtime)),
        host.tolerance_ns,
    ) {
        Correction::None => Ok(()),
        Correction::Slew(microseconds) => slew(microseconds),
        Correction::Step => set_to(host.realtime_ns),
    }
}

/// What to do about an error of `error_ns` (positive when the guest is behind) that is known this well.
pub fn correction(error_ns: i128, tolerance_ns: i128) -> Correction {
    if error_ns.abs() <= tolerance_ns {
        Correction::None
    } else if error_ns.abs() < STEP {
        i64::try_from(error_ns / MICROSECOND).map_or(Correction::Step, Correction::Slew)
    } else {
        Correction::Step
    }
}

fn host(told_ns: u64) -> Reading {
    match host_clock() {
        Ok(time) => Reading { realtime_ns: nanoseconds(time), tolerance_ns: MICROSECOND },
        // A host whose own clock is not the processor's does not show it.
        Err(_) => Reading { realtime_ns: told_ns.into(), tolerance_ns: MESSAGE_TOLERANCE },
    }
}

fn host_clock() -> Result<Timespec, Errno> {
    let device = rustix::fs::open(HOST_CLOCK, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::time::clock_gettime_dynamic(DynamicClockId::Dynamic(std::os::fd::AsFd::as_fd(&device)))
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * NANOSECONDS + i128::from(time.tv_nsec)
}

fn set_to(realtime_ns: i128) -> Result<(), InitError> {
    let out_of_range = |_| InitError::Specification(format!("{realtime_ns} ns is no wall clock time"));
    let time = Timespec {
        tv_sec: i64::try_from(realtime_ns.div_euclid(NANOSECONDS)).map_err(out_of_range)?,
        tv_nsec: i64::try_from(realtime_ns.rem_euclid(NANOSECONDS)).map_err(out_of_range)?,
    };
    rustix::time::clock_settime(ClockId::Realtime, time).map_err(InitError::kernel("set the clock"))
}

fn slew(microseconds: i64) -> Result<(), InitError> {
    // SAFETY: a timex of zeros is a valid one: all of its fields are numbers.
    let mut adjustment: libc::timex = unsafe { std::mem::zeroed() };
    adjustment.modes = libc::ADJ_OFFSET_SINGLESHOT;
    adjustment.offset = microseconds;
    // SAFETY: the call reads and writes the one structure, which lives through it.
    let result = unsafe { libc::adjtimex(&raw mut adjustment) };
    if result >= 0 {
        Ok(())
    } else {
        Err(InitError::kernel("adjust the clock")(std::io::Error::last_os_error()))
    }
}
