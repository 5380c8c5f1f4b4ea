//! Writes OCI image layouts, small ones for tests: layers from entries in memory, compressed or not, with whiteouts, and
//! indexes of several platforms. What is written is what was asked for, also when no tool would write it. Follows the
//! OCI image specification 1.1 (`image-layout.md`, `manifest.md`, `layer.md`, `image-index.md`).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::aci::Aci;

/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Media type of an image's configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// `sha256:` and the digest's 64 hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Packing {
    /// Media type of a layer.
    fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).expect("writing to memory");
                encoder.finish().expect("writing to memory")
            }
            Self::Zstd => zstd::encode_all(bytes, 3).expect("writing to memory"),
        }
    }
}

/// A layer: an archive and how it is stored.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The archive, not compressed.
    pub archive: Vec<u8>,
    /// How it is stored.
    pub packing: Packing,
    /// The media type that the manifest claims, if another than the packing's.
    pub media_type: Option<String>,
}

impl Layer {
    /// A layer of the archive's entries, compressed with gzip.
    pub fn new(entries: &Aci) -> Self {
        Self { archive: entries.tar(), packing: Packing::Gzip, media_type: None }
    }

    /// A layer of any bytes.
    pub fn of_bytes(archive: impl Into<Vec<u8>>) -> Self {
        Self { archive: archive.into(), packing: Packing::Gzip, media_type: None }
    }

    /// The same, stored otherwise.
    #[must_use]
    pub fn packed(self, packing: Packing) -> Self {
        Self { packing, ..self }
    }

    /// The digest of the archive, which the configuration names.
    pub fn diff_id(&self) -> String {
        digest(&self.archive)
    }

    /// The bytes that are stored and sent.
    pub fn blob(&self) -> Vec<u8> {
        self.packing.pack(&self.archive)
    }

    /// The digest of these, which the manifest names.
    pub fn digest(&self) -> String {
        digest(&self.blob())
    }
}

/// Archive entries that remove what lower layers have.
impl Aci {
    /// Removes a path of the layers below.
    pub fn whiteout(self, path: &str) -> Self {
        let (directory, name) =
            path.rsplit_once('/').map_or(("", path), |(directory, name)| (directory, name));
        let separator = if directory.is_empty() { "" } else { "/" };
        self.file(&format!("{directory}{separator}.wh.{name}"), 0o644, b"")
    }

    /// Removes everything that the layers below have in a directory.
    pub fn opaque(self, directory: &str) -> Self {
        self.file(&format!("{directory}/.wh..wh..opq"), 0o644, b"")
    }
}

/// An image: a configuration and layers, the lowest first.
#[derive(Clone, Debug)]
pub struct Image {
    /// The configuration; `rootfs` is added from the layers unless it is there.
    pub config: Value,
    /// The layers.
    pub layers: Vec<Layer>,
    /// The manifest's annotations.
    pub annotations: Value,
}

impl Image {
    /// An image for Linux on amd64 that runs `/app`.
    pub fn new(layers: impl Into<Vec<Layer>>) -> Self {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Entrypoint": ["/app"], "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/" },
        });
        Self { config, layers: layers.into(), annotations: json!({}) }
    }

    /// The same, with another value in `config.config`, such as `Cmd`, `User` or `Volumes`.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config["config"][key] = value;
        self
    }

    /// The same, for another architecture.
    #[must_use]
    pub fn for_architecture(mut self, architecture: &str) -> Self {
        self.config["architecture"] = architecture.into();
        self
    }

    /// The configuration as it is stored.
    pub fn config_bytes(&self) -> Vec<u8> {
        let mut config = self.config.clone();
        if config.get("rootfs").is_none() {
            let diff_ids: Vec<String> = self.layers.iter().map(Layer::diff_id).collect();
            config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        }
        config.to_string().into_bytes()
    }

    /// The manifest as it is stored.
    pub fn manifest_bytes(&self) -> Vec<u8> {
        let layers: Vec<Value> = self.layers.iter().map(layer_descriptor).collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &self.config_bytes()),
            "layers": layers,
        });
        if self.annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
            manifest["annotations"] = self.annotations.clone();
        }
        manifest.to_string().into_bytes()
    }

    fn platform(&self) -> Value {
        let mut platform = json!({ "architecture": self.config["architecture"], "os": self.config["os"] });
        if let Some(variant) = self.config.get("variant") {
            platform["variant"] = variant.clone();
        }
        platform
    }
}

/// The descriptor of bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn layer_descriptor(layer: &Layer) -> Value {
    descriptor(layer.media_type.as_deref().unwrap_or_else(|| layer.packing.media_type()), &layer.blob())
}

/// A layout in a directory that goes away with this value.
#[derive(Debug)]
pub struct Layout {
    directory: TempDir,
    manifests: Vec<Value>,
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout {
    /// An empty layout.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("rkt-test-oci-").tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("blobs/sha256")).expect("creating a directory");
        fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("writing");
        let layout = Self { directory, manifests: Vec::new() };
        layout.write_index();
        layout
    }

    /// A layout of one image with the tag `latest`.
    pub fn of(image: &Image) -> Self {
        let mut layout = Self::new();
        layout.add("latest", image);
        layout
    }

    /// Adds an image; returns the manifest's digest.
    pub fn add(&mut self, tag: &str, image: &Image) -> String {
        let descriptor = self.store(image);
        self.tag(tag, descriptor)
    }

    /// Adds an index of images, one a platform; returns its digest.
    pub fn add_index(&mut self, tag: &str, images: &[Image]) -> String {
        let describe = |image: &Image| {
            let mut descriptor = self.store(image);
            descriptor["platform"] = image.platform();
            descriptor
        };
        let manifests: Vec<Value> = images.iter().map(describe).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let bytes = index.to_string().into_bytes();
        self.write_blob(&bytes);
        self.tag(tag, descriptor(INDEX, &bytes))
    }

    /// Writes a blob; returns its digest.
    pub fn write_blob(&self, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        fs::write(self.blob(&digest), bytes).expect("writing a blob");
        digest
    }

    /// Where a blob is.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.path().join("blobs").join(digest.replace(':', "/"))
    }

    /// The layout's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `oci:DIRECTORY:TAG`, as skopeo and rkt understand it.
    pub fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.path().display())
    }

    /// Writes the layout as one tar archive, for `oci-archive:FILE:TAG`.
    pub fn write_archive(&self, path: &Path) {
        let mut archive = tar::Builder::new(File::create(path).expect("creating an archive"));
        archive.append_dir_all(".", self.path()).expect("writing an archive");
        archive.finish().expect("writing an archive");
    }

    fn store(&self, image: &Image) -> Value {
        for layer in &image.layers {
            self.write_blob(&layer.blob());
        }
        self.write_blob(&image.config_bytes());
        let manifest = image.manifest_bytes();
        self.write_blob(&manifest);
        descriptor(MANIFEST, &manifest)
    }

    fn tag(&mut self, tag: &str, mut descriptor: Value) -> String {
        let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.manifests.push(descriptor);
        self.write_index();
        digest
    }

    fn write_index(&self) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests });
        fs::write(self.path().join("index.json"), index.to_string()).expect("writing the index");
    }
}
