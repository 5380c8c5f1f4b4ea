//! Finds and downloads the Debian packages of an image, through apt and this machine's own sources, so that mirrors,
//! keys and proxies are those the administrator chose. apt is shown an empty system of its own (a private status
//! file), on which nothing but the packages that a recipe leaves out counts as installed; the host's packages are
//! neither looked at nor changed. apt checks every archive against the signed index (apt-secure(8)).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use super::recipe::Recipe;

/// A downloaded package.
pub(crate) struct Package {
    /// `NAME_VERSION_ARCH.deb`, with `:` in the version written `%3a`: it names the exact build.
    pub(crate) file_name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
}

impl Package {
    /// The package's name.
    pub(crate) fn name(&self) -> &str {
        self.file_name.split('_').next().unwrap_or_default()
    }

    /// The version without Debian's epoch and revision, in the characters that an image label conventionally has.
    pub(crate) fn upstream_version(&self) -> String {
        let version = self.file_name.split('_').nth(1).unwrap_or_default().replace("%3a", ":");
        let version = version.rsplit(':').next().unwrap_or_default();
        version.rsplit_once('-').map_or(version, |(upstream, _)| upstream).to_owned()
    }
}

/// Resolves the recipe's packages and their dependencies and downloads those that `cache` does not hold yet.
/// Returns them sorted by file name.
pub(crate) fn resolve(recipe: &Recipe, cache: &Path) -> Result<Vec<Package>> {
    if recipe.packages.is_empty() {
        return Ok(Vec::new());
    }
    fs::create_dir_all(cache.join("partial")).with_context(|| format!("creating {}", cache.display()))?;
    let status = tempfile::NamedTempFile::new().context("creating a dpkg status file")?;
    let installed: String = recipe.left_out.keys().map(|name| status_entry(name)).collect();
    fs::write(status.path(), installed).context("writing a dpkg status file")?;

    let mut listing = apt_get(recipe, status.path(), cache, "--print-uris")?;
    if !listing.status.success() {
        // A machine that was just installed has no package lists yet, or lists of packages that are gone.
        let update =
            Command::new("apt-get").args(["update", "-qq"]).status().context("running apt-get update")?;
        if !update.success() {
            bail!("apt-get update ended with {update}");
        }
        listing = apt_get(recipe, status.path(), cache, "--print-uris")?;
    }
    succeeded(recipe, &listing)?;
    let text = String::from_utf8_lossy(&listing.stdout);
    let mut packages: Vec<Package> = text
        .lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(|name| Package { file_name: name.to_owned(), path: cache.join(name) })
        .collect();
    packages.sort_by(|a, b| a.file_name.cmp(&b.file_name));
    // apt lists only what its cache lacks, unless the cache is not its own: so it is asked with one that is empty.
    if packages.iter().any(|package| !package.path.exists()) {
        succeeded(recipe, &apt_get(recipe, status.path(), cache, "--download-only")?)?;
    }
    for package in &packages {
        if !package.path.exists() {
            bail!("apt-get did not download {}", package.file_name);
        }
    }
    Ok(packages)
}

/// Runs `apt-get install` for the recipe in the given mode on the private system.
fn apt_get(recipe: &Recipe, status: &Path, cache: &Path, mode: &str) -> Result<Output> {
    // With --print-uris apt leaves out what it would not have to download; an empty archive directory shows all.
    let empty = tempfile::tempdir().context("creating an empty archive directory")?;
    fs::create_dir(empty.path().join("partial")).context("creating an empty archive directory")?;
    let archives = if mode == "--print-uris" { empty.path() } else { cache };
    Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends", "--quiet=2", mode])
        .args(["-o", &format!("Dir::State::status={}", status.display())])
        .args(["-o", &format!("Dir::Cache::archives={}", archives.display())])
        // The cache is below root's home, which apt's unprivileged download user cannot enter.
        .args([
            "-o",
            "APT::Sandbox::User=root",
            "-o",
            "Debug::NoLocking=true",
            "-o",
            "APT::Keep-Downloaded-Packages=true",
        ])
        .args(&recipe.packages)
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("running apt-get (the example images are built from Debian packages)")
}

/// Turns a failed apt-get into an error that shows what it said.
fn succeeded(recipe: &Recipe, output: &Output) -> Result<()> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("apt-get could not get {}: {}", recipe.packages.join(" "), said.trim());
    }
    Ok(())
}

/// A dpkg status entry that makes `name` count as installed, newer than any real version (dpkg-query(1)).
fn status_entry(name: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: foreign\nVersion: 9999\n\
         Maintainer: xtask <xtask@localhost>\nDescription: left out of the image\n\n"
    )
}
