//! Builds OCI images from the recipes in `images/oci/` and publishes them in the storage of a registry, all above the
//! base layer that `base.json` describes. Follows the OCI image specification 1.1 (`image-layout.md`, `manifest.md`,
//! `config.md`); must not know who fetches the images.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::layer::{self, Layer, Packing};
use super::packages::{self, Package};
use super::recipe::{Form, Recipe};
use super::registry::Registry;
use super::tree::Tree;
use super::{assemble, key, own_files, read, recipes, version};
use crate::progress::{Step, say};
use crate::workspace;

/// The base layer's recipe. What it leaves out and drops, every image does.
const BASE: &str = "base.json";

/// An image whose layers are in the cache.
struct Image {
    recipe: Recipe,
    version: String,
    /// The layers with the directories that they are in, the lowest first.
    layers: Vec<(PathBuf, Layer)>,
}

/// Sees to it that `target/dist/images/registry` is the storage of a registry that has the images, with their list in
/// `images.json`.
pub(crate) fn publish_all() -> Result<PathBuf> {
    let images = build_all()?;
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for image in &images {
        let digests: String = image.layers.iter().map(|(_, layer)| layer.digest.as_str()).collect();
        parts.push(
            format!("{} {} {digests} {:?}", image.recipe.name, image.version, image.recipe.form).into_bytes(),
        );
        parts.push(image.recipe.app.to_string().into_bytes());
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let storage = workspace::cache().join("registry").join(key(&parts, &[]));
    if !storage.exists() {
        publish(&images, &storage)?;
    }
    let link = workspace::dist().join("images/registry");
    let incoming = link.with_extension("new");
    // One that an interrupted run left behind.
    let _ = fs::remove_file(&incoming);
    symlink(&storage, &incoming).with_context(|| format!("linking {}", incoming.display()))?;
    fs::rename(&incoming, &link).with_context(|| format!("putting {} in place", link.display()))?;
    Ok(link)
}

/// Builds the layers of all images.
fn build_all() -> Result<Vec<Image>> {
    let directory = workspace::root().join("images/oci");
    let (base, base_text) = read(&directory.join(BASE))?;
    let cache = workspace::cache();
    let base_packages = packages::resolve(&base, &cache.join("packages"))?;
    let base_directory = cache.join("layers").join(key(&[&base_text], &base_packages));
    let base_layer = layer::ensure(&base_directory, Packing::Gzip, || {
        say(&format!("image base: building it from {} packages", base_packages.len()));
        assemble(Tree::new(), &base, &base_packages, Vec::new(), Vec::new())
    })?;
    let lowest = (base_directory, base_layer);

    let mut images = Vec::new();
    for path in recipes(&directory)?.iter().filter(|path| !path.ends_with(BASE)) {
        let (mut recipe, text) = read(path)?;
        recipe.left_out.extend(base.left_out.clone());
        recipe.drop.extend(base.drop.clone());
        let closure = packages::resolve(&recipe, &cache.join("packages"))?;
        let version = version(&recipe, &closure)?;
        let in_base = |package: &Package| base_packages.iter().any(|it| it.file_name == package.file_name);
        let packages: Vec<Package> = closure.into_iter().filter(|package| !in_base(package)).collect();
        let sources = own_files(path, &recipe)?;
        let own: Vec<&[u8]> = sources.iter().map(|(_, content)| content.as_slice()).collect();
        let directory =
            cache.join("layers").join(key(&[&[&*text, &*base_text], &own[..]].concat(), &packages));
        let packing = if recipe.form == Form::OciZstd { Packing::Zstd } else { Packing::Gzip };
        let upper = layer::ensure(&directory, packing, || {
            say(&format!("image {}: building it from {} packages", recipe.name, packages.len()));
            assemble(Tree::layer(), &recipe, &packages, Vec::new(), sources)
        })?;
        images.push(Image { recipe, version, layers: vec![lowest.clone(), (directory, upper)] });
    }
    Ok(images)
}

/// Pushes the images into the storage, which appears only when it is complete.
fn publish(images: &[Image], storage: &Path) -> Result<()> {
    let step = Step::begin(&format!("images: pushing {} images to a registry", images.len()));
    let parent = storage.parent().context("the cache path has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let incoming = tempfile::tempdir_in(parent).context("creating a registry's storage")?;
    let registry = Registry::start(incoming.path())?;
    let mut list = Vec::new();
    for image in images {
        let reference = format!("{}:{}", image.recipe.name, image.version);
        let layout = tempfile::tempdir_in(parent).context("creating an image layout")?;
        write_layout(image, layout.path()).with_context(|| format!("writing the image {reference}"))?;
        registry.push(layout.path(), &reference, image.recipe.form == Form::Docker)?;
        list.push(json!({
            "name": image.recipe.name,
            "reference": reference,
            "layers": image.layers.iter().map(|(_, layer)| &layer.digest).collect::<Vec<_>>(),
            "bytes": image.layers.iter().map(|(_, layer)| layer.size).sum::<u64>(),
        }));
    }
    drop(registry);
    let list = serde_json::to_vec_pretty(&list).context("listing the images")?;
    fs::write(incoming.path().join("images.json"), list).context("listing the images")?;
    let incoming = incoming.keep();
    fs::rename(&incoming, storage).with_context(|| format!("putting {} in place", storage.display()))?;
    step.end();
    Ok(())
}

/// Writes a layout of one image.
fn write_layout(image: &Image, directory: &Path) -> Result<()> {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).context("creating the layout")?;
    let path = |digest: &str| blobs.join(digest.trim_start_matches("sha256:"));
    let add = |media_type: &str, value: &Value| -> Result<Value> {
        let bytes = serde_json::to_vec(value).context("writing JSON")?;
        let digest = layer::digest(&bytes);
        fs::write(path(&digest), &bytes).context("writing a blob")?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    };
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for (from, layer) in &image.layers {
        let to = path(&layer.digest);
        fs::hard_link(layer::blob(from), &to).with_context(|| format!("linking {}", to.display()))?;
        layers.push(json!({ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size }));
        diff_ids.push(&layer.diff_id);
    }
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": image.recipe.app,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = add("application/vnd.oci.image.config.v1+json", &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
        "annotations": { "org.opencontainers.image.description": image.recipe.description },
    });
    let manifest = add("application/vnd.oci.image.manifest.v1+json", &manifest)?;
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(directory.join("index.json"), index.to_string()).context("writing the index")?;
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).context("writing the layout")
}
