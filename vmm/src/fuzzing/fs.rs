//! What a file server says that fell to its guest.
//!
//! Responsible for: the front end of vhost-user against answers of which every byte is the input's. Must not know: files. Follows the
//! vhost-user protocol in QEMU's docs/interop/vhost-user.rst, from the back end's side.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::rings::shared_ram;
use crate::FsConfig;
use crate::exit::ExitLatch;
use crate::virtio::device::{Activation, FEATURES_COMMON, Interrupt, VirtioDevice};
use crate::virtio::fs::Fs;
use crate::virtio::queue::QueueSetup;

/// Descriptors, available ring and used ring of one queue.
const QUEUE_BYTES: u64 = 0x4000;

/// The device starts, stops and starts again with whatever it is told, and offers the guest nothing that it does not know. Deep: it
/// starts a second time.
pub fn file_server_answers(data: &[u8]) -> bool {
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return false };
    // All answers are there before the questions, and nothing comes after them.
    if theirs.write_all(data).and_then(|()| theirs.shutdown(Shutdown::Write)).is_err() {
        return false;
    }
    let Ok(exit) = ExitLatch::new().map(Arc::new) else { return false };
    let config = FsConfig { tag: "rkt".to_owned(), backend: ours };
    let Ok(mut device) = Fs::new(config, exit) else { return false };
    assert_eq!(device.features() & !FEATURES_COMMON, 0, "an unknown feature is offered");
    device.outside_event(0);
    let first = start(&mut device);
    device.reset();
    device.outside_event(0);
    start(&mut device) && first
}

fn start(device: &mut Fs) -> bool {
    let event = || EventFd::new(EFD_NONBLOCK);
    let (Ok(interrupt), Ok(first), Ok(second)) = (event(), event(), event()) else { return false };
    shared_ram(|ram| {
        let queues = (0..2).map(|queue| {
            let descriptors = queue * QUEUE_BYTES;
            let (available, used) = (descriptors + 0x1000, descriptors + 0x2000);
            let setup = QueueSetup { size: 128, ready: true, descriptors, available, used };
            setup.build(ram, 128, false).ok().flatten()
        });
        let activation = Activation {
            ram: ram.clone(),
            queues: queues.collect(),
            features: device.features(),
            interrupt: Arc::new(Interrupt::new(interrupt)),
            kicks: Arc::new([first, second]),
        };
        device.activate(activation).is_ok()
    })
}
