//! Which stage1 image runs a pod.
//!
//! Responsible for: flags before configuration before defaults, and the files a default is found in. Must not
//! know: how images are fetched or verified. Follows rkt-reference.md 4.10.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use appc::Labels;

use crate::cli::pod_flags::Stage1Choice;
use crate::config::{Configuration, Stage1Config};
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::log::Log;
use crate::store::{ImageStore, Import, Key, Remote};

/// Name of our own stage1 image.
const DEFAULT_NAME: &str = "coreos.com/rkt/stage1-kvm";
/// Its short name on the command line.
const DEFAULT_ALIAS: &str = "kvm";
/// Its file name, beside the rkt binary or in the directory of images.
const DEFAULT_FILE: &str = "stage1-kvm.aci";
/// Where packages put stage1 images. Files in there are as trustworthy as rkt itself.
const IMAGES_DIRECTORY: &str = "/usr/lib/rkt/stage1-images";

/// Finds stage1 images.
pub struct Selection<'a> {
    /// The image store.
    pub store: &'a ImageStore,
    /// rkt's configuration.
    pub configuration: &'a Configuration,
    /// Fetches an image string into the store, verified like every other image.
    pub fetch: &'a dyn Fn(&str) -> Result<Key>,
    /// Where the choice is explained with `--debug`.
    pub log: Log,
}

impl Selection<'_> {
    /// The image the flags ask for, else the default one.
    pub fn select(&self, choice: Option<&Stage1Choice>) -> Result<Key> {
        let key = match choice {
            None => self.image(self.configuration.stage1()?),
            Some(Stage1Choice::Url(url)) => self.at_location(url),
            Some(Stage1Choice::Path(path)) => {
                let absolute = std::path::absolute(path).file("find", Path::new(path));
                absolute.and_then(|path| self.in_file(&path))
            }
            Some(Stage1Choice::Name(name)) if is_own(name) => self.own_image(),
            Some(Stage1Choice::Name(name)) => (self.fetch)(name),
            Some(Stage1Choice::Hash(hash)) => {
                self.store.resolve_key(hash).context("could not find the stage1 image")
            }
            Some(Stage1Choice::FromDir(name)) => self.in_images_directory(name),
        };
        key.context("error getting stage1 image")
    }

    fn in_images_directory(&self, name: &str) -> Result<Key> {
        if name.contains('/') {
            return Err(Stage0Error::refused(format!("{name:?} is not a file name")));
        }
        let directory = self.configuration.paths()?.stage1_images;
        self.in_file(&directory.unwrap_or_else(|| PathBuf::from(IMAGES_DIRECTORY)).join(name))
    }

    /// Our own image, from where the configuration says unless that is about another one.
    fn own_image(&self) -> Result<Key> {
        let configured = self.configuration.stage1()?;
        let is_own = configured.name.as_ref().is_none_or(|name| name == DEFAULT_NAME);
        self.image(if is_own { configured } else { Stage1Config::default() })
    }

    /// The configured image; what the configuration does not say is said by this program.
    fn image(&self, configured: Stage1Config) -> Result<Key> {
        let Stage1Config { name, version, location, .. } = configured;
        let name = name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let version = version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        if is_final(&version)
            && let Some(key) = self.in_store(&name, &version)?
        {
            self.log.debug(format!("using stage1 image {name}:{version} from the store"));
            return Ok(key);
        }
        let file_name = match &location {
            Some(location) if is_remote(location) => return self.at_location(location),
            Some(location) => {
                let path = Path::new(location.strip_prefix("file://").unwrap_or(location));
                if path.exists() {
                    return self.in_file(path);
                }
                path.file_name().map_or_else(|| DEFAULT_FILE.into(), ToOwned::to_owned)
            }
            None => {
                let path = Path::new(IMAGES_DIRECTORY).join(DEFAULT_FILE);
                if path.exists() {
                    return self.in_file(&path);
                }
                DEFAULT_FILE.into()
            }
        };
        let binary = std::env::current_exe().context("cannot find rkt's own directory")?;
        let beside = binary.with_file_name(file_name);
        if !beside.exists() {
            return Err(Stage0Error::refused(format!(
                "no stage1 image at {}, use --stage1-{{path,url,name,hash,from-dir}} flag",
                beside.display()
            )));
        }
        self.import(&beside)
    }

    fn in_store(&self, name: &str, version: &str) -> Result<Option<Key>> {
        let mut labels = Labels::default();
        for (label, value) in [("version", version), ("os", appc::HOST_OS), ("arch", appc::HOST_ARCH)] {
            let label = label.parse().context("bad label name")?;
            labels.set(label, value).context("bad label")?;
        }
        let name = name.parse().context("invalid name of the stage1 image")?;
        self.store.get_by_name(&name, &labels).context("error looking for the stage1 image in the store")
    }

    fn at_location(&self, location: &str) -> Result<Key> {
        match location.strip_prefix("file://") {
            Some(path) => self.in_file(Path::new(path)),
            None => (self.fetch)(location),
        }
    }

    fn in_file(&self, path: &Path) -> Result<Key> {
        if is_packaged(path) {
            return self.import(path);
        }
        let text =
            path.to_str().ok_or_else(|| Stage0Error::refused(format!("path {path:?} is not valid UTF-8")))?;
        (self.fetch)(text)
    }

    /// Imports a trusted file, unless exactly this file is in the store already. Every start of a pod comes
    /// by here, and hashing the image would take longer than all the rest of it.
    fn import(&self, path: &Path) -> Result<Key> {
        let path = path.canonicalize().file("find", path)?;
        let url = format!("file://{}", path.display());
        let file = std::fs::File::open(&path).file("open", &path)?;
        let fingerprint = fingerprint(&file.metadata().file("inspect", &path)?);
        let known = self.store.remote(&url).context("error looking for the stage1 image in the store")?;
        if let Some(known) = known
            && known.etag == fingerprint
        {
            self.log.debug(format!("using stage1 image {url} from the store"));
            return Ok(known.blob_key);
        }
        self.log.debug(format!("importing stage1 image {url}"));
        let key = self
            .store
            .import(file, &Import { latest: false })
            .context(format!("error importing the stage1 image {path:?}"))?;
        let remote = Remote {
            aci_url: url,
            sig_url: String::new(),
            etag: fingerprint,
            blob_key: key.clone(),
            cache_max_age: 0,
            download_time: SystemTime::now(),
        };
        self.store.put_remote(&remote).context("error recording the stage1 image")?;
        Ok(key)
    }
}

/// Whether a name means the image that belongs to this rkt: nobody publishes that one under its name, so it is not
/// looked for anywhere else.
fn is_own(name: &str) -> bool {
    let version = match name.strip_prefix(DEFAULT_NAME) {
        None => return name == DEFAULT_ALIAS,
        Some(rest) => rest,
    };
    version.is_empty() || version.strip_prefix(':') == Some(env!("CARGO_PKG_VERSION"))
}

/// A release's image never changes, so the one in the store will do. While a version is in the making (`-dirty`,
/// `-alpha.1`) it changes with every build.
fn is_final(version: &str) -> bool {
    !version.contains('-')
}

fn is_remote(location: &str) -> bool {
    location.contains("://") && !location.starts_with("file://")
}

/// Whether a file came with rkt's package.
fn is_packaged(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path.starts_with(IMAGES_DIRECTORY))
}

/// Changes whenever the file does. The change time is what an editor of the file cannot set.
fn fingerprint(metadata: &std::fs::Metadata) -> String {
    format!(
        "{}-{}-{}-{}.{:09}-{}.{:09}",
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_the_making_are_not_taken_from_the_store() {
        assert!(is_final("2.0.0"));
        assert!(!is_final("2.0.0-alpha.1") && !is_final("2.0.0-dirty"));
    }

    #[test]
    fn our_own_image_has_a_short_name_and_is_ours_in_our_version_only() {
        let ours = format!("coreos.com/rkt/stage1-kvm:{}", env!("CARGO_PKG_VERSION"));

        assert!(["kvm", "coreos.com/rkt/stage1-kvm", &ours].into_iter().all(is_own));
        let others =
            ["coreos.com/rkt/stage1-kvm:1.30.0", "coreos.com/rkt/stage1-kvm-x", "fly", "example.com/kvm"];
        assert!(!others.into_iter().any(is_own));
    }

    #[test]
    fn only_files_of_the_package_are_trusted() {
        assert!(!is_packaged(Path::new("/usr/lib/rkt/stage1-images/../../../../etc/passwd")));
        assert!(!is_packaged(Path::new("/proc/self/exe")));
    }

    #[test]
    fn a_changed_file_has_another_fingerprint() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stage1.aci");
        std::fs::write(&path, "one").unwrap();
        let before = fingerprint(&path.metadata().unwrap());

        let replacement = directory.path().join("new");
        std::fs::write(&replacement, "two").unwrap();
        std::fs::rename(&replacement, &path).unwrap();

        assert_ne!(fingerprint(&path.metadata().unwrap()), before);
    }
}
