//! Attributes of a mount that nobody uses yet.
//!
//! Responsible for: mount_setattr(2), which no library has. Must not know: what is mounted. Needs Linux 5.12.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Gives a mount these attributes (`MOUNT_ATTR_…`) besides those that it has.
pub fn set(mount: &OwnedFd, attributes: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a NUL-terminated constant and the structure lives through the call, which only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
