//! One virtqueue of the device: where it lies, who is told about it, and the loop that empties it.
//!
//! Responsible for: taking requests off a queue, handing each to the FUSE server and returning the answer, with as few
//! notifications as EVENT_IDX allows. Must not know: vhost-user messages. Follows virtio 1.2, 2.7.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use rustix::io::Errno;
use vhost::vhost_user::Backend;
use vhost_user_backend::bitmap::BitmapMmapRegion;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use virtiofsd::descriptor_utils::{Reader, Writer};
use virtiofsd::filesystem::FileSystem;
use virtiofsd::server::Server;
use vm_memory::GuestMemoryMmap;

/// The guest's memory as the server's reader and writer want it.
pub(crate) type Memory = GuestMemoryMmap<BitmapMmapRegion>;

/// Largest queue a driver may choose; the guest kernel's virtio-fs driver takes what the device offers, at most 1,024.
pub(crate) const MAX_QUEUE_SIZE: u16 = 1024;

/// `struct fuse_out_header`.
const ANSWER_HEADER_BYTES: usize = 16;

/// `FUSE_FORGET`, `FUSE_INTERRUPT`, `FUSE_DESTROY` and `FUSE_BATCH_FORGET`: what nobody waits for.
const UNANSWERED: [u32; 4] = [2, 36, 38, 42];

/// What can be wrong with a queue. All of it is the guest's doing, and ends the file server.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The rings cannot be read or written.
    #[error("ring access failed")]
    Access(#[source] virtio_queue::Error),
    /// A chain does not describe memory of the guest.
    #[error("bad descriptor chain")]
    Chain(#[source] virtiofsd::descriptor_utils::Error),
    /// The chain holds no FUSE request.
    #[error("bad request")]
    Request(#[source] virtiofsd::Error),
    /// There is no room for the answer, of which the server takes the header's for granted.
    #[error("a request with room for {0} bytes of answer")]
    NoRoom(usize),
    /// The answer's length does not fit the used ring.
    #[error("an answer of {0} bytes is too long")]
    AnswerTooLong(usize),
    /// The eventfd that interrupts the guest failed.
    #[error("cannot interrupt the guest")]
    Interrupt(#[source] Errno),
    /// There was news in the queue, and then nothing was there: the rings lie over each other, or an index went back.
    #[error("requests were taken back")]
    Vanished,
    /// The queue was kicked before the memory table arrived.
    #[error("no guest memory")]
    NoMemory,
}

/// When the guest hears of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Of each: somebody waits for it.
    Each,
    /// Of all that there are, together: nobody waits.
    Together,
}

/// A queue with its two event descriptors.
#[derive(Debug)]
pub(crate) struct Ring {
    answers: Answers,
    pub(crate) queue: Queue,
    /// Readable when the guest has put requests into the queue.
    pub(crate) kick: Option<Arc<File>>,
    /// Written to interrupt the guest.
    pub(crate) call: Option<File>,
    pub(crate) enabled: bool,
}

impl Ring {
    pub(crate) fn new(answers: Answers) -> Result<Self, virtio_queue::Error> {
        Ok(Self { answers, queue: Queue::new(MAX_QUEUE_SIZE)?, kick: None, call: None, enabled: false })
    }

    /// The kick descriptor while the ring is running.
    pub(crate) fn running_kick(&self) -> Option<Arc<File>> {
        self.kick.clone().filter(|_| self.enabled && self.queue.ready())
    }

    /// Answers what is in the queue, at most as many requests as it holds: a driver that keeps adding some must not keep the VMM's
    /// messages waiting. Kicks itself if there may be more.
    pub(crate) fn serve<F: FileSystem + Sync>(
        &mut self,
        memory: &Arc<Memory>,
        server: &Server<F>,
    ) -> Result<(), RingError> {
        if let Some(kick) = &self.kick {
            // The counter is only cleared, never used; EAGAIN means that somebody else did it.
            let mut counter = [0; 8];
            let _ = rustix::io::read(kick, &mut counter);
        }
        let mut turn = self.queue.size();
        let mut promised = false;
        loop {
            let before = turn;
            self.queue.disable_notification(memory.as_ref()).map_err(RingError::Access)?;
            while let Some(chain) = self.queue.iter(Arc::clone(memory)).map_err(RingError::Access)?.next() {
                let Some(left) = turn.checked_sub(1) else {
                    self.queue.go_to_previous_position();
                    return self.come_back(memory);
                };
                turn = left;
                let head = chain.head_index();
                let reader = Reader::new(memory.as_ref(), chain.clone()).map_err(RingError::Chain)?;
                let writer = Writer::new(memory.as_ref(), chain).map_err(RingError::Chain)?;
                if writer.available_bytes() < ANSWER_HEADER_BYTES && is_answered(&reader) {
                    return Err(RingError::NoRoom(writer.available_bytes()));
                }
                let length =
                    server.handle_message::<Backend>(reader, writer, None).map_err(RingError::Request)?;
                let length = u32::try_from(length).map_err(|_| RingError::AnswerTooLong(length))?;
                self.queue.add_used(memory.as_ref(), head, length).map_err(RingError::Access)?;
                if self.answers == Answers::Each {
                    self.notify(memory)?;
                }
            }
            if self.answers == Answers::Together {
                self.notify(memory)?;
            }
            // Looking for it once more could go on for ever.
            if promised && turn == before {
                return Err(RingError::Vanished);
            }
            promised = self.queue.enable_notification(memory.as_ref()).map_err(RingError::Access)?;
            if !promised {
                return Ok(());
            }
        }
    }

    /// Ends a turn before the queue is empty.
    fn come_back(&mut self, memory: &Memory) -> Result<(), RingError> {
        if self.answers == Answers::Together {
            self.notify(memory)?;
        }
        let Some(kick) = &self.kick else { return Ok(()) };
        match rustix::io::write(kick, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(RingError::Interrupt(errno)),
        }
    }

    fn notify(&mut self, memory: &Memory) -> Result<(), RingError> {
        if self.queue.needs_notification(memory).map_err(RingError::Access)? {
            self.interrupt()?;
        }
        Ok(())
    }

    fn interrupt(&self) -> Result<(), RingError> {
        match &self.call {
            // EAGAIN: the counter is full, so the interrupt is pending anyway.
            Some(call) => match rustix::io::write(call, &1u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::AGAIN) => Ok(()),
                Err(errno) => Err(RingError::Interrupt(errno)),
            },
            None => Ok(()),
        }
    }
}

/// Whether a request is one that is answered.
fn is_answered(request: &Reader<'_>) -> bool {
    let mut start = [0; 8];
    let [_, _, _, _, opcode @ ..] = match request.clone().read_exact(&mut start) {
        Ok(()) => start,
        // That it is none is for the server to say.
        Err(_) => return false,
    };
    !UNANSWERED.contains(&u32::from_le_bytes(opcode))
}
