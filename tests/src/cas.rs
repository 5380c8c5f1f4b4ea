//! rkt's store of images as files: what lies below `cas/` under the name of its digest must be that, at any moment, for
//! rkt believes it. Follows rkt-reference 2.1 and docs/architecture.md, not rkt's code.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256, Sha512};

/// Every regular file below a directory, sorted; none when there is no such directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The diff IDs of the layers in the store of a data directory.
pub fn layers(data: &Path) -> Vec<String> {
    let files = named(&data.join("cas/layer"), "sha256-");
    files.iter().map(|path| format!("sha256:{}", digits(path, "sha256-"))).collect()
}

/// Checks that every image and layer in the store of a data directory is what its name says.
#[track_caller]
pub fn check(data: &Path) {
    for path in named(&data.join("cas/blob"), "sha512-") {
        let content = fs::read(&path).expect("reading an image");
        let actual = hex(&Sha512::digest(content));
        assert!(actual.starts_with(digits(&path, "sha512-")), "{} is sha512-{actual}", path.display());
    }
    for path in named(&data.join("cas/layer"), "sha256-") {
        let content = fs::read(&path).expect("reading a layer");
        let actual = hex(&Sha256::digest(content));
        assert_eq!(digits(&path, "sha256-"), actual, "{}", path.display());
    }
}

fn named(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let is_named =
        |path: &PathBuf| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(prefix));
    files(directory).into_iter().filter(is_named).collect()
}

fn digits<'a>(path: &'a Path, prefix: &str) -> &'a str {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name in ASCII");
    name.strip_prefix(prefix).expect("a digest")
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
