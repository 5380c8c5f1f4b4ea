//! The kernel console: the first line, and last words.
//!
//! Responsible for: making guest-init heard when there is no control connection, and never failing because there is no
//! console. Must not know: the pod; nothing of it may appear on a console that a debugger shares.

use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags};

use crate::sockets::RESERVED;

/// The line the boot benches time: the first thing guest-init does.
pub fn first_line() {
    write_line(concat!("guest-init ", env!("CARGO_PKG_VERSION")));
}

/// Says something a debugger wants to know.
pub fn say(text: &str) {
    write_line(&format!("guest-init: {text}"));
}

/// Gives the descriptors an owner that processes of apps have things of their own at: 0, 1 and 2, and those of sockets that they
/// are started with. Without a console the kernel starts PID 1 with all of them closed, and the first pipes of an app
/// would land there and be overwritten when the next app gets its own.
pub fn occupy_low_descriptors() {
    while let Ok(descriptor) = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        if descriptor.as_raw_fd() >= RESERVED.end {
            break;
        }
        std::mem::forget(descriptor);
    }
}

fn write_line(text: &str) {
    // Non-blocking: a console that nobody drains must not stop the pod.
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(console) = rustix::fs::open("/dev/console", flags, Mode::empty()) else { return };
    let _ = rustix::io::write(&console, format!("{text}\n").as_bytes());
}
