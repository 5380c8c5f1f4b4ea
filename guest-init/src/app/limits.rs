//! Resource limits of apps and of the commands in them.
//!
//! Responsible for: the same values in every VM, whatever its size. Must not know: control groups, which limit what an app
//! uses as a whole. Follows getrlimit(2), and what systemd 241 gave to rkt's apps where it does not depend on the machine.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

const UNLIMITED: Rlimit = Rlimit { current: None, maximum: None };

const fn at_most(limit: u64) -> Rlimit {
    Rlimit { current: Some(limit), maximum: Some(limit) }
}

/// Every limit there is.
pub const LIMITS: [(Resource, Rlimit); 16] = [
    (Resource::As, UNLIMITED),
    // None is written unless the app asks for it: systemd threw them away, and an app's root file system is no place for them.
    (Resource::Core, Rlimit { current: Some(0), maximum: None }),
    (Resource::Cpu, UNLIMITED),
    (Resource::Data, UNLIMITED),
    (Resource::Fsize, UNLIMITED),
    (Resource::Locks, UNLIMITED),
    (Resource::Memlock, at_most(8 * MIB)),
    (Resource::Msgqueue, at_most(800 * KIB)),
    (Resource::Nice, at_most(0)),
    (Resource::Nofile, Rlimit { current: Some(1024), maximum: Some(512 * KIB) }),
    // It would count what other apps run as the same user; the control group limits each app.
    (Resource::Nproc, UNLIMITED),
    (Resource::Rss, UNLIMITED),
    (Resource::Rtprio, at_most(0)),
    (Resource::Rttime, UNLIMITED),
    // The kernel's own depends on the size of the machine; this is that of one with 2 GiB.
    (Resource::Sigpending, at_most(8 * KIB)),
    (Resource::Stack, Rlimit { current: Some(8 * MIB), maximum: None }),
];

/// Descriptors that PID 1 may have: it holds about ten for each app of a pod, of which there may be a thousand, and what an app's
/// processes begin with is a copy of them. The kernel gives its first process 1024.
const OWN_DESCRIPTORS: u64 = 64 * KIB;

/// Raises the limit of PID 1 itself.
pub fn raise_own() -> Result<(), Errno> {
    rustix::process::setrlimit(Resource::Nofile, at_most(OWN_DESCRIPTORS))
}

/// Sets them for the calling process, which has CAP_SYS_RESOURCE.
pub fn set() -> Result<(), Errno> {
    LIMITS.into_iter().try_for_each(|(resource, limit)| rustix::process::setrlimit(resource, limit))
}
