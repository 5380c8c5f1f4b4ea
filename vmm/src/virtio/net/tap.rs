//! The host's end of a network card: the queues of a tap.
//!
//! Responsible for: making a tap, and asking its kernel for what the driver and the device agreed on. Must not know: virtqueues,
//! what frames contain. Follows Linux's Documentation/networking/tuntap.rst and include/uapi/linux/if_tun.h.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags};

use crate::Error;

/// Bytes of a header in virtio 1.
const HEADER_BYTES: usize = 12;
/// Where taps are made.
const TUN_DEVICE: &str = "/dev/net/tun";
/// Bytes of an interface name without its terminating zero (`IFNAMSIZ`).
const MAX_NAME_BYTES: usize = libc::IFNAMSIZ - 1;
/// Queue pairs of one card: as many as virtual CPUs make use of before the one thread that serves them is the limit.
pub const MAX_QUEUE_PAIRS: usize = 8;

/// The part of `struct ifreq` that tap requests use, padded to the size the kernel copies.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    padding: [u8; 22],
}

impl InterfaceRequest {
    fn new(name: &str, flags: libc::c_int) -> Self {
        let mut request = Self { name: [0; libc::IFNAMSIZ], flags: flags as libc::c_short, padding: [0; 22] };
        for (slot, byte) in request.name.iter_mut().zip(name.bytes().take(MAX_NAME_BYTES)) {
            *slot = byte;
        }
        request
    }
}

/// Makes the tap `name` in the network name space of the calling thread, or opens it if it exists, and returns one descriptor for each
/// of its queues, as [`crate::NetConfig::queues`] wants them. A tap that this makes ends with its last descriptor. Takes the right
/// to configure the network (`CAP_NET_ADMIN`) in that name space; using the descriptors takes none.
pub fn open_tap(name: &str, queue_pairs: usize) -> Result<Vec<File>, Error> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Error::Config(format!("tap name {name:?} has not 1 to {MAX_NAME_BYTES} bytes")));
    }
    if !(1..=MAX_QUEUE_PAIRS).contains(&queue_pairs) {
        return Err(Error::Config(format!("{queue_pairs} queue pairs, want 1 to {MAX_QUEUE_PAIRS}")));
    }
    (0..queue_pairs).map(|_| open_queue(name, queue_pairs > 1)).collect()
}

fn open_queue(name: &str, multi_queue: bool) -> Result<File, Error> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let queue = rustix::fs::open(TUN_DEVICE, flags, Mode::empty())
        .map(File::from)
        .map_err(Error::os("open /dev/net/tun"))?;
    let several = if multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    let request = InterfaceRequest::new(name, libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several);
    // SAFETY: the kernel reads and writes one `struct ifreq`, whose size `InterfaceRequest` has.
    answer(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw const request) })
        .map_err(Error::os("make a tap"))?;
    set_header_size(&queue).map_err(Error::os("set the header size of a tap"))?;
    Ok(queue)
}

/// Frames of the tap come with the header of virtio 1.
pub fn set_header_size(queue: &File) -> io::Result<()> {
    let bytes = HEADER_BYTES as libc::c_int;
    // SAFETY: the kernel reads one int.
    answer(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ as libc::Ioctl, &raw const bytes) })
}

fn answer(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
