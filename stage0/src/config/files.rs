//! The files of one configuration kind in one directory.
//!
//! Responsible for: which files count, and what every one of them must say. Must not know: a kind's fields. Follows
//! rkt-reference.md 2.8.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{FileContext, Result, Stage0Error};

/// Version of the configuration format.
const VERSION: &str = "v1";

/// Decodes every `*.json` of `kind` directly in `directory`, sorted by name. Those of the other `kinds` that belong in the
/// directory are left out; of any further kind there must be none. A missing directory has no files.
pub fn read<T: DeserializeOwned>(directory: &Path, kind: &str, kinds: &[&str]) -> Result<Vec<(PathBuf, T)>> {
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
    let mut found = Vec::new();
    for path in paths {
        if let Some(value) = decode(&path, kind, kinds)? {
            found.push((path, value));
        }
    }
    Ok(found)
}

/// A file that says something wrong.
pub fn invalid(path: &Path, why: impl std::fmt::Display) -> Stage0Error {
    Stage0Error::refused(format!("failed to parse {path:?}: {why}"))
}

fn decode<T: DeserializeOwned>(path: &Path, kind: &str, kinds: &[&str]) -> Result<Option<T>> {
    let text = std::fs::read(path).file("read", path)?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| invalid(path, error))?;
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let (found, version) = (field("rktKind"), field("rktVersion"));
    if found.is_empty() {
        return Err(Stage0Error::refused(format!("no rktKind specified in {path:?}")));
    }
    if version.is_empty() {
        return Err(Stage0Error::refused(format!("no rktVersion specified in {path:?}")));
    }
    if !kinds.contains(&found) {
        let (directory, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let kinds = kinds.join("\", \"");
        return Err(Stage0Error::refused(format!(
            "the configuration directory {directory:?} expects to have configuration files of kinds \"{kinds}\", but \
             {name:?} has kind of {found:?}"
        )));
    }
    if version != VERSION {
        return Err(Stage0Error::refused(format!(
            "no parser available for configuration of kind {found:?} and version {version:?} in {path:?}"
        )));
    }
    if found != kind {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(|error| invalid(path, error))
}
