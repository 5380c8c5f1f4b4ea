//! The files of one configuration kind in one directory.
//!
//! Responsible for: which files count, and what every one of them must say. Must not know: a kind's fields. Follows
//! rkt-reference.md 2.8.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Context, FileContext, Result, Stage0Error};

/// Version of the configuration format.
const VERSION: &str = "v1";

/// Decodes every `*.json` directly in `directory`, sorted by name; each must be of `kind`. A missing directory has no files.
pub fn read<T: DeserializeOwned>(directory: &Path, kind: &str) -> Result<Vec<(PathBuf, T)>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(Stage0Error::refused(format!("expected {directory:?} to be a directory")));
        }
        entries => entries.file("read", directory)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.file("read", directory)?;
        let path = entry.path();
        let is_file = entry.file_type().file("inspect", &path)?.is_file();
        if is_file && path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| decode(&path, kind).map(|value| (path, value))).collect()
}

fn decode<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<T> {
    let text = std::fs::read(path).file("read", path)?;
    let what = || format!("failed to parse {path:?}");
    let value: Value = serde_json::from_slice(&text).context(what())?;
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (found, version) = (field("rktKind"), field("rktVersion"));
    if found.is_empty() {
        return Err(Stage0Error::refused(format!("{}: no rktKind specified", what())));
    }
    if found != kind {
        return Err(Stage0Error::refused(format!(
            "{}: the configuration file is of kind {found:?}, not {kind:?}",
            what()
        )));
    }
    if version != VERSION {
        return Err(Stage0Error::refused(format!(
            "{}: unknown version {version:?} of kind {kind:?}",
            what()
        )));
    }
    serde_json::from_value(value).context(what())
}
