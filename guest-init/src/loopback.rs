//! The loopback interface.
//!
//! Responsible for: 127.0.0.1 and ::1, which the kernel assigns once `lo` is up. Must not know: any other interface.
//! Follows netdevice(7).

use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::InitError;

/// `struct ifreq` of netdevice(7) in the shape SIOCSIFFLAGS reads.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    padding: [u8; 22],
}

/// Brings `lo` up.
pub fn bring_up() -> Result<(), InitError> {
    let doing = "bring up the loopback interface";
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(InitError::kernel(doing))?;
    let mut name = [0; libc::IFNAMSIZ];
    for (slot, byte) in name.iter_mut().zip(b"lo") {
        *slot = *byte;
    }
    // IFF_UP and IFF_RUNNING are 0x41: they fit.
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let request = InterfaceFlags { name, flags, padding: [0; 22] };
    // SAFETY: SIOCSIFFLAGS reads one ifreq (40 bytes on every 64-bit Linux), which `request` is in size and layout.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(InitError::kernel(doing)(std::io::Error::last_os_error())) }
}
