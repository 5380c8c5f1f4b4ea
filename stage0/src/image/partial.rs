//! The file that a URL is downloaded to, and what is left of it when a download was interrupted.
//!
//! Responsible for: one writer at a time, and that only what can be continued is kept. Must not know: HTTP, images. Follows
//! rkt-reference.md 3.4 ("Resume").
//!
//! Beside the file `.etag` says which version of the URL it holds the beginning of, and during which boot it was written:
//! after a power cut a file may have its length without its content.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock, fstat, stat};
use sha2::{Digest, Sha512};
use url::Url;

use super::ImageError;
use crate::fault;
use crate::hex;
use crate::log::Log;

/// Bytes of the URL's hash that name the file, as many as the store's keys have.
const NAME_BYTES: usize = 32;
const FILE_MODE: u32 = 0o660;
/// Longest validator that is kept: it goes back to the server with every later request.
pub(super) const MAX_VALIDATOR_BYTES: usize = 1024;
/// Largest `.etag`: a validator and a boot ID.
const MAX_NOTE_BYTES: u64 = 2048;
/// How long an interrupted download is kept. Whoever wants to go on does so within days; after that it wastes the disk.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A download's file, locked. It is removed when this is dropped, unless it can be continued and [`Self::keep`] was
/// called; when the process is killed it stays.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    length: u64,
    validator: Option<String>,
    waited: bool,
    kept: bool,
}

impl Partial {
    /// Locks the file of `url` in `directory`, waiting for whoever downloads it now.
    pub fn lock(directory: &Path, url: &Url, log: Log) -> Result<Self, ImageError> {
        remove_outdated(directory);
        let hash = Sha512::digest(url.as_str().as_bytes());
        let name = hex::lower(hash.get(..NAME_BYTES).unwrap_or_default());
        let path = directory.join(format!("download-{name}"));
        let unusable = |cause: io::Error| ImageError::WriteDownload { path: path.clone(), cause };
        let mut waited = false;
        loop {
            let file = open(&path).map_err(unusable)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                log.print("another rkt instance is downloading this file, waiting...");
                waited = true;
                wait_for(&file).map_err(unusable)?;
            }
            let held = fstat(&file).map_err(|e| unusable(e.into()))?;
            // Whoever held it before has removed it when done; then this is nobody's file any more.
            if stat(&path).is_ok_and(|found| (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)) {
                let length = u64::try_from(held.st_size).unwrap_or(0);
                let validator = read_note(&note(&path)).filter(|_| length > 0);
                return Ok(Self { path, file, length, validator, waited, kept: false });
            }
        }
    }

    /// How many bytes are there, and of which version, if they can be continued.
    pub fn beginning(&self) -> Option<(u64, &str)> {
        Some((self.length, self.validator.as_deref()?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another process had it before.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Bytes in the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Begins anew with the version of the URL that `validator` stands for; without one it cannot be continued later.
    pub fn restart(&mut self, validator: Option<String>) -> Result<(), ImageError> {
        // In this order a note never stands beside the bytes of another version.
        remove(&note(&self.path));
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|e| self.unusable(e))?;
        self.length = 0;
        fault::point("download.emptied");
        if let Some(validator) = &validator {
            write_note(&note(&self.path), validator).map_err(|e| self.unusable(e))?;
        }
        fault::point("download.noted");
        self.validator = validator;
        Ok(())
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.file.write_all(bytes).map_err(|e| self.unusable(e))?;
        self.length += bytes.len() as u64;
        fault::point("download.appended");
        Ok(())
    }

    /// What is there, from the start. At its end the next [`Self::append`] goes on.
    pub fn content(&mut self) -> Result<impl Read + Send + '_, ImageError> {
        self.file.rewind().map_err(|e| self.unusable(e))?;
        Ok((&self.file).take(self.length))
    }

    /// Leaves the file for a later download to go on with, if it can.
    pub fn keep(&mut self) {
        self.kept = self.beginning().is_some();
    }

    fn unusable(&self, cause: io::Error) -> ImageError {
        ImageError::WriteDownload { path: self.path.clone(), cause }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // The file first: a note alone means nothing, a file alone is begun anew.
            remove(&self.path);
            remove(&note(&self.path));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        // Group `rkt` may write to the directory, and must not choose which of root's files is written.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn wait_for(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

fn note(path: &Path) -> PathBuf {
    path.with_extension("etag")
}

/// The validator in a note of this boot.
fn read_note(path: &Path) -> Option<String> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let mut text = String::new();
    file.take(MAX_NOTE_BYTES).read_to_string(&mut text).ok()?;
    let (validator, boot) = text.split_once('\n')?;
    // A note that was not written to its end has no second newline.
    let is_current = boot.strip_suffix('\n')? == boot_id()?;
    // Anything else no header can carry, and the download could neither be continued nor begun anew.
    let is_header_text = validator.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_current && is_header_text && !validator.is_empty()).then(|| validator.to_owned())
}

fn write_note(path: &Path, validator: &str) -> io::Result<()> {
    let Some(boot) = boot_id() else { return Ok(()) };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    file.write_all(format!("{validator}\n{boot}\n").as_bytes())
}

fn boot_id() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned())
}

/// What cannot be removed is begun anew by the next download of the same URL.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Removes what nobody went on with. What cannot be removed stays: it does no harm.
fn remove_outdated(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let modified =
            entry.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|m| m.modified().ok());
        let is_outdated = modified
            .and_then(|modified| SystemTime::now().duration_since(modified).ok())
            .is_some_and(|age| age > LIFETIME);
        let is_unused = || {
            open(&entry.path())
                .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
        };
        if is_outdated && is_unused() {
            remove(&entry.path());
        }
    }
}
