//! `--hypervisor-options`: what the hypervisor is to do otherwise than it does by itself.
//!
//! Responsible for: its form and what a rate means in buckets. Must not know: networks, what the VMM does with it. Follows
//! docs/networking.md, "Network cards".

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use vmm::{NetLimits, Rate};

/// Where the host's kernel offers to serve network cards.
pub const VHOST_NET_DEVICE: &str = "/dev/vhost-net";

/// What passes at once after a pause: a tenth of a second's worth, so that a window of TCP over some distance fits in, and at least ...
const BURSTS_PER_SECOND: u64 = 10;
/// ... the largest frame, ...
const LEAST_BURST_BYTES: u64 = 64 * 1024;
/// ... or its packets.
const LEAST_BURST_PACKETS: u64 = 64;

/// The host's kernel does not serve network cards.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}, which --hypervisor-options=vhost-net needs (modprobe vhost_net loads its module)", path.display())]
pub struct VhostNetError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// The options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HypervisorOptions {
    /// The host's kernel serves the network cards.
    pub vhost_net: bool,
    /// What each network card passes.
    pub limits: NetLimits,
}

impl HypervisorOptions {
    /// Parses `OPTION[=NUMBER],...`. `None` if that is not what it is, or if limits are asked of the host's kernel, which keeps none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut options = Self::default();
        for option in text.split(',') {
            let (name, number) = match option.split_once('=') {
                None if option == "vhost-net" => {
                    options.vhost_net = true;
                    continue;
                }
                None => return None,
                Some((name, number)) => (name, number.parse().ok()?),
            };
            let NetLimits { receive, transmit } = &mut options.limits;
            let (place, least_burst) = match name {
                "net-rx-bytes" => (&mut receive.bytes, LEAST_BURST_BYTES),
                "net-rx-packets" => (&mut receive.packets, LEAST_BURST_PACKETS),
                "net-tx-bytes" => (&mut transmit.bytes, LEAST_BURST_BYTES),
                "net-tx-packets" => (&mut transmit.packets, LEAST_BURST_PACKETS),
                _ => return None,
            };
            *place = Some(rate(number, least_burst)?);
        }
        (!options.vhost_net || options.limits == NetLimits::default()).then_some(options)
    }

    /// Opens the [`VHOST_NET_DEVICE`] at `path` once for each of `count` pairs of queues, if it is to be used.
    pub fn open_vhost_net(&self, path: &Path, count: usize) -> Result<Vec<File>, VhostNetError> {
        let open = |_| {
            let device = File::options().read(true).write(true).open(path);
            device.map_err(|cause| VhostNetError { path: path.to_owned(), cause })
        };
        (0..count).filter(|_| self.vhost_net).map(open).collect()
    }
}

fn rate(per_second: NonZeroU64, least_burst: u64) -> Option<Rate> {
    let burst = (per_second.get() / BURSTS_PER_SECOND).max(least_burst);
    Some(Rate { per_second, burst: NonZeroU64::new(burst)? })
}
