use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::exit::ExitLatch;
use crate::memory;
use crate::virtio::device::{Activation, FEATURES_COMMON, Interrupt, VirtioDevice};
use crate::virtio::fs::Fs;
use crate::virtio::queue::QueueSetup;
use crate::{Error, FsConfig};

/// Answers the messages of a negotiation as a back end with these features does, then closes.
fn backend(features: u64, protocol: u64) -> (UnixStream, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let answers = thread::spawn(move || {
        let mut stream = theirs;
        let mut header = [0u8; 12];
        while stream.read_exact(&mut header).is_ok() {
            let request = u32::from_le_bytes(header[..4].try_into().unwrap());
            let mut body = vec![0; u32::from_le_bytes(header[8..].try_into().unwrap()) as usize];
            stream.read_exact(&mut body).unwrap();
            let value = match request {
                1 => features,
                15 => protocol,
                _ => continue,
            };
            let mut reply = Vec::new();
            for word in [request, 0x5, 8] {
                reply.extend_from_slice(&word.to_le_bytes());
            }
            reply.extend_from_slice(&value.to_le_bytes());
            stream.write_all(&reply).unwrap();
        }
    });
    (ours, answers)
}

fn create(tag: &str, features: u64) -> (Result<Fs, Error>, Arc<ExitLatch>, JoinHandle<()>) {
    let protocol = VhostUserProtocolFeatures::MQ.bits() | VhostUserProtocolFeatures::CONFIG.bits();
    let (stream, answers) = backend(features, protocol);
    let exit = Arc::new(ExitLatch::new().unwrap());
    (Fs::new(FsConfig { tag: tag.to_owned(), backend: stream }, exit.clone()), exit, answers)
}

const OFFERED: u64 = FEATURES_COMMON | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() | 1 << 26;

#[test]
fn configuration_is_the_padded_tag_and_one_request_queue() {
    let (fs, ..) = create("rootfs", OFFERED);

    let fs = fs.unwrap();
    assert_eq!(fs.config().len(), 40);
    assert_eq!(&fs.config()[..8], b"rootfs\0\0");
    assert_eq!(&fs.config()[36..], [1, 0, 0, 0]);
}

#[test]
fn guest_is_offered_only_what_the_device_and_the_file_server_know() {
    let (fs, ..) = create("rootfs", OFFERED);

    assert_eq!(fs.unwrap().features(), FEATURES_COMMON);
}

#[test]
fn tag_longer_than_the_configuration_space_is_refused() {
    let (fs, ..) = create(&"x".repeat(37), OFFERED);

    assert!(matches!(fs.err().unwrap(), Error::Config(_)));
}

#[test]
fn legacy_file_server_is_refused() {
    let (fs, ..) = create("rootfs", VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits());

    assert!(matches!(fs.err().unwrap(), Error::Config(_)));
}

#[test]
fn file_server_that_is_gone_before_the_start_is_an_error() {
    let (stream, other) = UnixStream::pair().unwrap();
    drop(other);
    let exit = Arc::new(ExitLatch::new().unwrap());

    let fs = Fs::new(FsConfig { tag: "rootfs".to_owned(), backend: stream }, exit);

    assert!(matches!(fs.err().unwrap(), Error::FileServer { .. }));
}

#[test]
fn end_of_the_file_server_ends_the_machine() {
    let (stream, answers) = backend(OFFERED, 0);
    let exit = Arc::new(ExitLatch::new().unwrap());
    let config = FsConfig { tag: "rootfs".to_owned(), backend: stream.try_clone().unwrap() };
    let mut fs = Fs::new(config, exit.clone()).unwrap();
    fs.outside_event(0);
    assert!(!exit.is_set());

    stream.shutdown(Shutdown::Both).unwrap();
    fs.outside_event(0);

    assert!(matches!(exit.take(), Some(Err(Error::FileServerGone))));
    answers.join().unwrap();
}

/// Acknowledges every request but the one that enables a queue, and returns the requests that came.
fn backend_that_enables_nothing() -> (UnixStream, JoinHandle<Vec<u32>>) {
    const NEED_REPLY: u32 = 0x8;
    const GET_FEATURES: u32 = 1;
    const GET_VRING_BASE: u32 = 11;
    const GET_PROTOCOL_FEATURES: u32 = 15;
    const SET_VRING_ENABLE: u32 = 18;
    let (ours, mut stream) = UnixStream::pair().unwrap();
    let requests = thread::spawn(move || {
        let mut requests = Vec::new();
        let mut header = [0u8; 12];
        while stream.read_exact(&mut header).is_ok() {
            let [request, flags, size] =
                [0, 4, 8].map(|at| u32::from_le_bytes(header[at..at + 4].try_into().unwrap()));
            let mut body = vec![0; size as usize];
            stream.read_exact(&mut body).unwrap();
            requests.push(request);
            let value = match request {
                GET_FEATURES => OFFERED,
                GET_PROTOCOL_FEATURES => VhostUserProtocolFeatures::REPLY_ACK.bits(),
                GET_VRING_BASE => u64::from(body[0]),
                SET_VRING_ENABLE => 1,
                _ if flags & NEED_REPLY != 0 => 0,
                _ => continue,
            };
            for word in [request, 0x5, 8, value as u32, (value >> 32) as u32] {
                stream.write_all(&word.to_le_bytes()).unwrap();
            }
        }
        requests
    });
    (ours, requests)
}

#[test]
fn reset_takes_back_the_queues_of_a_start_that_failed() {
    let (stream, requests) = backend_that_enables_nothing();
    let exit = Arc::new(ExitLatch::new().unwrap());
    let mut fs = Fs::new(FsConfig { tag: "rkt".to_owned(), backend: stream }, exit).unwrap();
    let ram = memory::create(32).unwrap();
    let queue = QueueSetup { size: 16, ready: true, descriptors: 0x1000, available: 0x2000, used: 0x3000 };
    let event = || EventFd::new(EFD_NONBLOCK).unwrap();
    let activation = Activation {
        queues: vec![queue.build(&ram, 128, false).unwrap(), None],
        ram,
        features: FEATURES_COMMON,
        interrupt: Arc::new(Interrupt::new(event())),
        kicks: [event(), event()].into(),
    };
    fs.activate(activation).unwrap_err();

    fs.reset();

    drop(fs);
    const GET_VRING_BASE: u32 = 11;
    assert!(requests.join().unwrap().contains(&GET_VRING_BASE));
}
