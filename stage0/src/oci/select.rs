//! From a reference to the one image that this host runs.
//!
//! Responsible for: walking indexes to a manifest, and judging whether its parts make an image. Must not know: layers'
//! bytes, stores. Follows the OCI image specification 1.1, image-index.md ("platform") and manifest.md.

use super::types::media_type;
use super::{
    Descriptor, Digest, Document, ImageConfig, Index, MAX_CONFIG_BYTES, Manifest, OciError, RawManifest,
    Repository,
};

/// Most indexes between a reference and its image; builders make one, mirrors two.
const MAX_INDEXES: usize = 4;
/// Most platforms that an error message lists.
const MAX_LISTED: usize = 12;
/// Most bytes of the compressed layers together; the store has the same limit for what they hold.
const MAX_LAYER_BYTES: u64 = 64 * 1024 * 1024 * 1024;

const OS: &str = "linux";
const ARCHITECTURE: &str = "amd64";

/// An image that can be pulled.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// Digest of the manifest or index that the reference names.
    pub named: Digest,
    /// Digest of the image's own manifest.
    pub manifest: Digest,
    /// Digest of the configuration.
    pub config_digest: Digest,
    /// The configuration, for this host's platform.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Names what is transferred.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed layer, as the configuration says.
    pub diff_id: Digest,
}

/// The image that `named` is, or that it lists for this host.
pub fn select(repository: &dyn Repository, named: RawManifest) -> Result<Selected, OciError> {
    let top = named.digest.clone();
    let mut current = named;
    for _ in 0..=MAX_INDEXES {
        match current.parse()? {
            Document::Manifest(manifest) => return image(repository, top, &current.digest, &manifest),
            Document::Index(index) => {
                let chosen = choose(&current.digest, &index)?;
                current = follow(repository, chosen)?;
            }
        }
    }
    Err(OciError::Unsupported {
        what: format!("index {top}"),
        reason: format!("it leads to an index, and so on {MAX_INDEXES} times"),
    })
}

/// The manifest of a descriptor.
fn follow(repository: &dyn Repository, descriptor: &Descriptor) -> Result<RawManifest, OciError> {
    let what = format!("manifest {}", descriptor.digest);
    let found = repository.manifest(&descriptor.digest.to_string())?;
    let found = found.ok_or_else(|| OciError::Missing { what: what.clone() })?;
    let size = found.bytes.len() as u64;
    if size != descriptor.size {
        return Err(OciError::WrongSize { what, expected: descriptor.size, found: size });
    }
    // What the index says it is counts, not what a server calls it now.
    Ok(RawManifest { media_type: descriptor.media_type.clone(), ..found })
}

/// The entry for this host: of its platform, plain rather than for newer processors; else the only one that names no
/// platform.
fn choose<'i>(digest: &Digest, index: &'i Index) -> Result<&'i Descriptor, OciError> {
    let is_manifest = |entry: &&Descriptor| {
        matches!(
            entry.media_type.as_str(),
            media_type::OCI_MANIFEST
                | media_type::DOCKER_MANIFEST
                | media_type::OCI_INDEX
                | media_type::DOCKER_LIST
        )
    };
    let entries: Vec<&Descriptor> = index.manifests.iter().filter(is_manifest).collect();
    for variant in variants() {
        let fits = |entry: &&&Descriptor| {
            entry.platform.as_ref().is_some_and(|platform| {
                platform.os == OS && platform.architecture == ARCHITECTURE && platform.variant == variant
            })
        };
        if let Some(entry) = entries.iter().find(fits) {
            return Ok(entry);
        }
    }
    let mut unnamed =
        entries.iter().filter(|entry| entry.platform.is_none() && entry.artifact_type.is_empty());
    if let (Some(entry), None) = (unnamed.next(), unnamed.next()) {
        return Ok(entry);
    }
    let mut offered: Vec<String> = entries.iter().filter_map(|entry| platform_of(entry)).collect();
    offered.dedup();
    offered.truncate(MAX_LISTED);
    let offered = if offered.is_empty() { "no platform".to_owned() } else { offered.join(", ") };
    Err(OciError::Unsupported {
        what: format!("index {digest}"),
        reason: format!(
            "it has an image for {offered}, but none for {OS}/{ARCHITECTURE}, which this host runs"
        ),
    })
}

/// `os/architecture[/variant]`; attestations are for platform `unknown`.
fn platform_of(entry: &Descriptor) -> Option<String> {
    let platform = entry.platform.as_ref().filter(|platform| platform.os != "unknown")?;
    let variant = if platform.variant.is_empty() { "" } else { "/" };
    let text = format!("{}/{}{variant}{}", platform.os, platform.architecture, platform.variant);
    Some(crate::image::printable(&text))
}

/// The variants of x86-64 that this host runs, the preferred one first: every processor's, so that all hosts choose the
/// same image where there is a choice.
fn variants() -> Vec<&'static str> {
    let mut variants = vec!["", "v1"];
    if std::arch::is_x86_feature_detected!("sse4.2") && std::arch::is_x86_feature_detected!("popcnt") {
        variants.push("v2");
    }
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi2") {
        variants.push("v3");
    }
    variants
}

fn image(
    repository: &dyn Repository,
    named: Digest,
    digest: &Digest,
    manifest: &Manifest,
) -> Result<Selected, OciError> {
    let what = format!("manifest {digest}");
    let unsupported = |reason: String| OciError::Unsupported { what: what.clone(), reason };
    let malformed = |reason: String| OciError::Malformed { what: what.clone(), reason };
    let kind = manifest.config.media_type.as_str();
    if !matches!(kind, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG) {
        let kind = if manifest.artifact_type.is_empty() { kind } else { &manifest.artifact_type };
        let kind = crate::image::printable(kind);
        return Err(unsupported(format!("it is an artifact of type {kind:?}, not an image")));
    }
    if manifest.layers.is_empty() {
        return Err(unsupported("it has no layers".to_owned()));
    }
    let mut total = manifest.config.size;
    for layer in &manifest.layers {
        check_layer_type(&layer.media_type).map_err(unsupported)?;
        total = total.saturating_add(layer.size);
    }
    if total > MAX_LAYER_BYTES {
        return Err(OciError::TooLarge { what: format!("image {digest}"), limit: MAX_LAYER_BYTES });
    }
    let config_digest = manifest.config.digest.clone();
    let config_name = format!("image configuration {config_digest}");
    if manifest.config.size > MAX_CONFIG_BYTES {
        return Err(OciError::TooLarge { what: config_name, limit: MAX_CONFIG_BYTES });
    }
    let bytes = repository.blob(&config_digest, MAX_CONFIG_BYTES)?;
    if bytes.len() as u64 != manifest.config.size {
        let (expected, found) = (manifest.config.size, bytes.len() as u64);
        return Err(OciError::WrongSize { what: config_name, expected, found });
    }
    let config = ImageConfig::from_json(&config_name, &bytes)?;
    if config.os != OS || config.architecture != ARCHITECTURE {
        let (os, architecture) =
            (crate::image::printable(&config.os), crate::image::printable(&config.architecture));
        return Err(unsupported(format!(
            "it is for {os}/{architecture}, but this host only runs {OS}/{ARCHITECTURE}"
        )));
    }
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        return Err(malformed(format!("it has {layers} layers, but its configuration names {ids}")));
    }
    let layers = manifest.layers.iter().cloned().zip(diff_ids.iter().cloned());
    let layers = layers.map(|(descriptor, diff_id)| Layer { descriptor, diff_id }).collect();
    Ok(Selected { named, manifest: digest.clone(), config_digest, config, layers })
}

/// Whether a layer of this type is a tar that the store takes. What compresses it is seen from its first bytes.
fn check_layer_type(kind: &str) -> Result<(), String> {
    const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
    const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    let suffix = kind.strip_prefix(OCI).or_else(|| kind.strip_prefix(DOCKER));
    if matches!(suffix, Some("" | "+gzip" | ".gzip" | "+zstd" | ".zstd")) {
        return Ok(());
    }
    let kind = crate::image::printable(kind);
    if kind.contains("foreign") || kind.contains("nondistributable") {
        return Err(format!("a layer of type {kind:?} may not be distributed, so no registry has it"));
    }
    Err(format!("it has a layer of type {kind:?}, which rkt cannot unpack"))
}
