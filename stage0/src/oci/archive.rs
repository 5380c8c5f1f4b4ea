//! OCI image layouts packed into one tar, compressed or not.
//!
//! Responsible for: finding the layout's files in the tar, and reading them where they are. Must not know: what is in
//! them. Follows the OCI image specification 1.1, image-layout.md, and skopeo's `oci-archive:`.
//!
//! A compressed archive is uncompressed once, to a file without a name in the store's temporary directory: its layers are
//! read in their own order, several at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::layout::{Files, Layout, Opened};
use super::{Digest, OciError};
use crate::extract::{Archive, EntryKind};
use crate::store::decompressed;

/// Most bytes that a compressed archive may hold, the limit of an image in the store.
const MAX_ARCHIVE_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Most files of a layout: every layer of a hundred large images.
const MAX_FILES: usize = 32 * 1024;
const BUFFER_BYTES: usize = 128 * 1024;
/// Bytes at the start of gzip and of zstd.
const COMPRESSED: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh", &[0xfd, b'7', b'z']];

/// Opens the layout in the archive `path`. `temporary` is a directory for an uncompressed copy.
pub fn open_archive(path: &Path, temporary: &Path) -> Result<Layout, OciError> {
    let unreadable = |cause: io::Error| OciError::Read { path: path.to_owned(), cause };
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let mut start = [0; 4];
    let count = file.read_at(&mut start, 0).map_err(unreadable)?;
    let start = start.get(..count).unwrap_or_default();
    let file = if COMPRESSED.iter().any(|signature| start.starts_with(signature)) {
        uncompressed(&file, path, temporary)?
    } else {
        file
    };
    let files = index(&file, path)?;
    Layout::new(Box::new(Tar { file, files }), path)
}

/// A copy without compression that goes when it is closed.
fn uncompressed(file: &File, path: &Path, temporary: &Path) -> Result<File, OciError> {
    let unreadable = |cause: io::Error| OciError::Read { path: path.to_owned(), cause };
    let unwritable = |cause: io::Error| OciError::Write { path: temporary.to_owned(), cause };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let copy =
        rustix::fs::open(temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|e| unwritable(e.into()))?;
    let mut copy = File::from(copy);
    let mut source = decompressed(file).map_err(unreadable)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0_u64;
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(unreadable)?,
        };
        total = total.saturating_add(count as u64);
        if total > MAX_ARCHIVE_BYTES {
            return Err(OciError::TooLarge { what: path.display().to_string(), limit: MAX_ARCHIVE_BYTES });
        }
        io::Write::write_all(&mut copy, buffer.get(..count).unwrap_or_default()).map_err(unwritable)?;
    }
    copy.rewind().map_err(unwritable)?;
    Ok(copy)
}

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
}

/// Finds the files of a layout; others are passed over.
fn index(file: &File, path: &Path) -> Result<HashMap<String, Place>, OciError> {
    let malformed = |reason: String| OciError::Malformed { what: path.display().to_string(), reason };
    let position = std::cell::Cell::new(0);
    let source = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut archive = Archive::new(Counting { source, position: &position });
    let mut files = HashMap::new();
    while let Some(entry) = archive.next_entry().map_err(|e| malformed(e.to_string()))? {
        let (EntryKind::File(None), Some(name)) = (&entry.kind, layout_file(&entry.name)) else { continue };
        let place = Place { offset: position.get(), size: entry.data_bytes };
        if files.insert(name.clone(), place).is_some() {
            return Err(malformed(format!("it has two files {name:?}")));
        }
        if files.len() > MAX_FILES {
            return Err(malformed(format!("it has more than {MAX_FILES} blobs")));
        }
    }
    Ok(files)
}

/// The path of a file that belongs to a layout; no other name of an archive means anything here.
fn layout_file(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_prefix("./").unwrap_or(name);
    if matches!(name, "oci-layout" | "index.json") {
        return Some(name.to_owned());
    }
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
    Some(format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex()))
}

/// Counts what is read through it.
struct Counting<'p, R> {
    source: R,
    position: &'p std::cell::Cell<u64>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.position.set(self.position.get().saturating_add(count as u64));
        Ok(count)
    }
}

/// A tar whose files are known.
struct Tar {
    file: File,
    files: HashMap<String, Place>,
}

impl Files for Tar {
    fn open(&self, path: &str) -> Result<Option<Opened<'_>>, OciError> {
        Ok(self.files.get(path).map(|place| {
            let section = Section { file: &self.file, offset: place.offset, left: place.size };
            (Box::new(section) as Box<dyn Read + Send>, place.size)
        }))
    }
}

/// A part of a file, read without moving anybody else's position.
struct Section<'f> {
    file: &'f File,
    offset: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.offset)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset = self.offset.saturating_add(count as u64);
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
