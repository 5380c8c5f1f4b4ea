//! Keys that the administrator trusts to sign images.
//!
//! Responsible for: the files below `trustedkeys`, and which of them count for an image's name. Must not know:
//! signatures, where keys come from. Follows rkt-reference.md 2.8 ("Trusted keys"); beside its OpenPGP keys lie bare
//! public keys (`cosign-<SHA-256 of the key>.pub`) under the same rules.

mod public_key;
mod review;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::fault;
use appc::AcIdentifier;
use sequoia_openpgp::Cert;
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;

pub use public_key::{PublicKey, PublicKeyError};
pub(crate) use review::keys_in;
pub use review::{Accept, Scope, review};

#[cfg(test)]
mod keystore_test;
#[cfg(test)]
mod public_key_test;

/// Largest key file. Keys with hundreds of signatures by others stay below a megabyte.
pub const MAX_KEY_BYTES: u64 = 4 * 1024 * 1024;
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// Digits of a fingerprint: 40 of the keys in use today, 64 of those that RFC 9580 adds.
const FINGERPRINT_DIGITS: [usize; 2] = [40, 64];
/// Digits of a bare public key's fingerprint.
const PUBLIC_KEY_DIGITS: usize = 64;

/// What can go wrong with trusted keys.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A key file or its directory could not be used.
    #[error("cannot {operation} {path:?}: {cause}")]
    File {
        /// A verb.
        operation: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The file is no OpenPGP key.
    #[error("{path:?} is no OpenPGP public key: {reason}")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The file is no bare public key.
    #[error("{path:?} is no public key of cosign: {cause}")]
    NotAPublicKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: PublicKeyError,
    },
    /// The file's name is another key's fingerprint.
    #[error("fingerprint mismatch: {path:?} holds key {found}")]
    FingerprintMismatch {
        /// The file.
        path: PathBuf,
        /// The fingerprint of the key in it.
        found: String,
    },
}

impl KeystoreError {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::File { operation, path, cause }
    }
}

/// The trusted keys of one host.
#[derive(Debug, Clone)]
pub struct Keystore {
    system: PathBuf,
    local: PathBuf,
}

impl Keystore {
    /// The keys below the vendor's and the administrator's configuration directory (`/usr/lib/rkt`, `/etc/rkt`).
    pub fn new(system_config: &Path, local_config: &Path) -> Self {
        Self { system: system_config.join("trustedkeys"), local: local_config.join("trustedkeys") }
    }

    /// The keys that count for images of this name: those trusted for everything, and those of every prefix that ends
    /// where a component of the name does. (rkt compared texts, so that a key for `a.com/et` counted for
    /// `a.com/etcd`.)
    pub fn keyring(&self, name: &AcIdentifier) -> Result<Vec<Cert>, KeystoreError> {
        load(&self.directories(name), is_openpgp_name, read_key)
    }

    /// The bare public keys that count for images of this name, by the same rules.
    pub fn public_keys(&self, name: &AcIdentifier) -> Result<Vec<PublicKey>, KeystoreError> {
        load(&self.directories(name), is_public_key_name, read_public_key)
    }

    /// Whether any OpenPGP key is trusted for exactly this prefix or one above it, other than for everything.
    pub fn has_prefix_key(&self, prefix: &AcIdentifier) -> Result<bool, KeystoreError> {
        Ok(!load(&self.prefix_directories(prefix), is_openpgp_name, read_key)?.is_empty())
    }

    /// Where keys for this name may be, in the order in which they override each other.
    fn directories(&self, name: &AcIdentifier) -> Vec<PathBuf> {
        let mut directories = vec![self.system.join("root.d"), self.local.join("root.d")];
        directories.extend(self.prefix_directories(name));
        directories
    }

    fn prefix_directories(&self, name: &AcIdentifier) -> Vec<PathBuf> {
        let prefixes: Vec<&str> = name
            .as_str()
            .match_indices('/')
            .map(|(at, _)| name.as_str().get(..at).unwrap_or_default())
            .chain([name.as_str()])
            .collect();
        let below = |store: &Path| {
            let directory = store.join("prefix.d");
            prefixes.iter().map(move |prefix| directory.join(prefix)).collect::<Vec<_>>()
        };
        [below(&self.system), below(&self.local)].concat()
    }

    /// All keys that are trusted for anything; each is all its copies merged. A signature by none of them need not be
    /// looked at twice. Whether one that can be verified with them counts for an image, [`Self::keyring`] knows: a file
    /// that masks a key below one prefix does not take it away from the others, and so is not looked at here.
    pub fn all(&self) -> Result<Vec<Cert>, KeystoreError> {
        let mut directories = vec![self.system.join("root.d"), self.local.join("root.d")];
        for store in [&self.system, &self.local] {
            let mut waiting = vec![store.join("prefix.d")];
            while let Some(directory) = waiting.pop() {
                for entry in entries(&directory)? {
                    if entry.is_dir() {
                        waiting.push(entry);
                    }
                }
                directories.push(directory);
            }
        }
        let mut keys: BTreeMap<String, Cert> = BTreeMap::new();
        for directory in &directories {
            for path in key_files(directory, is_openpgp_name)? {
                let Some(key) = read_key(&path)? else { continue };
                let key = match keys.remove(&fingerprint(&key)) {
                    Some(other) => other
                        .merge_public(key)
                        .map_err(|e| KeystoreError::NotAKey { path: path.clone(), reason: e.to_string() })?,
                    None => key,
                };
                keys.insert(fingerprint(&key), key);
            }
        }
        Ok(keys.into_values().collect())
    }

    /// Trusts a key for every image. Returns its file.
    pub fn store_root(&self, key: &Cert) -> Result<PathBuf, KeystoreError> {
        self.store(key, &self.local.join("root.d"))
    }

    /// Trusts a key for images of this name and below it. Returns its file.
    pub fn store_prefix(&self, prefix: &AcIdentifier, key: &Cert) -> Result<PathBuf, KeystoreError> {
        self.store(key, &self.local.join("prefix.d").join(prefix.as_str()))
    }

    /// Trusts a bare public key for images of this name and below it, or for every image. Returns its file.
    pub fn store_public_key(
        &self,
        prefix: Option<&AcIdentifier>,
        key: &PublicKey,
    ) -> Result<PathBuf, KeystoreError> {
        let directory = match prefix {
            Some(prefix) => self.local.join("prefix.d").join(prefix.as_str()),
            None => self.local.join("root.d"),
        };
        write(&directory, &public_key_name(key), key.to_pem().as_bytes())
    }

    fn store(&self, key: &Cert, directory: &Path) -> Result<PathBuf, KeystoreError> {
        let name = fingerprint(key);
        let armored = key
            .armored()
            .to_vec()
            .map_err(|e| KeystoreError::NotAKey { path: directory.join(&name), reason: e.to_string() })?;
        write(directory, &name, &armored)
    }
}

/// Writes a key's file. A half-written key would be an error for every later fetch, so it appears whole.
fn write(directory: &Path, name: &str, content: &[u8]) -> Result<PathBuf, KeystoreError> {
    let path = directory.join(name);
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(KeystoreError::file("create", directory))?;
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    fault::point("trust.directory.made");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, &path));
    written.map_err(KeystoreError::file("write", &path))?;
    Ok(path)
}

/// A key's fingerprint as its file is named.
pub fn fingerprint(key: &Cert) -> String {
    key.fingerprint().to_hex().to_ascii_lowercase()
}

fn public_key_name(key: &PublicKey) -> String {
    format!("cosign-{}.pub", key.fingerprint())
}

fn is_openpgp_name(name: &str) -> bool {
    FINGERPRINT_DIGITS.contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_public_key_name(name: &str) -> bool {
    let digits = name.strip_prefix("cosign-").and_then(|name| name.strip_suffix(".pub"));
    digits.is_some_and(|digits| {
        digits.len() == PUBLIC_KEY_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Loads the keys in these directories. A later file replaces an earlier one of the same name; an empty one removes it.
fn load<T>(
    directories: &[PathBuf],
    is_key: fn(&str) -> bool,
    read: fn(&Path) -> Result<Option<T>, KeystoreError>,
) -> Result<Vec<T>, KeystoreError> {
    let mut keys = BTreeMap::new();
    for directory in directories {
        for path in key_files(directory, is_key)? {
            let name = name_of(&path);
            match read(&path)? {
                Some(key) => drop(keys.insert(name, key)),
                None => drop(keys.remove(&name)),
            }
        }
    }
    Ok(keys.into_values().collect())
}

/// The files in a directory that are named like keys.
fn key_files(directory: &Path, is_key: fn(&str) -> bool) -> Result<Vec<PathBuf>, KeystoreError> {
    let is_key = |path: &PathBuf| is_key(&name_of(path)) && path.is_file();
    Ok(entries(directory)?.into_iter().filter(is_key).collect())
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
}

/// The OpenPGP key in a file that is named after it, or `None` if the file is empty.
fn read_key(path: &Path) -> Result<Option<Cert>, KeystoreError> {
    let bytes = read_bytes(path)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = Cert::from_bytes(&bytes)
        .map_err(|e| KeystoreError::NotAKey { path: path.to_owned(), reason: e.to_string() })?;
    match fingerprint(&key) {
        found if found == name_of(path) => Ok(Some(key)),
        found => Err(KeystoreError::FingerprintMismatch { path: path.to_owned(), found }),
    }
}

/// The bare public key in a file that is named after it, or `None` if the file is empty.
fn read_public_key(path: &Path) -> Result<Option<PublicKey>, KeystoreError> {
    let bytes = read_bytes(path)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let invalid = |cause| KeystoreError::NotAPublicKey { path: path.to_owned(), cause };
    let keys = PublicKey::from_pem(&bytes).map_err(invalid)?;
    let [key] = <[PublicKey; 1]>::try_from(keys).map_err(|_| invalid(PublicKeyError::TooMany(1)))?;
    if public_key_name(&key) != name_of(path) {
        return Err(KeystoreError::FingerprintMismatch { path: path.to_owned(), found: key.fingerprint() });
    }
    Ok(Some(key))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, KeystoreError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_KEY_BYTES).read_to_end(&mut bytes))
        .map_err(KeystoreError::file("read", path))?;
    Ok(bytes)
}

/// Paths in a directory, sorted; none if it is missing.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, KeystoreError> {
    let listing = match std::fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(KeystoreError::file("read", directory)(e)),
    };
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.map_err(KeystoreError::file("read", directory))?.path());
    }
    paths.sort();
    Ok(paths)
}
