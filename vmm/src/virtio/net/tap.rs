//! The host's end of a network card: the queues of a tap.
//!
//! Responsible for: making a tap, and asking its kernel for what the driver and the device agreed on. Must not know: virtqueues,
//! what frames contain. Follows Linux's Documentation/networking/tuntap.rst and include/uapi/linux/if_tun.h.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags};

use super::header::HEADER_BYTES;
use crate::Error;

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

/// A queue of a tap in use by a card.
#[derive(Debug)]
pub struct Tap {
    queue: File,
    /// A socket that keeps packets apart may stand in for a tap; it has nothing to choose.
    has_choices: bool,
}

impl Tap {
    /// Takes over `queue`.
    pub fn new(queue: File) -> Self {
        // The driver's choice comes later.
        let has_choices = request_offloads(&queue, 0).is_ok();
        Tap { queue, has_choices }
    }

    /// Where frames are read and written.
    pub fn file(&self) -> &File {
        &self.queue
    }

    /// Whether the kernel knows offloads of UDP, which Linux does since 6.2. It says so by taking them; the driver's choice replaces
    /// these.
    pub fn knows_udp_offloads(&self) -> bool {
        let offloads = libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6;
        !self.has_choices || request_offloads(&self.queue, offloads).is_ok()
    }

    /// Which work on frames the whole tap may leave to who reads them: the `TUN_F_` bits.
    pub fn set_offloads(&self, offloads: libc::c_uint) -> io::Result<()> {
        if self.has_choices { request_offloads(&self.queue, offloads) } else { Ok(()) }
    }

    /// Takes a queue of a tap of several out of use, or into use again: the kernel spreads frames over those in use.
    pub fn set_in_use(&self, in_use: bool) -> io::Result<()> {
        if !self.has_choices {
            return Ok(());
        }
        let flags = if in_use { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
        let request = InterfaceRequest::new("", flags);
        let queue = self.queue.as_raw_fd();
        // SAFETY: the kernel reads one `struct ifreq`, whose size `InterfaceRequest` has.
        answer(unsafe { libc::ioctl(queue, libc::TUNSETQUEUE as libc::Ioctl, &raw const request) })
    }
}

fn request_offloads(queue: &File, offloads: libc::c_uint) -> io::Result<()> {
    let offloads = libc::c_ulong::from(offloads);
    // SAFETY: the request takes an integer and no pointer.
    answer(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETOFFLOAD as libc::Ioctl, offloads) })
}

fn answer(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
