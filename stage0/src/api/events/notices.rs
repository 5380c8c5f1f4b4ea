//! Notices of the kernel that something in a directory changed.
//!
//! Responsible for: watches and waiting. Must not know: what the directories are. Follows inotify(7).

use std::ffi::{CStr, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Room for a hundred notices with ordinary names.
const BUFFER_BYTES: usize = 8192;
/// Notices taken at once; the others wait for the next turn.
const MAX_NOTICES: usize = 4096;
/// How often a directory is tried that is made and removed while it is to be watched.
const MAX_ATTEMPTS: usize = 16;

/// A watched directory. The kernel counts them up and uses no number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(i32);

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// In a watched directory.
    Change {
        /// Which.
        watch: Watch,
        /// The entry that changed; `None` is the directory itself.
        name: Option<OsString>,
        /// The directory is no longer watched: it is gone.
        ended: bool,
    },
    /// So much that not everything is known.
    Overflow,
}

/// The watches of one thread.
#[derive(Debug)]
pub struct Notices {
    /// Missing if the system has no more to give.
    inotify: Option<OwnedFd>,
    is_complete: bool,
}

impl Default for Notices {
    fn default() -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        Notices { is_complete: inotify.is_some(), inotify }
    }
}

impl Notices {
    /// Whether everything that was to be watched is.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Watches a directory for new, moved and removed entries, and for `more`. `None` if it is not there or cannot be
    /// watched. A directory that is watched already keeps its number.
    pub fn watch(&mut self, directory: &Path, more: WatchFlags) -> Option<Watch> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::MASK_ADD
            | more;
        match inotify::add_watch(self.inotify.as_ref()?, directory, flags) {
            Ok(number) => Some(Watch(number)),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(_) => {
                self.is_complete = false;
                None
            }
        }
    }

    /// Watches a directory, or as long as it is not there the nearest one above it, in which the next part of the way
    /// to it will turn up.
    pub fn watch_nearest(&mut self, directory: &Path, more: WatchFlags) -> Option<Watch> {
        let mut found = None;
        for _ in 0..MAX_ATTEMPTS {
            let mut below = None;
            for part in directory.ancestors() {
                if let Some(watch) = self.watch(part, more) {
                    found = Some(watch);
                    break;
                }
                below = Some(part);
            }
            // What was made between the attempt to watch it and the watch above it brought no notice.
            if !below.is_some_and(Path::is_dir) {
                break;
            }
        }
        found
    }

    /// Ends a watch.
    pub fn forget(&mut self, watch: Watch) {
        if let Some(inotify) = &self.inotify {
            // One that has ended by itself is no error.
            let _: rustix::io::Result<()> = inotify::remove_watch(inotify, watch.0);
        }
    }

    /// Waits for notices; none if `timeout` passes first.
    pub fn wait(&self, timeout: Duration) -> Vec<Notice> {
        let deadline = Instant::now() + timeout;
        while let Some(inotify) = &self.inotify {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(inotify, PollFlags::IN)], left.as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) => return Vec::new(),
                Ok(_) => return take(inotify),
                Err(_) => break,
            }
        }
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        Vec::new()
    }
}

fn take(inotify: &OwnedFd) -> Vec<Notice> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut notices = Vec::new();
    // What the reader holds must be taken to its end, or it is lost.
    while notices.len() < MAX_NOTICES || !reader.is_buffer_empty() {
        match reader.next() {
            Ok(event) => notices.extend(notice(&event)),
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    notices
}

/// `None` if nothing changed: somebody read a file in the directory, we maybe.
fn notice(event: &Event<'_>) -> Option<Notice> {
    let what = event.events();
    if what.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Notice::Overflow);
    }
    let name = event.file_name().map(CStr::to_bytes).map(OsStr::from_bytes).map(OsStr::to_owned);
    if name.is_some() && what.contains(ReadFlags::CLOSE_NOWRITE) {
        return None;
    }
    Some(Notice::Change { watch: Watch(event.wd()), name, ended: what.contains(ReadFlags::IGNORED) })
}
