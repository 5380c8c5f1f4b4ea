//! Becoming one particular pod: host name, clock, randomness.
//!
//! Responsible for: everything that must differ between two VMs cloned from one template, done before any app starts.
//! Must not know: apps, what clocks there are. Follows random(4).

use std::os::fd::AsRawFd;

use guest_api::Identity;
use rustix::fs::{Mode, OFlags};

use crate::{InitError, clock};

/// `struct rand_pool_info` of random(4) with room for exactly one identity's worth.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    bytes: libc::c_int,
    data: [u8; 32],
}

const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// Takes on the identity; its entropy is wiped once it has been credited.
pub fn assume(identity: &mut Identity) -> Result<(), InitError> {
    credit_entropy(&identity.entropy)?;
    identity.entropy.fill(0);
    // The wiped array is never read again; without this the compiler may leave the secret where it was.
    std::hint::black_box(&identity.entropy);
    clock::set(identity.realtime_ns)?;
    rustix::system::sethostname(identity.hostname.as_bytes())
        .map_err(InitError::kernel(format!("set the host name to {:?}", identity.hostname)))
}

fn credit_entropy(data: &[u8; 32]) -> Result<(), InitError> {
    let doing = "credit the host's entropy";
    let random = rustix::fs::open("/dev/urandom", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(InitError::kernel(doing))?;
    let mut pool = PoolInfo { entropy_bits: 256, bytes: 32, data: *data };
    // SAFETY: RNDADDENTROPY reads a rand_pool_info and the number of bytes it announces; `pool` is one, with as many.
    let credited = unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, &raw const pool) };
    let outcome = if credited == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    pool.data.fill(0);
    std::hint::black_box(&pool);
    outcome.map_err(InitError::kernel(doing))?;
    // Without a reseed the generator of a cloned VM keeps its inherited key for up to a minute.
    // SAFETY: RNDRESEEDCRNG takes no argument.
    let reseeded = unsafe { libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG) };
    if reseeded == 0 { Ok(()) } else { Err(InitError::kernel(doing)(std::io::Error::last_os_error())) }
}
