//! Which pods a command is about: UUIDs, or a file with one.
//!
//! Responsible for: the operands and `--uuid-file`, of which a user gives one kind. Must not know: whether such pods exist.
//! Follows rkt-reference.md 1.6 and 2.3, "UUIDs".

use std::path::Path;

use crate::error::{Result, Stage0Error};
use crate::pod::uuid_file;

/// What `status` and `stop` end with when the file cannot be read, unlike every other error.
pub const EXIT_UUID_FILE: u8 = 1;

/// UUIDs or their beginnings, or a file that `--uuid-file-save` wrote.
#[derive(Debug, Clone, clap::Args)]
pub struct PodNames {
    /// read pod UUID from file instead of argument
    #[arg(long, value_name = "string", default_value = "")]
    uuid_file: String,

    uuids: Vec<String>,
}

impl PodNames {
    /// One pod at least.
    pub fn several(&self) -> Result<Vec<String>> {
        match (self.file(), self.uuids.as_slice()) {
            (Some(path), []) => Ok(vec![uuid_file::read(path)?]),
            (None, [_, ..]) => Ok(self.uuids.clone()),
            _ => Err(Stage0Error::refused("must provide at least one UUID or --uuid-file")),
        }
    }

    /// One pod exactly.
    pub fn one(&self) -> Result<String> {
        match (self.file(), self.uuids.as_slice()) {
            (Some(path), []) => uuid_file::read(path),
            (None, [uuid]) => Ok(uuid.clone()),
            _ => Err(Stage0Error::refused("must provide exactly one UUID or --uuid-file")),
        }
    }

    /// Whether the UUIDs come from a file.
    pub fn is_file(&self) -> bool {
        self.file().is_some() && self.uuids.is_empty()
    }

    /// An empty name is none, as an unset variable in a unit file gives.
    fn file(&self) -> Option<&Path> {
        Some(self.uuid_file.as_str()).filter(|path| !path.is_empty()).map(Path::new)
    }
}
