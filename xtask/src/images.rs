//! Builds the example app images, ACIs and OCI images, from the recipes in `images/` and the packages of this machine's own Debian
//! mirrors. Knows nothing of rkt: an image is what the App Container specification 0.8 (`spec/aci.md`) or the OCI image
//! specification describes. The same recipe and the same packages give the same bytes.

mod aci;
mod archive;
mod layer;
#[cfg(test)]
mod layer_test;
pub(crate) mod oci;
mod packages;
#[cfg(test)]
mod packages_test;
mod recipe;
#[cfg(test)]
mod recipe_test;
mod registry;
mod tree;
#[cfg(test)]
mod tree_test;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{progress, workspace};
use packages::Package;
use recipe::Recipe;
use tree::Tree;

/// Part of every cache key: raise it when the same recipe gives a different archive.
const BUILDER_VERSION: u32 = 1;

/// The target that the project's static binaries are built for.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the image of every recipe in `images/` and puts them at `target/dist/images/NAME.aci`, taking from the
/// cache those whose recipe, files and package versions have not changed. Returns the paths, sorted.
pub(crate) fn build_all() -> Result<Vec<PathBuf>> {
    let destination = workspace::dist().join("images");
    fs::create_dir_all(&destination).with_context(|| format!("creating {}", destination.display()))?;
    recipes(&workspace::root().join("images"))?.iter().map(|path| build(path, &destination)).collect()
}

/// Builds the image of the recipe at `path`.
fn build(path: &Path, destination: &Path) -> Result<PathBuf> {
    let name = path.file_stem().and_then(OsStr::to_str).context("a recipe's name must be UTF-8")?;
    let (recipe, text) = read(path)?;
    let cache = workspace::cache();
    let packages = packages::resolve(&recipe, &cache.join("packages"))?;
    let binaries = static_binaries(&recipe)?;
    let sources = own_files(path, &recipe)?;
    let version = version(&recipe, &packages)?;
    let own: Vec<&[u8]> = binaries.iter().chain(&sources).map(|(_, content)| content.as_slice()).collect();
    let key = key(&[&[version.as_bytes(), &text], &own[..]].concat(), &packages);

    let image = destination.join(format!("{name}.aci"));
    let cached = cache.join("images").join(key).join(format!("{name}.aci"));
    if !cached.exists() {
        progress::say(&format!("image {name}: building it from {} packages", packages.len()));
        let tree = assemble(Tree::new(), &recipe, &packages, binaries, sources)?;
        let parent = cached.parent().context("the cache path has a parent")?;
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        let manifest = aci::manifest(&recipe, &version);
        aci::write(&tree, &manifest, &cached).with_context(|| format!("writing the image {name}"))?;
    }
    // Renamed into place, so that an rkt that has the old image open keeps reading the old one.
    let incoming = destination.join(format!(".{name}.aci.new"));
    fs::copy(&cached, &incoming).with_context(|| format!("copying {} from the cache", cached.display()))?;
    fs::rename(&incoming, &image).with_context(|| format!("putting {} in place", image.display()))?;
    Ok(image)
}

/// What an archive depends on, as a name in the cache.
fn key(parts: &[&[u8]], packages: &[Package]) -> String {
    let mut key = Sha256::new();
    let mut part = |bytes: &[u8]| {
        key.update(bytes.len().to_le_bytes());
        key.update(bytes);
    };
    part(&BUILDER_VERSION.to_le_bytes());
    parts.iter().for_each(|bytes| part(bytes));
    packages.iter().for_each(|package| part(package.file_name.as_bytes()));
    key.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a recipe; returns its text too.
fn read(path: &Path) -> Result<(Recipe, Vec<u8>)> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let recipe = serde_json::from_slice(&text)
        .with_context(|| format!("the recipe {} is malformed", path.display()))?;
    Ok((recipe, text))
}

/// The recipes in a directory, sorted.
fn recipes(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut recipes = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry.with_context(|| format!("listing {}", directory.display()))?.path();
        if path.extension() == Some(OsStr::new("json")) {
            recipes.push(path);
        }
    }
    recipes.sort();
    ensure!(!recipes.is_empty(), "no recipe in {}", directory.display());
    Ok(recipes)
}

/// Puts the root file system together in the order in which later parts may replace earlier ones: packages, then
/// our binaries, then what a package's maintainer scripts would have done on a real system.
fn assemble(
    mut tree: Tree,
    recipe: &Recipe,
    packages: &[Package],
    binaries: Vec<(String, Vec<u8>)>,
    sources: Vec<(String, Vec<u8>)>,
) -> Result<Tree> {
    for package in packages {
        tree.unpack(&package.path).with_context(|| format!("unpacking {}", package.file_name))?;
    }
    for path in &recipe.drop {
        tree.remove(path, &recipe.keep);
    }
    for (path, content) in binaries {
        tree.add_file(&path, 0o755, (0, 0), content);
    }
    tree.add_users(&recipe.users);
    for directory in &recipe.directories {
        tree.add_directory(&directory.path, recipe::mode(&directory.mode)?, (directory.uid, directory.gid));
    }
    for (path, content) in sources {
        let file = recipe.files.iter().find(|file| file.path == path).context("a file of the recipe")?;
        tree.add_file(&file.path, recipe::mode(&file.mode)?, (0, 0), content);
    }
    for link in &recipe.symlinks {
        tree.add_symlink(&link.path, &link.target);
    }
    Ok(tree)
}

/// The recipe's own files: their paths in the image and what they contain.
fn own_files(recipe_path: &Path, recipe: &Recipe) -> Result<Vec<(String, Vec<u8>)>> {
    let directory = recipe_path.parent().context("the recipe's path has a parent")?;
    let content = |file: &recipe::File| -> Result<(String, Vec<u8>)> {
        let source = directory.join(&file.source);
        let content = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
        Ok((file.path.clone(), content))
    };
    recipe.files.iter().map(content).collect()
}

/// Builds the workspace binaries that the recipe asks for, static, and reads them.
fn static_binaries(recipe: &Recipe) -> Result<Vec<(String, Vec<u8>)>> {
    let mut binaries = Vec::new();
    for binary in &recipe.binaries {
        let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--release", "--target", STATIC_TARGET])
            .args(["--package", &binary.package, "--bin", &binary.name])
            .env("RUSTFLAGS", crate::dist::RUSTFLAGS)
            .current_dir(workspace::root())
            .status()
            .context("running cargo")?;
        ensure!(
            status.success(),
            "building {} of {}: cargo ended with {status}",
            binary.name,
            binary.package
        );
        let built = workspace::target().join(STATIC_TARGET).join("release").join(&binary.name);
        let content = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
        binaries.push((binary.path.clone(), content));
    }
    Ok(binaries)
}

/// The image's version: that of the package the image is named after, or of this workspace.
fn version(recipe: &Recipe, packages: &[Package]) -> Result<String> {
    match &recipe.version_of {
        Some(name) => packages
            .iter()
            .find(|package| package.name() == name)
            .map(Package::upstream_version)
            .with_context(|| format!("version_of names {name}, which is not among the packages")),
        None => workspace_version(),
    }
}

/// The version in the workspace's Cargo.toml, which every crate of ours inherits.
fn workspace_version() -> Result<String> {
    let path = workspace::root().join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("version = \""));
    let version = line.and_then(|rest| rest.strip_suffix('"'));
    version.map(str::to_owned).context("Cargo.toml has no line `version = \"…\"`")
}
