//! Noticing that the guest's clock may have parted from the host's.
//!
//! Responsible for: one timer of the kernel that fires when the host's clock is set, when the host wakes up, and else so rarely
//! that an idle pod stays idle. Must not know: the guest. Follows timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Seconds until the clocks are compared although nothing has happened: a guest counts the processor's ticks, of which the
/// host's NTP knows better how many make a second. They part by some 50 microseconds a second at worst, which makes 15 ms, less
/// than the guest's kernel makes up in that time.
const COMPARE_SECONDS: i64 = 300;

/// The timer.
#[derive(Debug)]
pub struct HostClock(OwnedFd);

impl HostClock {
    /// A timer that is set.
    pub fn watch() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let clock = Self(timerfd_create(TimerfdClockId::Realtime, flags)?);
        clock.set()?;
        Ok(clock)
    }

    /// Becomes readable when it is time.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether it is time to compare the clocks. Sets the timer anew if so.
    pub fn has_news(&self) -> io::Result<bool> {
        let mut expirations = [0; 8];
        match rustix::io::read(&self.0, &mut expirations) {
            // It passed, or the clock was set.
            Ok(_) | Err(Errno::CANCELED) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        self.set()?;
        Ok(true)
    }

    fn set(&self) -> io::Result<()> {
        let now = clock_gettime(ClockId::Realtime);
        let at = Timespec { tv_sec: now.tv_sec.saturating_add(COMPARE_SECONDS), tv_nsec: now.tv_nsec };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.0, flags, &once)?;
        Ok(())
    }
}
