//! OCI image layouts: a directory, or an archive of one, as a repository.
//!
//! Responsible for: finding images by tag in `index.json`, and blobs by digest. Must not know: how an archive is read,
//! signatures. Follows the OCI image specification 1.1, image-layout.md.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::types::media_type;
use super::{
    Checked, Descriptor, Digest, Document, Index, LayerSource, MAX_MANIFEST_BYTES, OciError, RawManifest,
    Repository, decode,
};
use crate::image::printable;

/// Version of the layout that this follows; it was never another.
const LAYOUT_VERSION: &str = "1.0.0";
/// Largest `oci-layout`: it holds nothing but the version.
const MAX_LAYOUT_FILE_BYTES: u64 = 64 * 1024;
/// Most tags that an error message lists.
const MAX_LISTED: usize = 12;
/// Most manifests that are looked at in search of those that refer to another.
const MAX_REFERRERS: usize = 256;

/// The tag of an image.
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// What `cosign save` says about an entry.
const COSIGN_KIND: &str = "kind";
const COSIGN_SIGNATURES: &str = "dev.cosignproject.cosign/sigs";

/// A file that is open, and its size.
pub(super) type Opened<'f> = (Box<dyn Read + Send + 'f>, u64);

/// The files of a layout.
pub(super) trait Files: Sync {
    /// Opens a regular file by its path in the layout; gives its size too. `None` if it is not there.
    fn open(&self, path: &str) -> Result<Option<Opened<'_>>, OciError>;
}

/// A layout with its index.
pub struct Layout {
    files: Box<dyn Files>,
    index: Index,
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

impl Layout {
    /// Opens the layout in a directory.
    pub fn open(directory: &Path) -> Result<Self, OciError> {
        // Or what is wrong would be said of a file in it.
        std::fs::read_dir(directory).map_err(|cause| OciError::Read { path: directory.to_owned(), cause })?;
        Self::new(Box::new(Directory(directory.to_owned())), directory)
    }

    /// Reads the index of a layout; `path` names it in errors.
    pub(super) fn new(files: Box<dyn Files>, path: &Path) -> Result<Self, OciError> {
        let no_layout = |reason: String| OciError::Unsupported { what: path.display().to_string(), reason };
        let version = whole(files.as_ref(), "oci-layout", MAX_LAYOUT_FILE_BYTES)?
            .ok_or_else(|| no_layout("it is no OCI image layout: it has no file oci-layout".to_owned()))?;
        let version: Version = decode("file oci-layout", &version, MAX_LAYOUT_FILE_BYTES)?;
        if version.image_layout_version != LAYOUT_VERSION {
            let version = printable(&version.image_layout_version);
            return Err(no_layout(format!(
                "it has version {version:?} of the layout, not {LAYOUT_VERSION:?}"
            )));
        }
        let bytes = whole(files.as_ref(), "index.json", MAX_MANIFEST_BYTES)?
            .ok_or_else(|| no_layout("it has no file index.json".to_owned()))?;
        let digest = Digest::sha256(&bytes);
        let raw = RawManifest { media_type: media_type::OCI_INDEX.to_owned(), digest, bytes };
        match raw.parse()? {
            Document::Index(index) => Ok(Self { files, index, path: path.to_owned() }),
            Document::Manifest(_) => Err(no_layout("its index.json is an image, not an index".to_owned())),
        }
    }

    /// The image with this tag; without one, the only image there is. Gives its tag too.
    pub fn image(&self, wanted: Option<&str>) -> Result<(RawManifest, Option<String>), OciError> {
        let entries: Vec<&Descriptor> = match wanted {
            Some(wanted) => self.entries(wanted),
            None => self.index.manifests.iter().filter(|entry| is_image(entry)).collect(),
        };
        let what = || match wanted {
            Some(tag) => format!("image {:?} of {}", printable(tag), self.path.display()),
            None => self.path.display().to_string(),
        };
        let Some((entry, others)) = entries.split_first() else {
            let reason = match self.tags().as_str() {
                "" => "there is no image in this layout".to_owned(),
                tags => format!("the images of this layout are {tags}"),
            };
            return Err(OciError::Unsupported { what: what(), reason });
        };
        if others.iter().any(|other| other.digest != entry.digest) {
            let reason = match (wanted, self.tags().as_str()) {
                (Some(_), _) => "several images have this tag".to_owned(),
                (None, "") => "it holds several images, none of which has a tag".to_owned(),
                (None, tags) => format!("it holds several images; add one of the tags {tags}"),
            };
            return Err(OciError::Unsupported { what: what(), reason });
        }
        let tag = tag_of(entry).map(str::to_owned);
        let missing = || OciError::Missing { what: format!("manifest {}", entry.digest) };
        Ok((self.follow(entry)?.ok_or_else(missing)?, tag))
    }

    /// Entries of a tag, or of a whole name that ends in it.
    fn entries(&self, wanted: &str) -> Vec<&Descriptor> {
        let matching = |fits: &dyn Fn(&str) -> bool| {
            let entries = self.index.manifests.iter();
            entries.filter(|entry| tag_of(entry).is_some_and(fits)).collect::<Vec<_>>()
        };
        let exact = matching(&|name| name == wanted);
        if !exact.is_empty() {
            return exact;
        }
        matching(&|name| name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted))
    }

    /// The tags of the images, as a list in words.
    fn tags(&self) -> String {
        let mut tags: Vec<String> = self
            .index
            .manifests
            .iter()
            .filter(|entry| is_image(entry))
            .filter_map(|entry| Some(format!("{:?}", printable(tag_of(entry)?))))
            .collect();
        tags.sort();
        tags.dedup();
        let more = tags.len().saturating_sub(MAX_LISTED);
        tags.truncate(MAX_LISTED);
        let list = tags.join(", ");
        if more > 0 { format!("{list} and {more} more") } else { list }
    }

    fn follow(&self, entry: &Descriptor) -> Result<Option<RawManifest>, OciError> {
        let found = self.manifest(&entry.digest.to_string())?;
        Ok(found.map(|raw| RawManifest { media_type: entry.media_type.clone(), ..raw }))
    }

    /// Opens a blob of a size that is known only when it is open.
    fn open_blob(&self, digest: &Digest) -> Result<Option<Opened<'_>>, OciError> {
        self.files.open(&format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex()))
    }

    fn checked_blob(&self, digest: &Digest, limit: u64, what: &str) -> Result<Option<Vec<u8>>, OciError> {
        let Some((source, size)) = self.open_blob(digest)? else { return Ok(None) };
        let bytes = bounded(source, size, limit, what)?;
        let found = digest.of_same_kind(&bytes);
        if found != *digest {
            let (what, expected) = (what.to_owned(), digest.clone());
            return Err(OciError::WrongDigest { what, expected, found });
        }
        Ok(Some(bytes))
    }
}

impl Repository for Layout {
    fn manifest(&self, reference: &str) -> Result<Option<RawManifest>, OciError> {
        if let Ok(digest) = reference.parse::<Digest>() {
            let what = format!("manifest {digest}");
            let bytes = self.checked_blob(&digest, MAX_MANIFEST_BYTES, &what)?;
            return Ok(bytes.map(|bytes| RawManifest { media_type: String::new(), digest, bytes }));
        }
        let is_signature = |entry: &&Descriptor| {
            reference.ends_with(".sig")
                && entry.annotations.get(COSIGN_KIND).is_some_and(|kind| kind == COSIGN_SIGNATURES)
        };
        let tagged = self.entries(reference).into_iter().next();
        match tagged.or_else(|| self.index.manifests.iter().find(is_signature)) {
            Some(entry) => self.follow(entry),
            None => Ok(None),
        }
    }

    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, OciError> {
        let what = format!("blob {digest}");
        self.checked_blob(digest, limit, &what)?.ok_or(OciError::Missing { what })
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let mut referrers = Vec::new();
        let tagged = self.manifest(&format!("{}-{}", digest.algorithm().as_str(), digest.hex()))?;
        if let Some(Document::Index(index)) = tagged.map(|raw| raw.parse()).transpose()? {
            referrers.extend(index.manifests);
        }
        for entry in self.index.manifests.iter().take(MAX_REFERRERS) {
            if entry.media_type != media_type::OCI_MANIFEST || entry.digest == *digest {
                continue;
            }
            let Some(Ok(Document::Manifest(manifest))) = self.follow(entry)?.map(|raw| raw.parse()) else {
                continue;
            };
            if manifest.subject.is_some_and(|subject| subject.digest == *digest) {
                let artifact_type = match entry.artifact_type.as_str() {
                    "" => manifest.artifact_type,
                    known => known.to_owned(),
                };
                referrers.push(Descriptor { artifact_type, ..entry.clone() });
            }
        }
        Ok(referrers)
    }
}

impl LayerSource for Layout {
    fn layer(&self, layer: &Descriptor) -> Result<Checked<'_>, OciError> {
        let what = format!("layer {}", layer.digest);
        let (source, size) =
            self.open_blob(&layer.digest)?.ok_or_else(|| OciError::Missing { what: what.clone() })?;
        if size != layer.size {
            return Err(OciError::WrongSize { what, expected: layer.size, found: size });
        }
        Ok(Checked::new(source, layer, what))
    }
}

fn tag_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(NAME_ANNOTATION).map(String::as_str)
}

/// Whether an entry may be an image: not a signature or an attestation of one.
fn is_image(entry: &Descriptor) -> bool {
    let is_beside = |name: &str| {
        name.starts_with("sha256-") && [".sig", ".att", ".sbom"].iter().any(|suffix| name.ends_with(suffix))
    };
    entry.artifact_type.is_empty()
        && !tag_of(entry).is_some_and(is_beside)
        && entry
            .annotations
            .get(COSIGN_KIND)
            .is_none_or(|kind| kind.ends_with("/image") || kind.ends_with("/imageIndex"))
}

fn whole(files: &dyn Files, path: &str, limit: u64) -> Result<Option<Vec<u8>>, OciError> {
    let Some((source, size)) = files.open(path)? else { return Ok(None) };
    bounded(source, size, limit, &format!("file {path}")).map(Some)
}

fn bounded(source: impl Read, size: u64, limit: u64, what: &str) -> Result<Vec<u8>, OciError> {
    if size > limit {
        return Err(OciError::TooLarge { what: what.to_owned(), limit });
    }
    let mut bytes = Vec::new();
    source
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|e| OciError::Broken { what: what.to_owned(), reason: e.to_string() })?;
    Ok(bytes)
}

/// A layout in a directory.
struct Directory(PathBuf);

impl Files for Directory {
    fn open(&self, path: &str) -> Result<Option<Opened<'_>>, OciError> {
        let path = self.0.join(path);
        let failed = |cause: io::Error| OciError::Read { path: path.clone(), cause };
        // A named pipe must not keep us waiting.
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let file = match opened {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        Ok(Some((Box::new(file), metadata.len())))
    }
}
