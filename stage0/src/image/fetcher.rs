//! Fetching one image, from wherever the user said.
//!
//! Responsible for: the order of store, download, verification and import. Must not know: HTTP's details, OpenPGP's
//! details, how the store keeps things. Follows rkt-reference.md 3.3 to 3.6.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use appc::ImageManifest;
use sha2::{Digest, Sha512};
use url::Url;

use super::http::{Answer, Download, HttpClient};
use super::progress::Progress;
use super::verify::{check_issuer, verify};
use super::{AppcName, ImageError, PullPolicy, Reference, VerifyError};
use crate::cli::insecure::InsecureOptions;
use crate::keystore::Keystore;
use crate::log::Log;
use crate::output;
use crate::store::{ImageStore, Import, Key, Remote, peek_manifest};

/// Largest signature file. A signature is half a kilobyte; sixteen of them with room to spare fit.
const MAX_SIGNATURE_BYTES: u64 = 64 * 1024;
/// Largest download; the store's own limit is on the uncompressed image.
const MAX_DOWNLOAD_BYTES: u64 = 64 * 1024 * 1024 * 1024;
const DOWNLOAD_MODE: u32 = 0o660;
const COPY_BUFFER_BYTES: usize = 128 * 1024;

/// How images are fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions {
    /// When to fetch what is in the store.
    pub pull_policy: PullPolicy,
    /// Which checks are off.
    pub insecure: InsecureOptions,
    /// Verbose diagnostics.
    pub debug: bool,
}

/// Fetches images into a store.
pub struct Fetcher<'a> {
    store: &'a ImageStore,
    keystore: &'a Keystore,
    options: FetchOptions,
    log: Log,
}

impl<'a> Fetcher<'a> {
    /// Signatures are checked against `keystore`, unless the options say otherwise.
    pub fn new(store: &'a ImageStore, keystore: &'a Keystore, options: FetchOptions) -> Self {
        Self { store, keystore, options, log: Log::new("image", options.debug) }
    }

    /// The store that images go to.
    pub fn store(&self) -> &'a ImageStore {
        self.store
    }

    /// Fetches an image and what it depends on. `signature` replaces the signature beside the image.
    pub fn fetch(&self, image: &str, signature: Option<&Path>) -> Result<Key, ImageError> {
        let key = match Reference::parse(image)? {
            Reference::Name(name) => self.name(&name)?,
            Reference::File(path) => self.file(&path, signature)?,
            Reference::Url(url) => self.url(&url, signature)?,
            Reference::Docker(_) if !self.options.insecure.skip_image_check() => {
                return Err(ImageError::DockerSignature);
            }
            Reference::Docker(reference) => return Err(ImageError::Docker(reference)),
            Reference::Oci { path, .. } | Reference::OciArchive { path, .. } => {
                return Err(ImageError::Oci(path));
            }
        };
        self.dependencies(&key)?;
        Ok(key)
    }

    fn name(&self, name: &AppcName) -> Result<Key, ImageError> {
        self.log.debug(format_args!("searching for app image {}", name.name));
        let labels = name.labels_on_host().map_err(|e| ImageError::InvalidReference {
            reference: name.to_string(),
            reason: e.to_string(),
        })?;
        let found = self.store.get_by_name(&name.name, &labels)?;
        let key = found.ok_or_else(|| ImageError::NameNotFound(name.to_string()))?;
        self.log.debug(format_args!("using image from local store for image name {name}"));
        Ok(key)
    }

    /// Makes sure that everything the image depends on is in the store.
    fn dependencies(&self, top: &Key) -> Result<(), ImageError> {
        let mut seen = HashSet::new();
        let mut waiting = vec![top.clone()];
        while let Some(key) = waiting.pop() {
            if !seen.insert(key.clone()) {
                continue;
            }
            for dependency in self.store.manifest(&key)?.dependencies {
                waiting.push(match &dependency.image_id {
                    Some(id) => self.store.resolve_key(id.as_str())?,
                    None => {
                        self.name(&AppcName { name: dependency.image_name, labels: dependency.labels })?
                    }
                });
            }
        }
        Ok(())
    }

    fn file(&self, path: &Path, signature: Option<&Path>) -> Result<Key, ImageError> {
        let unreadable = |cause| ImageError::ReadImage { path: path.to_owned(), cause };
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        self.log.debug(format_args!("using image from file {}", path.display()));
        if self.options.insecure.skip_image_check() {
            return Ok(self.store.import(&file, &Import::default())?);
        }
        let signature = match signature {
            Some(signature) => signature.to_owned(),
            None => with_suffix(path, ".asc"),
        };
        self.import_verified(&file, &read_signature(&signature)?, path)
    }

    fn url(&self, url: &Url, signature: Option<&Path>) -> Result<Key, ImageError> {
        let remote = match (self.options.pull_policy, self.store.remote(url.as_str())?) {
            (PullPolicy::New | PullPolicy::Never, Some(remote)) => return Ok(self.use_stored(url, &remote)),
            (PullPolicy::Never, None) => return Err(ImageError::UrlNotFound(url.to_string())),
            // What came into the store unverified is no answer to a fetch that verifies: it is fetched anew.
            (_, remote) => remote.filter(|r| self.options.insecure.skip_image_check() || r.is_verified()),
        };
        if let Some(remote) = remote.as_ref().filter(|remote| remote.is_fresh(SystemTime::now())) {
            return Ok(self.use_stored(url, remote));
        }
        self.log.debug(format_args!("remote fetching from URL {:?}", url.as_str()));
        let skip_tls = self.options.insecure.skip_tls_check();
        if skip_tls {
            self.log.print("warning: TLS verification has been disabled");
        }
        let client = HttpClient::new(skip_tls);
        let download = Target::lock(&self.store.temporary_directory()?, url, self.log)?;
        let etag = remote.as_ref().map(|remote| remote.etag.as_str()).unwrap_or_default();
        if self.options.insecure.skip_image_check() {
            let Some(found) = self.download_image(&client, url, etag, &download)? else {
                return self.not_modified(url, remote.as_ref());
            };
            let key = self.store.import(rewound(&download.file, &download.path)?, &Import::default())?;
            return self.record(url, &found, "", key);
        }

        let (signature_url, mut signature_bytes) = match signature {
            Some(path) => (format!("file://{}", path.display()), Some(read_signature(path)?)),
            None => {
                let signature_url = signature_url(url);
                let bytes = self.download_signature(&client, &signature_url)?;
                (signature_url.to_string(), bytes)
            }
        };
        if let Some(bytes) = &signature_bytes {
            self.check_issuer(bytes, url)?;
        }
        let Some(found) = self.download_image(&client, url, etag, &download)? else {
            return self.not_modified(url, remote.as_ref());
        };
        if signature_bytes.is_none() {
            signature_bytes = self.download_signature(&client, &self::signature_url(url))?;
        }
        let Some(bytes) = signature_bytes else {
            return Err(ImageError::SignatureDeferred(signature_url));
        };
        let key = self.import_verified(&download.file, &bytes, &download.path)?;
        self.record(url, &found, &signature_url, key)
    }

    fn use_stored(&self, url: &Url, remote: &Remote) -> Key {
        self.log.debug(format_args!("using image from local store for url {url}"));
        remote.blob_key.clone()
    }

    fn not_modified(&self, url: &Url, remote: Option<&Remote>) -> Result<Key, ImageError> {
        match remote {
            Some(remote) => Ok(self.use_stored(url, remote)),
            None => Err(ImageError::UrlNotFound(url.to_string())),
        }
    }

    /// Downloads into `target`. `None` means that the image with this `etag` is current.
    fn download_image(
        &self,
        client: &HttpClient,
        url: &Url,
        etag: &str,
        target: &Target,
    ) -> Result<Option<Found>, ImageError> {
        let failed = |cause| ImageError::Download { what: "image", url: url.to_string(), cause };
        match client.get(url, etag, MAX_DOWNLOAD_BYTES).map_err(failed)? {
            Answer::NotModified => Ok(None),
            Answer::Deferred => Err(failed(super::HttpError::Status(202))),
            Answer::Found(download) => {
                let Download { mut body, length, etag, max_age } = *download;
                let bar = Progress::new().bar("Downloading ACI", length);
                let mut progress = bar.reader(&mut body);
                let mut buffer = vec![0; COPY_BUFFER_BYTES];
                loop {
                    let count = match progress.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => count,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                        Err(e) => {
                            return Err(failed(body.error(e)));
                        }
                    };
                    let bytes = buffer.get(..count).unwrap_or_default();
                    (&target.file)
                        .write_all(bytes)
                        .map_err(|cause| ImageError::WriteDownload { path: target.path.clone(), cause })?;
                }
                bar.finish();
                Ok(Some(Found { etag, max_age }))
            }
        }
    }

    /// Downloads a signature. `None` means that the server asks to come back after the image.
    fn download_signature(&self, client: &HttpClient, url: &Url) -> Result<Option<Vec<u8>>, ImageError> {
        self.log.debug(format_args!("downloading signature from {url}"));
        let failed = |cause| ImageError::Download { what: "signature", url: url.to_string(), cause };
        match client.get(url, "", MAX_SIGNATURE_BYTES).map_err(failed)? {
            Answer::Deferred => Ok(None),
            Answer::NotModified => Err(failed(super::HttpError::Status(304))),
            Answer::Found(mut download) => {
                let mut bytes = Vec::new();
                let bar = Progress::new().bar("Downloading signature", download.length);
                let read = bar.reader(&mut download.body).read_to_end(&mut bytes);
                read.map_err(|e| failed(download.body.error(e)))?;
                bar.finish();
                Ok(Some(bytes))
            }
        }
    }

    /// Refuses, before the image is downloaded, a signature that no trusted key can have made. Which keys count is
    /// known only when the image's name is.
    fn check_issuer(&self, signature: &[u8], url: &Url) -> Result<(), ImageError> {
        let keys = self.keystore.all()?;
        check_issuer(signature, &keys, "any image").map_err(|cause| {
            self.advise(&cause, "IMAGE-NAME");
            ImageError::Verify { image: url.to_string(), cause }
        })
    }

    fn advise(&self, error: &VerifyError, name: &str) {
        if matches!(error, VerifyError::Untrusted { .. }) {
            self.log.print("If you expected the signing key to change, try running:");
            self.log.print(format_args!("    rkt trust --prefix {name:?}"));
        }
    }

    /// Checks `signature` over the file with the keys that count for the name in the image's manifest. Returns the
    /// hash of what was verified.
    fn verify(&self, file: &File, signature: &[u8], path: &Path) -> Result<Vec<u8>, ImageError> {
        let manifest: ImageManifest = peek_manifest(rewound(file, path)?)?;
        let keys = self.keystore.keyring(&manifest.name)?;
        let mut content = Hashing { source: rewound(file, path)?, hash: Sha512::new() };
        let scope = format!("{:?}", manifest.name.as_str());
        let signers = verify(signature, &mut content, &keys, &scope);
        let signer = signers.and_then(|signers| signers.counts_for(&keys, &scope).cloned());
        let signer = signer.map_err(|cause| {
            self.advise(&cause, manifest.name.as_str());
            ImageError::Verify { image: manifest.name.to_string(), cause }
        })?;
        self.log.print("signature verified:");
        for identity in signer.identities {
            output::complain(&format!("  {identity}"));
        }
        Ok(content.hash.finalize().to_vec())
    }

    /// Verifies a file and imports exactly what was verified. Whoever may write to the file (a local image is not
    /// ours, a download is shared with group `rkt`) could swap its content behind the check.
    fn import_verified(&self, file: &File, signature: &[u8], path: &Path) -> Result<Key, ImageError> {
        let verified = self.verify(file, signature, path)?;
        let mut again = Hashing { source: rewound(file, path)?, hash: Sha512::new() };
        let key = self.store.import_checked(&mut again, &Import::default(), |source| {
            io::copy(source, &mut io::sink())?;
            Ok(source.hash.clone().finalize().as_slice() == verified.as_slice())
        })?;
        key.ok_or_else(|| ImageError::Changed(path.to_owned()))
    }

    /// Remembers where an image came from.
    fn record(&self, url: &Url, found: &Found, signature: &str, key: Key) -> Result<Key, ImageError> {
        self.store.put_remote(&Remote {
            aci_url: url.to_string(),
            sig_url: signature.to_owned(),
            etag: found.etag.clone(),
            blob_key: key.clone(),
            cache_max_age: found.max_age,
            download_time: SystemTime::now(),
        })?;
        Ok(key)
    }
}

/// What the server said about the image besides its bytes.
struct Found {
    etag: String,
    max_age: u64,
}

/// The file that a URL is downloaded to. One rkt at a time writes it; it is gone when this is dropped.
struct Target {
    path: PathBuf,
    file: File,
}

impl Target {
    fn lock(directory: &Path, url: &Url, log: Log) -> Result<Self, ImageError> {
        let mut name = String::from("download-");
        for byte in Sha512::digest(url.as_str().as_bytes()).iter().take(32) {
            name.push_str(&format!("{byte:02x}"));
        }
        let path = directory.join(name);
        let unusable = |cause: io::Error| ImageError::WriteDownload { path: path.clone(), cause };
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(DOWNLOAD_MODE)
                .open(&path)
                .map_err(unusable)?;
            use rustix::fs::{FlockOperation, flock, fstat, stat};
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                log.print("another rkt instance is downloading this file, waiting...");
                flock(&file, FlockOperation::LockExclusive).map_err(|e| unusable(e.into()))?;
            }
            let held = fstat(&file).map_err(|e| unusable(e.into()))?;
            // Whoever held it before has removed it when done; then this is nobody's file any more.
            if stat(&path).is_ok_and(|found| (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)) {
                file.set_len(0).map_err(unusable)?;
                return Ok(Self { path, file });
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // What cannot be removed is truncated by the next download of the same URL.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    source: R,
    hash: Sha512,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn rewound<'f>(file: &'f File, path: &Path) -> Result<&'f File, ImageError> {
    let mut file_at_start = file;
    file_at_start.rewind().map_err(|cause| ImageError::ReadImage { path: path.to_owned(), cause })?;
    Ok(file)
}

fn read_signature(path: &Path) -> Result<Vec<u8>, ImageError> {
    let unreadable = |cause| ImageError::ReadSignature { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SIGNATURE_BYTES {
        return Err(unreadable(io::Error::other(format!("it is larger than {MAX_SIGNATURE_BYTES} bytes"))));
    }
    Ok(bytes)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// `…/X.aci?query` to `…/X.aci.asc?query`.
fn signature_url(url: &Url) -> Url {
    let mut signature = url.clone();
    signature.set_path(&format!("{}.asc", url.path()));
    signature
}
