//! Whether packets of the host's loopback may leave by an interface.
//!
//! Responsible for: the setting `route_localnet`, which is off unless a pod's ports need it, and off again when the last such pod is
//! gone. Must not know: ports. Follows Linux, Documentation/networking/ip-sysctl.rst.
//!
//! An interface that pods share, a bridge, outlives each of them. Who turned the setting on is kept where it cannot get lost: in the
//! name of a chain of the pod's own table, which the kernel keeps.

use std::io;
use std::path::PathBuf;

/// What the names of chains begin with that say: this interface's setting is on because of the pod whose table it is.
const MARK: &str = "route_localnet.";

/// Longest name of an interface (linux/if.h, IFNAMSIZ without the NUL).
const MAX_INTERFACE_NAME: usize = 15;

/// The chain that says so.
pub fn mark(interface: &str) -> String {
    format!("{MARK}{interface}")
}

/// The interface whose setting a chain of this name is about.
pub fn interface_of(chain: &str) -> Option<&str> {
    chain.strip_prefix(MARK)
}

/// Whether the setting is on.
pub fn get(interface: &str) -> io::Result<bool> {
    Ok(std::fs::read(path(interface)?)?.first() == Some(&b'1'))
}

/// Changes the setting.
pub fn set(interface: &str, on: bool) -> io::Result<()> {
    std::fs::write(path(interface)?, if on { "1" } else { "0" })
}

/// The name becomes part of a path.
fn path(interface: &str) -> io::Result<PathBuf> {
    let valid = !interface.is_empty()
        && interface.len() <= MAX_INTERFACE_NAME
        && !interface.contains('/')
        && !matches!(interface, "." | ".." | "all" | "default");
    if !valid {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(PathBuf::from(format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet")))
}
