//! What teardown needs, on disk before anything is set up.
//!
//! Responsible for: one file for each attachment, complete or not there. Must not know: when to tear down. Follows the
//! specification's "Deriving runtime parameters" (the same parameters on DEL) and what libcni's cache is for.
//!
//! ```text
//! DIRECTORY/eth0.json     the record: written before the first plugin runs, rewritten with the result
//! DIRECTORY/eth0.input    what a running plugin reads, locked (flock(2), shared) for as long as it or its children run
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Network;
use crate::error::CniError;
use crate::result::{AddResult, ResultError};
use crate::runtime::Attachment;
use crate::version::Version;

/// The longest record: a configuration and a result of the longest kind.
const LONGEST_RECORD: u64 = 8 << 20;

/// How often it is looked whether a plugin of an earlier process has ended.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

const RECORD: &str = "json";
const INPUT: &str = "input";
const UNFINISHED: &str = "new";

/// A directory of records, one container's.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

/// One attachment that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The network as its plugins were given it.
    pub network: Network,
    /// The version that was spoken.
    pub version: Version,
    /// The attachment.
    pub attachment: Attachment,
    /// Where plugins were looked for.
    pub plugin_directories: Vec<PathBuf>,
    /// What the last plugin printed; nothing if ADD did not come to its end.
    pub result: Option<Map<String, Value>>,
}

impl Record {
    /// The result of ADD, if it came to its end.
    ///
    /// # Errors
    /// The record is damaged.
    pub fn result(&self) -> Result<Option<AddResult>, ResultError> {
        self.result.clone().map(AddResult::from_json).transpose()
    }
}

impl Cache {
    /// The cache in `directory`, which is made when it is first written to.
    pub fn new(directory: impl Into<PathBuf>) -> Cache {
        Cache { directory: directory.into() }
    }

    /// Every attachment that was begun and not deleted, in order of the interfaces.
    ///
    /// # Errors
    /// [`CniError::Cache`] or [`CniError::DamagedRecord`].
    pub fn records(&self) -> Result<Vec<Record>, CniError> {
        self.interfaces()?.iter().map(|ifname| read(&self.path(ifname, RECORD))).collect()
    }

    /// The interfaces of those attachments, `eth2` before `eth10`.
    ///
    /// # Errors
    /// [`CniError::Cache`].
    pub fn interfaces(&self) -> Result<Vec<String>, CniError> {
        let failed = |cause| CniError::Cache { action: "read", path: self.directory.clone(), cause };
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let ifname = name.to_str().and_then(|name| name.strip_suffix(".json"));
            names.extend(ifname.map(str::to_owned));
        }
        names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        Ok(names)
    }

    /// The attachment of one interface, if there is one.
    ///
    /// # Errors
    /// [`CniError::Cache`] or [`CniError::DamagedRecord`].
    pub fn record(&self, ifname: &str) -> Result<Option<Record>, CniError> {
        let path = self.path(ifname, RECORD);
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// Writes a record so that it survives a crash of the host.
    pub(crate) fn write(&self, record: &Record) -> Result<(), CniError> {
        let path = self.path(&record.attachment.ifname, RECORD);
        let unfinished = self.path(&record.attachment.ifname, UNFINISHED);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.directory)?;
            let mut file = File::create(&unfinished)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|cause| CniError::Cache { action: "write", path: path.clone(), cause })
    }

    /// Forgets an attachment.
    pub(crate) fn remove(&self, ifname: &str) -> Result<(), CniError> {
        for kind in [INPUT, UNFINISHED, RECORD] {
            let path = self.path(ifname, kind);
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(CniError::Cache { action: "remove", path, cause });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// A file with what a plugin is to read, locked for as long as the plugin has it open.
    pub(crate) fn input(&self, ifname: &str, content: &[u8]) -> Result<File, CniError> {
        let path = self.path(ifname, INPUT);
        let write = || -> io::Result<File> {
            fs::create_dir_all(&self.directory)?;
            // A new file: what an earlier plugin left running may still have the earlier one open.
            self.release(ifname);
            File::create_new(&path)?.write_all(content)?;
            let file = File::open(&path)?;
            flock(&file, FlockOperation::NonBlockingLockShared)?;
            Ok(file)
        };
        write().map_err(|cause| CniError::Cache { action: "write", path: path.clone(), cause })
    }

    /// The plugin has read it.
    pub(crate) fn release(&self, ifname: &str) {
        // One that stays is replaced by the next, or goes with the record.
        let _ = fs::remove_file(self.path(ifname, INPUT));
    }

    /// Waits for a plugin that a process which was killed had started, at most for `limit`: what it has yet to do must not
    /// come after what undoes it.
    pub(crate) fn wait_for_orphan(&self, ifname: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        let Ok(file) = File::open(self.path(ifname, INPUT)) else { return };
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() && Instant::now() < deadline {
            thread::sleep(LOCK_INTERVAL);
        }
    }

    fn path(&self, ifname: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{ifname}.{kind}"))
    }
}

fn read(path: &Path) -> Result<Record, CniError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        File::open(path)?.take(LONGEST_RECORD).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = read().map_err(|cause| CniError::Cache { action: "read", path: path.to_owned(), cause })?;
    serde_json::from_slice(&content).map_err(|cause| CniError::DamagedRecord { path: path.to_owned(), cause })
}
