//! Bounded pipes between the threads that take a stream of bytes through its stages.
//!
//! Responsible for: handing chunks on, waiting when the next stage is slower, and telling it how the stream ended. Must
//! not know: what the bytes are. Follows `std::sync::mpsc` (bounded channels).

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Bytes handed on at once: enough that waking the other thread costs nothing beside the work on them.
const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks that wait between two stages. With the two in use, a pipe holds at most 1.25 MiB.
const QUEUED_CHUNKS: usize = 8;

/// Tells all pipes of one stream that nobody wants it any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Readers get an error from now on, even if chunks wait for them: those may stand for gigabytes to come.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A pipe's two ends.
pub(super) fn pipe(cancellation: &Cancellation) -> (PipeWriter, PipeReader) {
    let (full_sender, full) = sync_channel(QUEUED_CHUNKS);
    let (empty_sender, empty) = channel();
    let reader_is_gone = Arc::new(AtomicBool::new(false));
    let writer =
        PipeWriter { full: full_sender, empty, chunk: None, reader_is_gone: Arc::clone(&reader_is_gone) };
    let reader = PipeReader {
        full,
        empty: empty_sender,
        chunk: None,
        position: 0,
        ended: false,
        cancellation: cancellation.clone(),
        is_gone: reader_is_gone,
    };
    (writer, reader)
}

struct Chunk {
    bytes: Box<[u8]>,
    filled: usize,
}

enum Message {
    Chunk(Chunk),
    End,
    Failed(io::Error),
}

/// The end that bytes go into. Dropped without [`Self::finish`], it leaves the reader with an error.
pub(super) struct PipeWriter {
    full: SyncSender<Message>,
    /// Chunks come back here, so that a stream of any length uses the same few.
    empty: Receiver<Chunk>,
    chunk: Option<Chunk>,
    /// Known before a chunk is full, so that a slow source does not delay the end of a stream that nobody reads.
    reader_is_gone: Arc<AtomicBool>,
}

impl PipeWriter {
    /// Hands on what is left and says that this was all.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Message::End)
    }

    /// Reads `source` to its end, or to its error, and hands that on too. Ends early if the reader is gone.
    pub fn finish_with(mut self, source: io::Result<impl Read>) {
        let copied = source.and_then(|mut source| {
            while self.read_from(&mut source)? > 0 {}
            Ok(())
        });
        let last = match copied.and_then(|()| self.flush()) {
            Ok(()) => Message::End,
            Err(e) => Message::Failed(e),
        };
        // Without a reader there is nobody to tell.
        let _ = self.send(last);
    }

    fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.check_reader()?;
        let chunk = self.chunk();
        let rest = chunk.bytes.get_mut(chunk.filled..).unwrap_or_default();
        let count = loop {
            match source.read(rest) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        chunk.filled = chunk.filled.saturating_add(count);
        self.send_if_full()?;
        Ok(count)
    }

    fn check_reader(&self) -> io::Result<()> {
        if self.reader_is_gone.load(Ordering::Relaxed) {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }

    fn send(&self, message: Message) -> io::Result<()> {
        self.full.send(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn chunk(&mut self) -> &mut Chunk {
        self.chunk.get_or_insert_with(|| match self.empty.try_recv() {
            Ok(chunk) => Chunk { filled: 0, ..chunk },
            Err(_) => Chunk { bytes: vec![0; CHUNK_BYTES].into_boxed_slice(), filled: 0 },
        })
    }

    fn send_if_full(&mut self) -> io::Result<()> {
        match self.chunk.take_if(|chunk| chunk.filled >= CHUNK_BYTES) {
            Some(chunk) => self.send(Message::Chunk(chunk)),
            None => Ok(()),
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_reader()?;
        let chunk = self.chunk();
        let rest = chunk.bytes.get_mut(chunk.filled..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        if let (Some(to), Some(from)) = (rest.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        chunk.filled = chunk.filled.saturating_add(count);
        self.send_if_full()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.chunk.take_if(|chunk| chunk.filled > 0) {
            Some(chunk) => self.send(Message::Chunk(chunk)),
            None => Ok(()),
        }
    }
}

/// The end that bytes come out of.
pub(super) struct PipeReader {
    full: Receiver<Message>,
    empty: Sender<Chunk>,
    chunk: Option<Chunk>,
    position: usize,
    ended: bool,
    cancellation: Cancellation,
    is_gone: Arc<AtomicBool>,
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }
}

impl PipeReader {
    fn next_chunk(&mut self) -> io::Result<()> {
        if let Some(chunk) = self.chunk.take() {
            // A writer that is done needs none.
            let _ = self.empty.send(chunk);
        }
        self.position = 0;
        if self.ended {
            return Ok(());
        }
        match self.full.recv() {
            _ if self.cancellation.is_cancelled() => Err(cut_off()),
            Ok(Message::Chunk(chunk)) => {
                self.chunk = Some(chunk);
                Ok(())
            }
            Ok(Message::End) => {
                self.ended = true;
                Ok(())
            }
            Ok(Message::Failed(e)) => Err(e),
            Err(_) => Err(cut_off()),
        }
    }
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.as_ref().is_none_or(|chunk| self.position >= chunk.filled) {
            self.next_chunk()?;
        }
        let chunk = self.chunk.as_ref();
        Ok(chunk.and_then(|chunk| chunk.bytes.get(self.position..chunk.filled)).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.position = self.position.saturating_add(count);
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let count = bytes.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the stream was cut off")
}
