// The file server as a VMM and a guest kernel see it: a vhost-user front end and a virtqueue with FUSE requests.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemory, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::{RingError, ServeError, Tree, Writers, serve};

const MEMORY: usize = 1 << 20;
const QUEUE_SIZE: u16 = 16;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const REQUEST: u64 = 0x10000;
const ANSWER: u64 = 0x20000;
const ANSWER_BYTES: u32 = 0x10000;

const REQUEST_QUEUE: usize = 1;
const WRITABLE: u16 = 2;
const NEXT: u16 = 1;

const FUSE_LOOKUP: u32 = 1;
const FUSE_FORGET: u32 = 2;
const FUSE_INIT: u32 = 26;
const FUSE_ROOT: u64 = 1;

/// The other side of the file server.
struct Guest {
    frontend: Frontend,
    memory: GuestMemoryMmap<()>,
    kick: EventFd,
    call: EventFd,
    requests: u16,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Guest {
    fn of(tree: &Path) -> Self {
        Self::with_rings(tree, u64::MAX, AVAILABLE, USED)
    }

    fn with_rings(tree: &Path, features: u64, available: u64, used: u64) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let tree = Tree {
            root: tree.to_str().unwrap().to_owned(),
            own_descriptors: File::open("/proc/self/fd").unwrap(),
            writers: Writers::GuestAndHost,
            guest_descriptors: 100,
        };
        let server = std::thread::spawn(move || serve(theirs, tree));

        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY as u64).unwrap();
        let mapped = (GuestAddress(0), MEMORY, Some(FileOffset::new(file, 0)));
        let memory = GuestMemoryMmap::from_ranges_with_files([mapped]).unwrap();
        let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
        let mut frontend = Frontend::from_stream(ours, 2);
        let features = frontend.get_features().unwrap() & features;
        frontend.set_owner().unwrap();
        frontend.set_features(features).unwrap();
        let protocol = frontend.get_protocol_features().unwrap();
        frontend.set_protocol_features(protocol).unwrap();
        let base = memory.get_host_address(GuestAddress(0)).unwrap() as u64;
        let region = memory.iter().next().unwrap();
        frontend.set_mem_table(&[VhostUserMemoryRegionInfo::from_guest_region(region).unwrap()]).unwrap();
        frontend.set_vring_num(REQUEST_QUEUE, QUEUE_SIZE).unwrap();
        let addresses = VringConfigData {
            queue_max_size: QUEUE_SIZE,
            queue_size: QUEUE_SIZE,
            flags: 0,
            desc_table_addr: base + DESCRIPTORS,
            used_ring_addr: base + used,
            avail_ring_addr: base + available,
            log_addr: None,
        };
        frontend.set_vring_addr(REQUEST_QUEUE, &addresses).unwrap();
        frontend.set_vring_base(REQUEST_QUEUE, 0).unwrap();
        frontend.set_vring_call(REQUEST_QUEUE, &call).unwrap();
        frontend.set_vring_kick(REQUEST_QUEUE, &kick).unwrap();
        frontend.set_vring_enable(REQUEST_QUEUE, true).unwrap();
        Self { frontend, memory, kick, call, requests: 0, server }
    }

    fn descriptor(&self, index: u64, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.memory.write_slice(&bytes, GuestAddress(DESCRIPTORS + 16 * index)).unwrap();
    }

    /// Puts the chain that starts at descriptor 0 into the queue.
    fn offer(&mut self) {
        let slot = u64::from(self.requests % QUEUE_SIZE);
        self.memory.write_obj(0u16, GuestAddress(AVAILABLE + 4 + 2 * slot)).unwrap();
        self.requests += 1;
        self.memory.write_obj(self.requests, GuestAddress(AVAILABLE + 2)).unwrap();
        self.kick.write(1).unwrap();
    }

    /// Sends a FUSE request and returns its error number and the answer behind the header.
    fn request(&mut self, opcode: u32, node: u64, payload: &[u8]) -> (i32, Vec<u8>) {
        let length = 40 + u32::try_from(payload.len()).unwrap();
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(opcode.to_le_bytes());
        bytes.extend(u64::from(self.requests).to_le_bytes());
        bytes.extend(node.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(payload);
        self.memory.write_slice(&bytes, GuestAddress(REQUEST)).unwrap();
        self.descriptor(0, REQUEST, length, NEXT, 1);
        self.descriptor(1, ANSWER, ANSWER_BYTES, WRITABLE, 0);
        // "Interrupt me for this request": EVENT_IDX is negotiated.
        let used_event = GuestAddress(AVAILABLE + 4 + 2 * u64::from(QUEUE_SIZE));
        self.memory.write_obj(self.requests, used_event).unwrap();
        self.offer();
        self.call.read().unwrap();
        let used: u16 = self.memory.read_obj(GuestAddress(USED + 2)).unwrap();
        assert_eq!(used, self.requests);
        let length: u32 = self.memory.read_obj(GuestAddress(ANSWER)).unwrap();
        let error: i32 = self.memory.read_obj(GuestAddress(ANSWER + 4)).unwrap();
        let mut answer = vec![0; length as usize - 16];
        self.memory.read_slice(&mut answer, GuestAddress(ANSWER + 16)).unwrap();
        (error, answer)
    }

    fn init(&mut self) -> (i32, Vec<u8>) {
        let mut payload = 7u32.to_le_bytes().to_vec();
        payload.extend(38u32.to_le_bytes());
        payload.extend([0; 56]);
        self.request(FUSE_INIT, 0, &payload)
    }

    fn hang_up(self) -> Result<(), ServeError> {
        drop(self.frontend);
        self.server.join().unwrap()
    }

    /// How the server ended of its own accord.
    fn outcome(self) -> Result<(), ServeError> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.server.is_finished() {
            assert!(Instant::now() < deadline, "the server goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.server.join().unwrap()
    }
}

#[test]
fn files_of_the_tree_are_found_by_name() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("hello"), "12345").unwrap();
    let mut guest = Guest::of(tree.path());
    assert_eq!(guest.init().0, 0);

    let (error, entry) = guest.request(FUSE_LOOKUP, FUSE_ROOT, b"hello\0");
    assert_eq!(error, 0);
    // struct fuse_entry_out: 40 bytes, then struct fuse_attr { ino, size, … }.
    assert_eq!(entry.get(48..56), Some(5u64.to_le_bytes().as_slice()));

    let (error, _) = guest.request(FUSE_LOOKUP, FUSE_ROOT, b"missing\0");
    assert_eq!(error, -2);
    guest.hang_up().unwrap();
}

#[test]
fn way_up_from_the_root_ends_at_the_root() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("mark"), "").unwrap();
    for name in [b"..\0".as_slice(), b"../..\0", b"/\0"] {
        let mut guest = Guest::of(tree.path());
        guest.init();

        let (error, entry) = guest.request(FUSE_LOOKUP, FUSE_ROOT, name);

        // Refused, or the root once more: nothing else.
        if error == 0 {
            let node = u64::from_le_bytes(entry.get(..8).unwrap().try_into().unwrap());
            assert_eq!(guest.request(FUSE_LOOKUP, node, b"mark\0").0, 0, "{name:?}");
        }
        guest.hang_up().unwrap();
    }
}

#[test]
fn end_of_the_vmm_ends_the_server() {
    let tree = tempfile::tempdir().unwrap();

    Guest::of(tree.path()).hang_up().unwrap();
}

#[test]
fn descriptor_outside_guest_memory_ends_the_server_with_an_error() {
    let tree = tempfile::tempdir().unwrap();
    let mut guest = Guest::of(tree.path());
    guest.descriptor(0, MEMORY as u64 * 2, 40, 0, 0);

    guest.offer();

    assert!(matches!(guest.outcome(), Err(ServeError::Queue { queue: REQUEST_QUEUE, .. })));
}

#[test]
fn request_too_short_for_a_header_ends_the_server_with_an_error() {
    let tree = tempfile::tempdir().unwrap();
    let mut guest = Guest::of(tree.path());
    guest.descriptor(0, REQUEST, 8, 0, 0);

    guest.offer();

    assert!(matches!(guest.outcome(), Err(ServeError::Queue { queue: REQUEST_QUEUE, .. })));
}

#[test]
fn request_without_room_for_its_answer_ends_the_server_with_an_error() {
    const FUSE_READ: u32 = 15;
    let tree = tempfile::tempdir().unwrap();
    for room in [0, 15] {
        let mut guest = Guest::of(tree.path());
        let request = [80, FUSE_READ].map(u32::to_le_bytes).concat();
        guest.memory.write_slice(&request, GuestAddress(REQUEST)).unwrap();
        guest.descriptor(0, REQUEST, 80, NEXT, 1);
        guest.descriptor(1, ANSWER, room, WRITABLE, 0);

        guest.offer();

        let cause = match guest.outcome() {
            Err(ServeError::Queue { cause, .. }) => cause,
            other => panic!("{other:?}"),
        };
        assert!(matches!(cause, RingError::NoRoom(_)), "{room}: {cause:?}");
    }
}

#[test]
fn rings_that_lie_over_each_other_end_the_server_with_an_error() {
    const EVENT_IDX: u64 = 1 << 29;
    let tree = tempfile::tempdir().unwrap();
    // The flags of the used ring, which the server writes, are the index of the available ring, which it reads.
    let guest = Guest::with_rings(tree.path(), !EVENT_IDX, AVAILABLE + 2, AVAILABLE + 4);
    let request = [40, FUSE_FORGET].map(u32::to_le_bytes).concat();
    guest.memory.write_slice(&request, GuestAddress(REQUEST)).unwrap();
    guest.descriptor(0, REQUEST, 48, 0, 0);

    guest.kick.write(1).unwrap();

    let outcome = guest.outcome();
    assert!(matches!(outcome, Err(ServeError::Queue { cause: RingError::Vanished, .. })), "{outcome:?}");
}

#[test]
fn tree_that_is_not_there_is_answered_at_init() {
    let tree = tempfile::tempdir().unwrap();
    let mut guest = Guest::of(&tree.path().join("missing"));

    let (error, _) = guest.init();

    assert_eq!(error, -2);
    guest.hang_up().unwrap();
}
