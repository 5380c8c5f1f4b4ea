//! Fetching one image, from wherever the user said.
//!
//! Responsible for: what each kind of reference needs, and which images are believed. Must not know: HTTP's details, OpenPGP's
//! details, how the store keeps things. Follows rkt-reference.md 3.3 to 3.6.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;

use appc::{ImageManifest, Labels};
use sequoia_openpgp::Cert;
use sha2::{Digest, Sha512};

use super::dependencies::Dependencies;
use super::discovery::Discovery;
use super::download::{Stopped, copy};
use super::http::HttpClient;
use super::intake::{Check, Intake, IntakeError, Taken};
use super::partial::Partial;
use super::progress::Progress;
use super::publisher::Publisher;
use super::remote::RemoteImage;
use super::signature::{self, SignatureAt};
use super::verify::{check_issuer, verify};
use super::{AppcName, ImageError, PullPolicy, Reference, VerifyError};
use crate::cli::insecure::InsecureOptions;
use crate::config::Configuration;
use crate::keystore::Keystore;
use crate::log::{Log, render};
use crate::oci::OciFetcher;
use crate::output;
use crate::store::{ImageStore, Import, Key};

/// How images are fetched.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions {
    /// When to fetch what is in the store.
    pub pull_policy: PullPolicy,
    /// Which checks are off.
    pub insecure: InsecureOptions,
    /// Keys that a publisher serves over https are trusted without asking.
    pub trust_keys_from_https: bool,
    /// Verbose diagnostics.
    pub debug: bool,
}

/// Fetches images into a store.
pub struct Fetcher<'a> {
    store: &'a ImageStore,
    keystore: &'a Keystore,
    configuration: &'a Configuration,
    options: FetchOptions,
    progress: Progress,
    /// Made when it is first needed: files need none.
    client: OnceLock<HttpClient>,
    log: Log,
}

/// What the manifest of an image must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a>(pub Option<&'a AppcName>);

impl Wanted<'_> {
    /// Refuses an image that is another one than was asked for. Labels that were asked for must be there; `os` and `arch` that
    /// were not must not be another host's.
    pub fn check(&self, manifest: &ImageManifest) -> Result<(), ImageError> {
        let Some(wanted) = self.0 else { return Ok(()) };
        let wrong = |what: String| ImageError::WrongImage { wanted: wanted.to_string(), what };
        if manifest.name != wanted.name {
            return Err(wrong(format!("its name is {:?}", manifest.name.as_str())));
        }
        for label in wanted.labels.iter() {
            match manifest.labels.get(label.name.as_str()) {
                Some(found) if found == label.value => {}
                Some(found) => {
                    return Err(wrong(format!("its label {:?} is {found:?}", label.name.as_str())));
                }
                None => return Err(wrong(format!("it has no label {:?}", label.name.as_str()))),
            }
        }
        let host = labels_on_host(wanted)?;
        let foreign = host
            .iter()
            .find(|label| manifest.labels.get(label.name.as_str()).is_some_and(|found| found != label.value));
        match foreign {
            Some(label) => {
                Err(wrong(format!("its label {:?} is not {:?}", label.name.as_str(), label.value)))
            }
            None => Ok(()),
        }
    }

    fn name(&self) -> &str {
        self.0.map_or("IMAGE-NAME", |wanted| wanted.name.as_str())
    }
}

fn labels_on_host(name: &AppcName) -> Result<Labels, ImageError> {
    name.labels_on_host()
        .map_err(|e| ImageError::InvalidReference { reference: name.to_string(), reason: e.to_string() })
}

impl<'a> Fetcher<'a> {
    /// Signatures are checked against `keystore`, unless the options say otherwise.
    pub fn new(
        store: &'a ImageStore,
        keystore: &'a Keystore,
        configuration: &'a Configuration,
        options: FetchOptions,
    ) -> Self {
        let log = Log::new("image", options.debug);
        Self {
            store,
            keystore,
            configuration,
            options,
            progress: Progress::new(),
            client: OnceLock::new(),
            log,
        }
    }

    /// The store that images go to.
    pub fn store(&self) -> &'a ImageStore {
        self.store
    }

    pub(super) fn options(&self) -> &FetchOptions {
        &self.options
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn log(&self) -> Log {
        self.log
    }

    /// Fetches an image and what it depends on. `signature` replaces the signature beside the image.
    pub fn fetch(&self, image: &str, signature: Option<&Path>) -> Result<Key, ImageError> {
        let key = match Reference::parse(image)? {
            Reference::Name(name) => self.name(&name, signature)?,
            Reference::File(path) => self.file(&path, signature)?,
            Reference::Url(url) => {
                let signature = signature.map(|path| SignatureAt::File(path.to_owned()));
                let signature = signature.unwrap_or_else(|| SignatureAt::beside_url(&url));
                self.remote(&RemoteImage { url: &url, signature, wanted: Wanted(None), latest: false })?
            }
            Reference::Docker(reference) => self.containers().docker(&reference)?,
            Reference::Oci { path, tag } => self.containers().layout(&path, tag.as_deref())?,
            Reference::OciArchive { path, tag } => self.containers().archive(&path, tag.as_deref())?,
        };
        Dependencies::new(self).fetch(&key)?;
        Ok(key)
    }

    fn containers(&self) -> OciFetcher<'a> {
        OciFetcher::new(self.store, self.keystore, self.configuration, self.options)
    }

    /// An image by name: the best in the store, or the one that is discovered.
    pub(super) fn name(&self, name: &AppcName, signature: Option<&Path>) -> Result<Key, ImageError> {
        let labels = labels_on_host(name)?;
        if self.options.pull_policy != PullPolicy::Update {
            self.log.debug(format_args!("searching for app image {}", name.name));
            if let Some(key) = self.store.get_by_name(&name.name, &labels)? {
                self.log.debug(format_args!("using image from local store for image name {name}"));
                return Ok(key);
            }
            if self.options.pull_policy == PullPolicy::Never {
                return Err(ImageError::NameNotFound(name.to_string()));
            }
        }
        self.log.debug(format_args!("remote fetching from name {:?}", name.to_string()));
        let discovery = Discovery::new(self.client()?, self.options.insecure.allow_http(), self.log);
        let on_host = AppcName { name: name.name.clone(), labels };
        let found = discovery.endpoint(&on_host);
        let endpoint = found.map_err(|cause| ImageError::Discovery { name: name.to_string(), cause })?;
        if !self.options.insecure.skip_image_check() {
            self.publisher()?.offer_keys(&name.name)?;
        }
        self.remote(&RemoteImage {
            url: &endpoint.image,
            signature: signature
                .map_or(SignatureAt::Url(endpoint.signature), |path| SignatureAt::File(path.to_owned())),
            wanted: Wanted(Some(name)),
            latest: name.labels.get("version").is_none(),
        })
    }

    fn file(&self, path: &Path, signature: Option<&Path>) -> Result<Key, ImageError> {
        let unreadable = |cause| ImageError::ReadImage { path: path.to_owned(), cause };
        // A named pipe must not keep us waiting.
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let mut file = opened.map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        self.log.debug(format_args!("using image from file {}", path.display()));
        let shown = path.display().to_string();
        let check = if self.options.insecure.skip_image_check() {
            Check::Off
        } else {
            let signature = match (signature, SignatureAt::beside_file(path)) {
                (Some(path), _) => signature::read(path)?,
                (None, SignatureAt::File(path)) => signature::read(&path)?,
                (None, at) => return Err(ImageError::SignatureDeferred(at.to_url())),
            };
            let keys = self.keys_that_may_have_made(&signature, &shown, &Wanted(None))?;
            Check::Signature(signature, keys)
        };
        let mut intake = Intake::begin(self.store, &Import::default(), check)?;
        let copied = copy(&mut file, |bytes| intake.write(bytes).map_err(|e| self.not_taken(e, &shown)));
        copied.map_err(|e| match e {
            Stopped::Source(cause) => unreadable(cause),
            Stopped::Sink(error) => error,
        })?;
        let taken = intake.finish().map_err(|e| self.not_taken(e, &shown))?;
        self.accept(taken, &Wanted(None))
    }

    /// A client with the user's credentials and rules.
    pub(super) fn client(&self) -> Result<HttpClient, ImageError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let skip_tls = self.options.insecure.skip_tls_check();
        if skip_tls {
            self.log.print("warning: TLS verification has been disabled");
        }
        let credentials = self.configuration.auth();
        let credentials = credentials.map_err(|e| ImageError::Configuration(render(&e, false)))?;
        let client = HttpClient::new(skip_tls).with_credentials(credentials).with_log(self.log);
        let client = if self.options.insecure.allow_http() { client.downgrading() } else { client };
        Ok(self.client.get_or_init(|| client).clone())
    }

    fn publisher(&self) -> Result<Publisher<'a>, ImageError> {
        let insecure = self.options.insecure;
        Ok(Publisher {
            keystore: self.keystore,
            client: self.client()?,
            allow_http: insecure.allow_http_pubkey(),
            // Without a checked certificate https vouches for nothing.
            trust_https: self.options.trust_keys_from_https && !insecure.skip_tls_check(),
            log: self.log.named("pubkey"),
        })
    }

    /// The trusted keys, if one of them may have made the signature: an image of anybody else is not even downloaded.
    /// Which of them count is known only when the image's manifest is.
    pub(super) fn keys_that_may_have_made(
        &self,
        signature: &[u8],
        image: &str,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Cert>, ImageError> {
        let keys = self.keystore.all()?;
        check_issuer(signature, &keys, "any image").map_err(|cause| {
            self.advise(&cause, wanted.name());
            ImageError::Verify { image: image.to_owned(), cause }
        })?;
        Ok(keys)
    }

    fn advise(&self, error: &VerifyError, name: &str) {
        if matches!(error, VerifyError::Untrusted { .. }) {
            self.log.print("If you expected the signing key to change, try running:");
            self.log.print(format_args!("    rkt trust --prefix {name:?}"));
        }
    }

    pub(super) fn not_taken(&self, error: IntakeError, image: &str) -> ImageError {
        match error {
            IntakeError::Verify(cause) => ImageError::Verify { image: image.to_owned(), cause },
            IntakeError::Store(error) => error.into(),
        }
    }

    /// Verifies an image whose signature came later, in the file that it was downloaded to. Whoever may write to that file
    /// could swap its content, so it must be what was taken in.
    pub(super) fn verify_late<'s>(
        &self,
        taken: Taken<'s>,
        signature: &[u8],
        partial: &mut Partial,
    ) -> Result<Taken<'s>, ImageError> {
        let path = partial.path().to_owned();
        let mut hash = Sha512::new();
        let content = Hashing { source: partial.content()?, hash: &mut hash };
        let keys = self.keystore.all()?;
        let signers = verify(signature, content, &keys, "any image").map_err(|cause| {
            self.advise(&cause, taken.image.manifest().name.as_str());
            ImageError::Verify { image: taken.image.manifest().name.to_string(), cause }
        })?;
        if taken.digest.as_deref() != Some(hash.finalize().as_slice()) {
            return Err(ImageError::Changed(path));
        }
        Ok(Taken { signers: Some(signers), ..taken })
    }

    /// Lets an image into the store, if it is the one that was wanted, and signed by whom it must be.
    pub(super) fn accept(&self, taken: Taken<'_>, wanted: &Wanted<'_>) -> Result<Key, ImageError> {
        let name = taken.image.manifest().name.clone();
        wanted.check(taken.image.manifest())?;
        if let Some(signers) = &taken.signers {
            let keys = self.keystore.keyring(&name)?;
            let signer = signers.counts_for(&keys, &format!("{:?}", name.as_str())).map_err(|cause| {
                self.advise(&cause, name.as_str());
                ImageError::Verify { image: name.to_string(), cause }
            })?;
            self.log.print("signature verified:");
            for identity in &signer.identities {
                output::complain(&format!("  {identity}"));
            }
        } else if !self.options.insecure.skip_image_check() {
            return Err(ImageError::SignatureDeferred(name.to_string()));
        }
        Ok(taken.image.commit()?)
    }
}

/// Hashes what is read through it.
struct Hashing<'h, R> {
    source: R,
    hash: &'h mut Sha512,
}

impl<R: io::Read> io::Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
