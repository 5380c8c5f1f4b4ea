//! Writing an archive's entries below a directory.
//!
//! Responsible for: files with their holes, links, devices, and who wins when a name comes twice. Must not know: stores,
//! dependencies, which process it runs in. Follows rkt-reference.md 2.9 and OCI image-spec `layer.md`; nothing is synced
//! here, the caller syncs the whole file system once.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, chmodat, ftruncate, futimens, linkat, mkdirat, mknodat, openat,
    symlinkat,
};
use rustix::io::Errno;

use super::archive::read_error;
use super::metadata::Metadata;
use super::root::{Root, is_directory, remove_tree, split};
use super::selection::{Layout, Options, Place};
use super::sparse::SparseMap;
use super::whiteout::{self, Written};
use super::{Archive, Entry, EntryKind, ExtractError};

/// Directories are writable for us until everything in them is written.
const UNFINISHED_DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);
/// Files are closed to everyone until owner and mode are right.
const UNFINISHED_FILE_MODE: Mode = Mode::from_raw_mode(0o600);
/// Bytes moved at once between archive and file.
const COPY_BUFFER_BYTES: usize = 128 * 1024;

/// Writes the wanted entries of the archive in `source` into the directory `root`. What is already there is replaced;
/// directories are kept and get the entry's owner, mode and time. Reads `source` to its end.
///
/// Owners, devices and privileged attributes need root; without it, owners are left alone.
pub(super) fn extract_here(source: impl Read, root: OwnedFd, options: &Options) -> Result<(), ExtractError> {
    let mut extraction = Extraction {
        root: Root::new(root),
        layout: options.layout,
        keep_owners: rustix::process::geteuid().is_root(),
        directories: HashMap::new(),
        written: Written::default(),
        buffer: vec![0; COPY_BUFFER_BYTES],
    };
    let mut archive = Archive::new(source);
    while let Some(entry) = archive.next_entry()? {
        match options.layout.place(&entry.name)? {
            Place::At(path) => {
                if options.selection.includes(&path, entry.kind == EntryKind::Directory) {
                    extraction.write(&path, &entry, &mut archive.data())?;
                    extraction.remember(&path);
                }
            }
            Place::Hides(path) => extraction.hide(&path, &entry, whiteout::hide)?,
            Place::HidesAllIn(path) => extraction.hide(&path, &entry, whiteout::hide_all_in)?,
            Place::Elsewhere => {}
        }
    }
    archive.finish()?;
    extraction.finish_directories()
}

type Hiding = fn(&mut Root, &mut Written, &OsStr) -> io::Result<()>;

struct Extraction {
    root: Root,
    layout: Layout,
    keep_owners: bool,
    /// Directories whose owner, mode and time are set last: writing into them changes the time.
    directories: HashMap<OsString, Metadata>,
    /// What a layer's whiteouts must not hide. Images have no whiteouts.
    written: Written,
    buffer: Vec<u8>,
}

impl Extraction {
    fn write(&mut self, path: &OsStr, entry: &Entry, data: &mut dyn Read) -> Result<(), ExtractError> {
        if path.is_empty() {
            if entry.kind != EntryKind::Directory {
                return Err(ExtractError::refused(&entry.name, "the root of an image must be a directory"));
            }
            self.directories.insert(OsString::new(), Metadata::of(entry));
            return Ok(());
        }
        match &entry.kind {
            EntryKind::Directory => {
                self.directory(path).map_err(|e| failed(entry, "create directory", e))?;
                self.directories.insert(path.to_owned(), Metadata::of(entry));
                Ok(())
            }
            EntryKind::File(map) => self.file(path, entry, map.as_ref(), data),
            EntryKind::HardLink(target) => self.hard_link(path, entry, target),
            EntryKind::Symlink(target) => self
                .create(path, |parent, name| symlinkat(OsStr::from_bytes(target), parent, name))
                .and_then(|parent| {
                    Metadata::of(entry).apply_at(parent.as_fd(), split(path).1, self.keep_owners)
                })
                .map_err(|e| failed(entry, "create symbolic link", e)),
            EntryKind::Fifo => self.node(path, entry, FileType::Fifo, 0),
            EntryKind::CharDevice(major, minor) => {
                self.node(path, entry, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            EntryKind::BlockDevice(major, minor) => {
                self.node(path, entry, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
        }
    }

    fn remember(&mut self, path: &OsStr) {
        if self.layout == Layout::Layer {
            self.written.add(path);
        }
    }

    fn hide(&mut self, path: &OsStr, entry: &Entry, hiding: Hiding) -> Result<(), ExtractError> {
        hiding(&mut self.root, &mut self.written, path)
            .map_err(|e| failed(entry, "remove what is hidden by", e))
    }

    /// Makes something new at `path` with `make`, in place of whatever is there. Returns the directory it is in.
    fn create<T>(
        &mut self,
        path: &OsStr,
        mut make: impl FnMut(&OwnedFd, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<Rc<OwnedFd>> {
        let parent = self.parent(path)?;
        let name = split(path).1;
        match make(&parent, name) {
            Ok(_) => return Ok(parent),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        self.clear(path, &parent)?;
        make(&parent, name)?;
        Ok(parent)
    }

    /// The directory that `path` is in, made if missing.
    fn parent(&mut self, path: &OsStr) -> io::Result<Rc<OwnedFd>> {
        let parent = split(path).0;
        match self.root.directory_to_change(parent) {
            Err(e)
                if self.layout == Layout::Layer
                    && matches!(Errno::from_io_error(&e), Some(Errno::LOOP | Errno::NOTDIR)) =>
            {
                // As where layers are stacked: the directory of the upper one replaces a lower one's file or link.
                if !self.unblock(parent)? {
                    return Err(e);
                }
                self.root.directory_to_change(parent)
            }
            other => other,
        }
    }

    /// Removes the first thing on the way to `path` that is no directory, unless this layer wrote it itself.
    fn unblock(&mut self, path: &OsStr) -> io::Result<bool> {
        let ends = path.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let prefix = OsStr::from_bytes(path.as_bytes().get(..end).unwrap_or_default());
            let (parent, name) = split(prefix);
            let parent = self.root.directory_to_change(parent)?;
            if is_directory(&parent, name)? {
                continue;
            }
            let is_lower = !self.written.contains(prefix);
            if is_lower {
                remove_tree(parent.as_fd(), name)?;
            }
            return Ok(is_lower);
        }
        Ok(false)
    }

    /// Removes whatever is at `path` in `parent`.
    fn clear(&mut self, path: &OsStr, parent: &OwnedFd) -> io::Result<()> {
        self.root.forget();
        remove_tree(parent.as_fd(), split(path).1)
    }

    fn directory(&mut self, path: &OsStr) -> io::Result<()> {
        let parent = self.parent(path)?;
        let name = split(path).1;
        match mkdirat(&parent, name, UNFINISHED_DIRECTORY_MODE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) if is_directory(&parent, name)? => Ok(()),
            Err(Errno::EXIST) => {
                self.clear(path, &parent)?;
                Ok(mkdirat(&parent, name, UNFINISHED_DIRECTORY_MODE)?)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn file(
        &mut self,
        path: &OsStr,
        entry: &Entry,
        map: Option<&SparseMap>,
        data: &mut dyn Read,
    ) -> Result<(), ExtractError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut made = None;
        self.create(path, |parent, name| {
            made = Some(openat(parent, name, flags, UNFINISHED_FILE_MODE)?);
            Ok(())
        })
        .map_err(|e| failed(entry, "create", e))?;
        let Some(file) = made else {
            return Err(failed(entry, "create", Errno::NOENT.into()));
        };
        let mut file = File::from(file);
        match map {
            None => self.copy(entry, data, &mut file, entry.data_bytes)?,
            Some(map) => {
                ftruncate(&file, map.size).map_err(|e| failed(entry, "extend", e.into()))?;
                for segment in &map.segments {
                    file.seek(SeekFrom::Start(segment.offset)).map_err(|e| failed(entry, "seek in", e))?;
                    self.copy(entry, data, &mut file, segment.length)?;
                }
            }
        }
        Metadata::of(entry)
            .apply(file.as_fd(), self.keep_owners)
            .map_err(|(operation, e)| failed(entry, operation, e))
    }

    fn copy(
        &mut self,
        entry: &Entry,
        data: &mut dyn Read,
        file: &mut File,
        mut left: u64,
    ) -> Result<(), ExtractError> {
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
            let count = match data.read(buffer) {
                Ok(0) => return Err(ExtractError::truncated("it ends inside an entry's data")),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(read_error(e)),
            };
            file.write_all(buffer.get(..count).unwrap_or_default())
                .map_err(|e| ExtractError::write("write", &entry.name, e))?;
            left -= count as u64;
        }
        Ok(())
    }

    /// Gives an earlier entry another name. Its target is a name in the archive, parsed like any other, and reached
    /// without following links: so it cannot be a file of the host.
    fn hard_link(&mut self, path: &OsStr, entry: &Entry, target: &[u8]) -> Result<(), ExtractError> {
        let refused = |reason: String| ExtractError::refused(&entry.name, reason);
        let Place::At(target_path) =
            self.layout.place(target).map_err(|e| refused(format!("hard link: {e}")))?
        else {
            return Err(refused("it is a hard link to something outside the image's rootfs".into()));
        };
        if target_path == path {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(target);
        let missing = || refused(format!("it is a hard link to {shown:?}, which is not in the image"));
        let (directory, name) = split(&target_path);
        let directory = self.root.directory(directory).map_err(|_| missing())?;
        match is_directory(&directory, name) {
            Ok(true) => return Err(refused(format!("it is a hard link to the directory {shown:?}"))),
            Ok(false) => {}
            Err(_) => return Err(missing()),
        }
        // Replacing a directory that holds the target would remove the target first.
        if target_path.as_bytes().strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")) {
            return Err(refused("it is a hard link to something inside itself".into()));
        }
        self.create(path, |parent, link| linkat(&directory, name, parent, link, AtFlags::empty()))
            .map_err(|e| failed(entry, "create hard link", e))?;
        Ok(())
    }

    /// Makes a device or a pipe. It is never opened: on the host it would be the host's device.
    fn node(&mut self, path: &OsStr, entry: &Entry, kind: FileType, device: u64) -> Result<(), ExtractError> {
        let name = split(path).1;
        self.create(path, |parent, name| mknodat(parent, name, kind, UNFINISHED_FILE_MODE, device))
            .and_then(|parent| {
                // Follows links, but the node was made just now, exclusively, in a directory nobody else writes to.
                // After the owner, because changing that clears bits of the mode.
                let metadata = Metadata::of(entry);
                metadata.apply_at(parent.as_fd(), name, self.keep_owners)?;
                Ok(chmodat(&parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?)
            })
            .map_err(|e| failed(entry, "create device", e))
    }

    fn finish_directories(mut self) -> Result<(), ExtractError> {
        let mut directories: Vec<(OsString, Metadata)> = self.directories.drain().collect();
        // The deepest first, so that a closed directory does not bar the way to those in it.
        directories.sort_by(|(a, _), (b, _)| b.cmp(a));
        // Before the modes, for the same reason.
        for (path, times) in std::mem::take(&mut self.root.times) {
            let failed = |e: io::Error| ExtractError::write("set the time of", path.as_bytes(), e);
            if let Some(fd) = self.finished(&path).map_err(failed)? {
                futimens(&fd, &times).map_err(|e| failed(e.into()))?;
            }
        }
        for (path, metadata) in directories {
            let failed = |operation, cause: io::Error| ExtractError::write(operation, path.as_bytes(), cause);
            if let Some(fd) = self.finished(&path).map_err(|e| failed("open", e))? {
                metadata
                    .remove_other_xattrs(fd.as_fd())
                    .map_err(|e| failed("remove an extended attribute of", e))?;
                metadata.apply(fd.as_fd(), self.keep_owners).map_err(|(verb, e)| failed(verb, e))?;
            }
        }
        Ok(())
    }

    /// A directory of this archive, unless a later entry replaced it by something else.
    fn finished(&self, path: &OsStr) -> io::Result<Option<OwnedFd>> {
        match self.root.directory(path) {
            Ok(fd) => Ok(Some(fd)),
            Err(e)
                if matches!(Errno::from_io_error(&e), Some(Errno::NOTDIR | Errno::LOOP | Errno::NOENT)) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// What the kernel means when it refuses to walk on. Which of the two numbers it gives for a symbolic link depends on
/// where on the path the link is.
fn failed(entry: &Entry, operation: &'static str, error: io::Error) -> ExtractError {
    let cause = match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::NOTDIR) => {
            io::Error::other("something on its path is a symbolic link or a file instead of a directory")
        }
        _ => error,
    };
    ExtractError::write(operation, &entry.name, cause)
}
