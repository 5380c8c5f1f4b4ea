//! Files that appear under their name whole or not at all, whenever their maker is killed.
//!
//! Responsible for: unfinished files in `cas/tmp`, naming them for good, removing those whose maker is gone. Must not
//! know: what is in them. Follows rkt-reference.md 2.1 (`cas/tmp`) and flock(2).
//!
//! Whoever makes a file in `cas/tmp`, a download for example, locks it as long as it is in use, and makes another if
//! the file was removed before it was locked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::StoreError;
use super::permissions::{SHARED_DIRECTORY, SHARED_FILE, make_directory, share};
use crate::fault;

/// What our names begin with; the rest is random, because process IDs repeat between the PID namespaces that share a
/// store.
const PREFIX: &str = "import-";
/// How often a file may be removed before it is locked until that is taken for a fault.
const ATTEMPTS: usize = 64;

/// An unfinished file, locked as long as its maker lives. It is removed unless it is given a name.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    path: PathBuf,
    file: File,
    /// It has its name; the one it had may be another's by now.
    is_named: bool,
}

impl TemporaryFile {
    /// Makes an empty file in `directory`, which must be on the file system it will stay on.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        Self::claim(directory, &format!("{PREFIX}{}", Uuid::new_v4()))
    }

    /// Makes the empty file `name` in `directory`; waits until nobody else has it.
    pub fn claim(directory: &Path, name: &str) -> Result<Self, StoreError> {
        let path = directory.join(name);
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(SHARED_FILE)
                // The group may write to the directory, and must not choose which of root's files is overwritten.
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(&path)
                .map_err(StoreError::file("create", &path))?;
            check_ordinary(&file, &path)?;
            lock(&file).map_err(StoreError::file("lock", &path))?;
            // Between the two calls somebody may have taken it for an abandoned one, or given it its name for good.
            if is_named(&file, &path) {
                fault::point("store.temporary.made");
                // What its maker was killed over is worth nothing.
                file.set_len(0).map_err(StoreError::file("empty", &path))?;
                share(&file, &path)?;
                return Ok(Self { path, file, is_named: false });
            }
        }
        Err(StoreError::LockReplaced(path))
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be written to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, replacing what has it. When this returns, both are on disk.
    pub fn persist(mut self, target: &Path) -> Result<(), StoreError> {
        self.file.sync_all().map_err(StoreError::file("sync", &self.path))?;
        fault::point("store.temporary.synced");
        let Some(parent) = target.parent() else { return Ok(()) };
        make_directory_durably(parent, SHARED_DIRECTORY)?;
        std::fs::rename(&self.path, target).map_err(StoreError::file("create", target))?;
        fault::point("store.temporary.renamed");
        self.is_named = true;
        sync_directory(parent)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_named {
            // What cannot be removed now is abandoned.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes the unfinished files in `directory` whose makers were killed. What cannot be removed stays: it does no harm.
pub(super) fn remove_abandoned(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) else {
            continue;
        };
        // The name may be that of another file by now, which somebody is writing.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_named(&file, &path) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Makes a directory and its missing parents, and makes their names last.
pub(super) fn make_directory_durably(path: &Path, mode: u32) -> Result<(), StoreError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.is_dir()).collect();
    make_directory(path, mode)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_directory)
}

/// Makes the names in a directory last.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(StoreError::file::<io::Error>("sync", path))
}

fn lock(file: &File) -> rustix::io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Refuses what is another file's second name, and what is no regular file.
fn check_ordinary(file: &File, path: &Path) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(StoreError::file("stat", path))?;
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(StoreError::file("use", path)(io::Error::other("somebody else made it")));
    }
    Ok(())
}

/// Whether this is the file that has the name now.
pub(super) fn is_named(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn files_of_makers_that_are_gone_are_removed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let alive = TemporaryFile::create(directory.path()).unwrap();
        std::fs::write(directory.path().join("import-killed"), "half an image").unwrap();
        std::fs::write(directory.path().join("download-killed"), "half a download").unwrap();

        remove_abandoned(directory.path());

        assert_eq!(names(directory.path()), [alive.path.file_name().unwrap().to_str().unwrap()]);
    }

    #[test]
    fn name_that_leads_to_another_file_is_refused_and_that_file_is_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let link = directory.path().join("layer-link");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        std::fs::hard_link(&victim, directory.path().join("layer-second-name")).unwrap();
        std::fs::create_dir(directory.path().join("layer-directory")).unwrap();

        for name in ["layer-link", "layer-second-name", "layer-directory"] {
            let error = TemporaryFile::claim(directory.path(), name).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn claimed_file_is_empty_whatever_a_killed_maker_left_in_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("layer-a"), "half").unwrap();
        let file = TemporaryFile::claim(directory.path(), "layer-a").unwrap();
        assert_eq!(file.file().metadata().unwrap().len(), 0);
    }

    #[test]
    fn file_is_nowhere_until_it_has_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let (kept, dropped) = (directory.path().join("a/kept"), directory.path().join("dropped"));

        let file = TemporaryFile::create(directory.path()).unwrap();
        io::Write::write_all(&mut file.file(), b"whole").unwrap();
        let unfinished = names(directory.path());
        file.persist(&kept).unwrap();
        drop(TemporaryFile::create(directory.path()).unwrap());

        assert!(unfinished.len() == 1 && unfinished[0].starts_with(PREFIX));
        assert_eq!(std::fs::read(&kept).unwrap(), b"whole");
        assert_eq!(names(directory.path()), ["a"]);
        assert!(!dropped.exists());
    }
}
