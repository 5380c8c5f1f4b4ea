//! Fetching an image from a registry, a layout or an archive.
//!
//! Responsible for: the order of store, manifest, signature, layers and conversion. Must not know: registries' protocol,
//! signatures' formats. Follows rkt-reference.md 3.3 and 3.7.

use std::path::Path;
use std::time::SystemTime;

use appc::{AcIdentifier, MAX_MANIFEST_BYTES};

use super::registry::Registry;
use super::signature::{self, SignatureError, Subject};
use super::{
    Converted, DockerReference, LayerSource, Layout, OciError, Origin, RawManifest, Repository, Selected,
    convert, open_archive, pull, select,
};
use crate::config::Configuration;
use crate::image::{FetchOptions, ImageError, PullPolicy};
use crate::keystore::Keystore;
use crate::log::Log;
use crate::output;
use crate::store::{ImageStore, Import, Key, Remote};

/// What images of layouts are named below: they say themselves nothing about where they come from, and must not pass
/// for the image of a registry. Podman calls local images so, too.
const LOCAL: &str = "localhost";
/// What the names of archives end in.
const ARCHIVE_SUFFIXES: [&str; 7] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".oci"];

/// Fetches container images into a store.
pub struct OciFetcher<'a> {
    store: &'a ImageStore,
    keystore: &'a Keystore,
    configuration: &'a Configuration,
    options: FetchOptions,
    log: Log,
}

/// What is known of an image before its manifest is.
struct Wanted {
    name: AcIdentifier,
    version: Option<String>,
    /// What signatures call it.
    docker_reference: String,
    original_name: String,
    registry: String,
    repository: String,
    tag: String,
    latest: bool,
}

/// An image in the store.
struct Imported {
    key: Key,
    /// Who signed it; `None` if nobody was asked.
    signed: Option<Vec<String>>,
}

impl<'a> OciFetcher<'a> {
    /// Signatures are checked against `keystore`, unless the options say otherwise.
    pub fn new(
        store: &'a ImageStore,
        keystore: &'a Keystore,
        configuration: &'a Configuration,
        options: FetchOptions,
    ) -> Self {
        Self { store, keystore, configuration, options, log: Log::new("image", options.debug) }
    }

    /// Fetches what stands behind `docker://`.
    pub fn docker(&self, text: &str) -> Result<Key, ImageError> {
        let reference = DockerReference::parse(text)?;
        let url = reference.url();
        let remote = match (self.options.pull_policy, self.store.remote(&url)?) {
            (PullPolicy::New | PullPolicy::Never, Some(remote)) => {
                return Ok(self.use_stored(&url, remote));
            }
            (PullPolicy::Never, None) => return Err(ImageError::DockerNotFound(url)),
            // What came into the store unverified is no answer to a fetch that verifies.
            (_, remote) => remote.filter(|r| self.options.insecure.skip_image_check() || r.is_verified()),
        };
        let name = reference.image_name()?;
        self.check_that_somebody_is_trusted(&name, &reference)?;
        self.log.debug(format_args!("fetching image from {url}"));
        if self.options.insecure.skip_tls_check() {
            self.log.print("warning: TLS verification has been disabled");
        }
        let registry = Registry::connect(&reference, self.configuration, &self.options)?;
        let named = registry.manifest(&reference.wanted())?.ok_or_else(|| OciError::Registry {
            registry: reference.host().to_owned(),
            what: format!("image {}", reference.typed()),
            reason: "there is no such repository, tag or digest".to_owned(),
        })?;
        let etag = named.digest.to_string();
        if let Some(remote) = remote.filter(|remote| remote.etag == etag) {
            return Ok(self.use_stored(&url, remote));
        }
        let wanted = Wanted {
            name,
            version: Some(reference.version()),
            docker_reference: reference.typed().to_owned(),
            original_name: reference.typed().to_owned(),
            registry: reference.host().to_owned(),
            repository: reference.repository().to_owned(),
            tag: reference.tag().unwrap_or_default().to_owned(),
            latest: reference.is_latest(),
        };
        let imported = self.import(&registry, named, &wanted)?;
        self.store.put_remote(&Remote {
            aci_url: url,
            sig_url: imported.signed.map(|identities| identities.join(", ")).unwrap_or_default(),
            etag,
            blob_key: imported.key.clone(),
            cache_max_age: 0,
            download_time: SystemTime::now(),
        })?;
        Ok(imported.key)
    }

    /// Reads an image of a layout in a directory. Like files, layouts are read under every pull policy.
    pub fn layout(&self, path: &Path, tag: Option<&str>) -> Result<Key, ImageError> {
        self.local(&Layout::open(path)?, path, tag)
    }

    /// Reads an image of a layout packed into a tar.
    pub fn archive(&self, path: &Path, tag: Option<&str>) -> Result<Key, ImageError> {
        self.local(&open_archive(path, &self.store.temporary_directory()?)?, path, tag)
    }

    fn local(&self, layout: &Layout, path: &Path, tag: Option<&str>) -> Result<Key, ImageError> {
        self.log.debug(format_args!("using image from layout {}", path.display()));
        let (named, found_tag) = layout.image(tag)?;
        let repository = local_name(path)?;
        let version = found_tag.or_else(|| tag.map(str::to_owned)).map(|name| match name.rsplit_once(':') {
            // `docker save` and containerd write whole names there.
            Some((_, tag)) if !tag.contains('/') => tag.to_owned(),
            _ => name,
        });
        let tagged = version.as_ref().map(|tag| format!("{repository}:{tag}"));
        let wanted = Wanted {
            // A layout's tags may be anything; what is no reference, no signature can name.
            docker_reference: tagged
                .filter(|name| DockerReference::parse(name).is_ok())
                .unwrap_or_else(|| repository.to_string()),
            original_name: format!(
                "{}{}",
                path.display(),
                tag.map(|tag| format!(":{tag}")).unwrap_or_default()
            ),
            registry: String::new(),
            tag: version.clone().unwrap_or_default(),
            latest: version.as_deref().is_none_or(|version| version == "latest"),
            version,
            name: repository.clone(),
            repository: repository.to_string(),
        };
        Ok(self.import(layout, named, &wanted)?.key)
    }

    /// Where no signature could be believed, nobody needs to be asked for one.
    fn check_that_somebody_is_trusted(
        &self,
        name: &AcIdentifier,
        reference: &DockerReference,
    ) -> Result<(), ImageError> {
        let is_trusting = self.options.insecure.skip_image_check()
            || !self.keystore.public_keys(name)?.is_empty()
            || !self.keystore.keyring(name)?.is_empty();
        if is_trusting {
            return Ok(());
        }
        let (image, name) = (reference.typed().to_owned(), name.to_string());
        Err(SignatureError::NoKeys { image, name }.into())
    }

    fn use_stored(&self, url: &str, remote: Remote) -> Key {
        self.log.debug(format_args!("using image from local store for url {url}"));
        remote.blob_key
    }

    fn import(
        &self,
        source: &dyn LayerSource,
        named: RawManifest,
        wanted: &Wanted,
    ) -> Result<Imported, ImageError> {
        let named_digest = named.digest.clone();
        let (selected, signed) = if self.options.insecure.skip_image_check() {
            (select(source, named)?, None)
        } else {
            // Judged before anything else is fetched. Some sign the index, some the image in it.
            match self.verify(source, wanted, &named_digest) {
                Ok(signed) => (select(source, named)?, Some(signed)),
                Err(refused) => {
                    let selected = select(source, named)?;
                    if selected.manifest == named_digest {
                        return Err(refused);
                    }
                    // Of two reasons the one that is about a signature.
                    let signed =
                        self.verify(source, wanted, &selected.manifest).map_err(|error| match refused {
                            ImageError::Signature(SignatureError::Unsigned { .. }) => error,
                            refused => refused,
                        })?;
                    (selected, Some(signed))
                }
            }
        };
        let manifest = self.convert(&selected, wanted)?;
        let layers = self.store.layers()?;
        let diff_ids = pull::pull(source, &selected, &layers, !wanted.registry.is_empty(), self.log)?;
        let key = layers.commit(&manifest, &diff_ids, &Import { latest: wanted.latest })?;
        Ok(Imported { key, signed })
    }

    fn verify(
        &self,
        source: &dyn LayerSource,
        wanted: &Wanted,
        digest: &super::Digest,
    ) -> Result<Vec<String>, ImageError> {
        let subject = Subject {
            name: wanted.name.clone(),
            docker_reference: wanted.docker_reference.clone(),
            manifest_digest: digest.clone(),
        };
        let signed = signature::verify(&subject, source, self.keystore, self.configuration)?;
        self.log.print("signature verified:");
        for identity in &signed.identities {
            output::complain(&format!("  {identity}"));
        }
        Ok(signed.identities)
    }

    fn convert(&self, selected: &Selected, wanted: &Wanted) -> Result<appc::ImageManifest, ImageError> {
        let origin = Origin {
            name: wanted.name.clone(),
            version: wanted.version.clone(),
            original_name: wanted.original_name.clone(),
            registry: wanted.registry.clone(),
            repository: wanted.repository.clone(),
            tag: wanted.tag.clone(),
            manifest: selected.manifest.clone(),
            config: selected.config_digest.clone(),
        };
        let Converted { manifest, warnings } = convert(&origin, &selected.config)?;
        for warning in warnings {
            self.log.print(format_args!("warning: {warning}"));
        }
        let size = serde_json::to_vec(&manifest).map(|bytes| bytes.len()).unwrap_or(usize::MAX);
        if size > MAX_MANIFEST_BYTES {
            let what = format!("image manifest of {}", wanted.original_name);
            return Err(OciError::TooLarge { what, limit: MAX_MANIFEST_BYTES as u64 }.into());
        }
        Ok(manifest)
    }
}

/// `localhost/NAME`, after the last component of the path.
fn local_name(path: &Path) -> Result<AcIdentifier, OciError> {
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let longest = ARCHIVE_SUFFIXES
        .iter()
        .filter_map(|suffix| file_name.strip_suffix(suffix))
        .min_by_key(|stem| stem.len());
    let stem = longest.filter(|stem| !stem.is_empty()).unwrap_or(&file_name);
    let invalid = |e: appc::AppcError| OciError::InvalidReference {
        reference: path.display().to_string(),
        reason: e.to_string(),
    };
    let name = appc::AcName::sanitised(stem).map_err(invalid)?;
    AcIdentifier::sanitised(&format!("{LOCAL}/{name}")).map_err(invalid)
}
