//! Files that carry a pod's UUID between commands.
//!
//! Responsible for: `--uuid-file-save` and `--uuid-file`. Must not know: whether such a pod exists. Follows
//! rkt-reference.md 2.3, "UUIDs".

use std::io::Read;
use std::path::Path;

use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;

/// A UUID is 36 characters; more than this in a UUID file is some other file.
const MAX_UUID_FILE_BYTES: u64 = 256;

/// Reads a UUID, white space around it ignored.
pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_UUID_FILE_BYTES).read_to_string(&mut text))
        .file("read", path)
        .context("unable to resolve UUID from file")?;
    let uuid = text.trim();
    if uuid.is_empty() {
        return Err(Stage0Error::refused(format!("no UUID in file {path:?}")));
    }
    Ok(uuid.to_owned())
}

/// Writes a UUID without a newline.
pub fn write(path: &Path, uuid: &str) -> Result<()> {
    std::fs::write(path, uuid).file("write", path).context("error saving pod UUID to file")?;
    fault::point("pod.uuid.saved");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back_and_has_no_newline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uuid");

        write(&path, "5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11").unwrap();

        assert_eq!(std::fs::read(&path).unwrap(), b"5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11");
        assert_eq!(read(&path).unwrap(), "5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11");
    }

    #[test]
    fn white_space_around_the_uuid_is_ignored_and_an_empty_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (padded, empty) = (directory.path().join("padded"), directory.path().join("empty"));
        std::fs::write(&padded, " 5bc080ca\n").unwrap();
        std::fs::write(&empty, "\n").unwrap();

        assert_eq!(read(&padded).unwrap(), "5bc080ca");
        assert!(read(&empty).unwrap_err().to_string().starts_with("no UUID in file"));
    }
}
