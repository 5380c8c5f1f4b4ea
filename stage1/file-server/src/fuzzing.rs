//! Entry point of the fuzz target in `tests/fuzz`: requests of a guest, from the ring to the call of the file system.
//!
//! Responsible for: rings and requests of which every byte is the input's, and what serving them may do to memory. Must not know: the
//! fuzzer, files: the file system behind it says yes to everything and does nothing. Follows virtio 1.2, 2.7, and linux/fuse.h.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use virtio_queue::QueueT;
use virtiofsd::filesystem::{
    Context, DirEntry, DirectoryIterator, Entry, FileSystem, FsOptions, GetxattrReply, ListxattrReply,
    OpenOptions,
};
use virtiofsd::fuse::Attr;
use virtiofsd::server::Server;
use vm_memory::{Bytes, GuestAddress};

use crate::ring::{Answers, Memory, Ring};

/// A guest's memory here. So little can be compared as a whole.
const RAM_BYTES: usize = 64 << 10;
const QUEUE_SIZE: u16 = 64;
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const USED_BYTES: usize = 6 + 8 * QUEUE_SIZE as usize;
/// Where requests are, and where answers go.
const REQUESTS: u64 = 0x4000;
const ANSWERS: usize = 0x8000;
const FLAG_NEXT: u16 = 1;
const FLAG_WRITE: u16 = 2;
/// An input longer than that finds nothing more.
const MAX_REQUESTS: usize = 32;

thread_local! {
    /// Made once: mapping it takes longer than most inputs.
    static MEMORY: Option<Arc<Memory>> = memory();
}

fn memory() -> Option<Arc<Memory>> {
    Memory::from_ranges(&[(GuestAddress(0), RAM_BYTES)]).ok().map(Arc::new)
}

/// Says yes to everything.
struct Yes {
    looked_up: Arc<AtomicBool>,
}

struct OneName(bool);

impl DirectoryIterator for OneName {
    fn next(&mut self) -> Option<DirEntry<'_>> {
        let first = !std::mem::replace(&mut self.0, true);
        first.then_some(DirEntry { ino: 2, offset: 1, type_: 4, name: c"name" })
    }
}

fn entry() -> Entry {
    let timeout = Duration::from_secs(1);
    Entry { inode: 2, generation: 0, attr: Attr::default(), attr_timeout: timeout, entry_timeout: timeout }
}

impl FileSystem for Yes {
    type Inode = u64;
    type Handle = u64;
    type DirIter = OneName;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        Ok(capable)
    }

    fn lookup(&self, _: Context, _: u64, name: &CStr) -> io::Result<Entry> {
        self.looked_up.fetch_or(name.count_bytes() > 8, Ordering::Relaxed);
        Ok(entry())
    }

    fn getattr(&self, _: Context, _: u64, _: Option<u64>) -> io::Result<(Attr, Duration)> {
        Ok((Attr::default(), Duration::ZERO))
    }

    fn readlink(&self, _: Context, _: u64) -> io::Result<Vec<u8>> {
        Ok(b"target".to_vec())
    }

    fn open(&self, _: Context, _: u64, _: bool, _: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        Ok((Some(1), OpenOptions::empty()))
    }

    fn opendir(&self, _: Context, _: u64, _: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        Ok((Some(1), OpenOptions::empty()))
    }

    fn readdir(&self, _: Context, _: u64, _: u64, _: u32, _: u64) -> io::Result<OneName> {
        Ok(OneName(false))
    }

    fn getxattr(&self, _: Context, _: u64, _: &CStr, size: u32) -> io::Result<GetxattrReply> {
        Ok(if size == 0 { GetxattrReply::Count(5) } else { GetxattrReply::Value(b"value".to_vec()) })
    }

    fn listxattr(&self, _: Context, _: u64, size: u32) -> io::Result<ListxattrReply> {
        Ok(if size == 0 { ListxattrReply::Count(5) } else { ListxattrReply::Names(b"user\0".to_vec()) })
    }
}

/// What is left of an input; it goes on with zeros.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at_checked(count).unwrap_or((self.0, &[]));
        self.0 = rest;
        bytes
    }

    fn number(&mut self, bytes: usize) -> u64 {
        self.bytes(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// A request, and how much room there is for its answer.
fn request(script: &mut Script) -> (Vec<u8>, Vec<usize>) {
    let (kind, opcode, node) = (script.number(1), script.number(1) as u32, script.number(1));
    let length = script.number(1) as usize;
    let said = script.number(2) as u32;
    let body = script.bytes(length);
    let said = if kind & 1 == 0 { 40 + body.len() as u32 } else { said << (kind >> 4) };
    let mut bytes = Vec::with_capacity(40 + body.len());
    bytes.extend(said.to_le_bytes());
    bytes.extend(opcode.to_le_bytes());
    bytes.extend([1u64, node].map(u64::to_le_bytes).concat());
    bytes.extend([0; 16]);
    bytes.extend(body);
    let room = (0..kind >> 1 & 3).map(|_| 16 + 8 * script.number(1) as usize).collect();
    (bytes, room)
}

/// A guest that sends anything through the queue. What is not a queue ends the server with an error; nothing is written but answers,
/// where they were asked for. Deep: a name is looked up that is not short.
pub fn requests(data: &[u8]) -> bool {
    let looked_up = Arc::new(AtomicBool::new(false));
    let server = Server::new(Yes { looked_up: looked_up.clone() });
    let Some(memory) = MEMORY.with(Clone::clone) else { return false };
    let Ok(mut ring) = Ring::new(Answers::Each) else { return false };
    let mut script = Script(data);
    let flags = script.number(1);
    let placed = [
        memory.write_slice(&[0; RAM_BYTES], GuestAddress(0)).is_ok(),
        ring.queue.try_set_size(QUEUE_SIZE).is_ok(),
        ring.queue.try_set_desc_table_address(GuestAddress(DESCRIPTORS)).is_ok(),
        ring.queue.try_set_avail_ring_address(GuestAddress(AVAILABLE)).is_ok(),
        ring.queue.try_set_used_ring_address(GuestAddress(USED)).is_ok(),
    ];
    assert_eq!(placed, [true; 5]);
    ring.queue.set_event_idx(flags & 1 != 0);
    ring.queue.set_ready(true);
    for number in 0..MAX_REQUESTS as u16 {
        if script.0.is_empty() {
            break;
        }
        let (bytes, room) = request(&mut script);
        let total: usize = room.iter().sum();
        let mut chain = vec![(REQUESTS, bytes.len(), 0)];
        let mut at = ANSWERS;
        for length in room {
            chain.push((at as u64, length, FLAG_WRITE));
            at += length;
        }
        let _ = memory.write_slice(&bytes, GuestAddress(REQUESTS));
        put(&memory, number, &chain);
        // Descriptors and rings as nobody should make them: then it is only said that nothing breaks.
        let wild = flags & 2 != 0;
        if wild {
            let (place, count) = (script.number(2), script.number(1) as usize);
            let _ = memory.write_slice(script.bytes(count), GuestAddress(place));
        }
        let before = content(&memory);
        let served = ring.serve(&memory, &server);
        if !wild {
            unchanged(&before, &content(&memory), total);
        }
        if served.is_err() {
            break;
        }
    }
    looked_up.load(Ordering::Relaxed)
}

/// Makes a chain available, and all descriptors of the table its own.
fn put(memory: &Memory, number: u16, chain: &[(u64, usize, u16)]) {
    let mut table = Vec::new();
    for (index, (address, length, flags)) in (1u16..).zip(chain) {
        let more = if usize::from(index) < chain.len() { FLAG_NEXT } else { 0 };
        table.extend(address.to_le_bytes());
        table.extend((*length as u32).to_le_bytes());
        table.extend((flags | more).to_le_bytes());
        table.extend(index.to_le_bytes());
    }
    let slot = AVAILABLE + 4 + 2 * u64::from(number % QUEUE_SIZE);
    let _ = memory.write_slice(&table, GuestAddress(DESCRIPTORS));
    let _ = memory.write_obj(0u16, GuestAddress(slot));
    let _ = memory.write_obj((number + 1).to_le(), GuestAddress(AVAILABLE + 2));
}

fn content(memory: &Memory) -> Vec<u8> {
    let mut content = vec![0; RAM_BYTES];
    let read = memory.read_slice(&mut content, GuestAddress(0));
    assert!(read.is_ok(), "memory is gone");
    content
}

/// Only the used ring and so many bytes of answers may differ.
fn unchanged(before: &[u8], after: &[u8], answers: usize) {
    let used = USED as usize..USED as usize + USED_BYTES;
    let answers = ANSWERS..ANSWERS + answers;
    for (start, end) in [(0, used.start), (used.end, answers.start), (answers.end, RAM_BYTES)] {
        assert_eq!(before.get(start..end), after.get(start..end), "something else was written to");
    }
}
