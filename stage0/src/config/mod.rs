//! Configuration: JSON files below up to three directories.
//!
//! Responsible for: reading and merging them. Must not know: what uses a value. Follows rkt-reference.md 2.8.

mod auth;
mod aws;
mod docker_auth;
mod files;
mod lookaside;
mod paths;
mod secret;
mod stage1;

#[cfg(test)]
mod auth_test;
#[cfg(test)]
mod aws_test;
#[cfg(test)]
mod lookaside_test;

use std::path::{Path, PathBuf};

pub use auth::{AuthConfig, Credentials};
pub use docker_auth::DockerAuthConfig;
pub use lookaside::LookasideConfig;
pub use paths::PathsConfig;
pub use stage1::{Jail, Stage1Config};

use crate::cli::globals::{DEFAULT_DATA_DIRECTORY, GlobalFlags};
use crate::cli::values::resolve;
use crate::error::{Context, Result};

/// The configuration directories in ascending priority.
#[derive(Debug, Clone)]
pub struct Configuration {
    directories: Vec<PathBuf>,
}

impl Configuration {
    /// The directories the command line names.
    pub fn of(globals: &GlobalFlags) -> Self {
        let mut directories = vec![globals.system_config.clone(), globals.local_config.clone()];
        directories.extend(globals.user_config.clone());
        Configuration { directories }
    }

    /// These directories.
    #[cfg(test)]
    pub fn in_directories(directories: &[&Path]) -> Self {
        Configuration { directories: directories.iter().map(|path| (*path).to_owned()).collect() }
    }

    /// The `auth` kind, merged host by host.
    pub fn auth(&self) -> Result<AuthConfig> {
        self.merge("auth.d", AuthConfig::read)
    }

    /// The `dockerAuth` kind, merged registry by registry.
    pub fn docker_auth(&self) -> Result<DockerAuthConfig> {
        self.merge("auth.d", DockerAuthConfig::read)
    }

    /// The `paths` kind, merged field by field.
    pub fn paths(&self) -> Result<PathsConfig> {
        self.merge("paths.d", PathsConfig::read)
    }

    /// The `stage1` kind, merged field by field.
    pub fn stage1(&self) -> Result<Stage1Config> {
        self.merge("stage1.d", Stage1Config::read)
    }

    /// The `lookaside` kind, merged registry by registry.
    pub fn lookaside(&self) -> Result<LookasideConfig> {
        self.merge("lookaside.d", LookasideConfig::read)
    }

    fn merge<T: Default + Merge>(&self, kind: &str, read: impl Fn(&Path) -> Result<T>) -> Result<T> {
        let mut merged = T::default();
        for directory in &self.directories {
            merged.override_with(read(&directory.join(kind))?);
        }
        Ok(merged)
    }
}

/// A configuration kind whose later directory wins.
trait Merge {
    /// Takes every field that `later` sets.
    fn override_with(&mut self, later: Self);
}

/// The data directory: `--dir`, else the configuration's, else the default. Symbolic links in it are resolved, because
/// the kernel's table of mounts, which says what `gc` has to unmount, knows no links.
pub fn data_directory(globals: &GlobalFlags) -> Result<PathBuf> {
    if let Some(directory) = &globals.dir {
        return Ok(directory.clone());
    }
    let configured = Configuration::of(globals).paths()?.data;
    let directory = configured.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIRECTORY));
    resolve(&directory).context("cannot use the data directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, kind: &str, name: &str, text: &str) {
        std::fs::create_dir_all(root.join(kind)).unwrap();
        std::fs::write(root.join(kind).join(name), text).unwrap();
    }

    fn configuration(directories: &[&Path]) -> Configuration {
        Configuration { directories: directories.iter().map(|path| (*path).to_owned()).collect() }
    }

    #[test]
    fn a_later_directory_overrides_field_by_field() {
        let (system, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(
            system.path(),
            "paths.d",
            "a.json",
            r#"{"rktKind":"paths","rktVersion":"v1","data":"/srv/rkt","stage1-images":"/srv/stage1"}"#,
        );
        write(local.path(), "paths.d", "b.json", r#"{"rktKind":"paths","rktVersion":"v1","data":"/data"}"#);

        let paths = configuration(&[system.path(), local.path()]).paths().unwrap();

        assert_eq!(paths.data.as_deref(), Some(Path::new("/data")));
        assert_eq!(paths.stage1_images.as_deref(), Some(Path::new("/srv/stage1")));
    }

    #[test]
    fn the_configured_data_directory_may_be_a_symbolic_link() {
        use clap::Parser;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("disk")).unwrap();
        std::os::unix::fs::symlink("disk", root.join("link")).unwrap();
        let link = root.join("link/rkt");
        let text = format!(r#"{{"rktKind":"paths","rktVersion":"v1","data":{link:?}}}"#);
        write(&root, "paths.d", "a.json", &text);
        let user_config = format!("--user-config={}", root.display());
        let arguments = crate::cli::Cli::try_parse_from(["rkt", &user_config, "version"]).unwrap();

        let data = data_directory(&arguments.globals).unwrap();

        assert_eq!(data, root.join("disk/rkt"));
    }

    #[test]
    fn a_field_given_twice_in_one_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.json"] {
            write(
                directory.path(),
                "paths.d",
                name,
                r#"{"rktKind":"paths","rktVersion":"v1","data":"/data"}"#,
            );
        }

        assert!(configuration(&[directory.path()]).paths().is_err());
    }

    #[test]
    fn wrong_kinds_versions_and_relative_paths_are_errors() {
        let cases = [
            r#"{"rktKind":"auth","rktVersion":"v1"}"#,
            r#"{"rktKind":"paths","rktVersion":"v2"}"#,
            r#"{"rktKind":"paths","rktVersion":"v1","data":"relative"}"#,
            r#"{"rktVersion":"v1"}"#,
            "not json",
        ];

        for case in cases {
            let directory = tempfile::tempdir().unwrap();
            write(directory.path(), "paths.d", "a.json", case);

            assert!(configuration(&[directory.path()]).paths().is_err(), "{case}");
        }
    }

    #[test]
    fn other_suffixes_symlinks_and_missing_directories_are_ignored() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "paths.d", "a.conf", "not json");
        std::os::unix::fs::symlink("/nowhere", directory.path().join("paths.d/b.json")).unwrap();

        let configuration = configuration(&[directory.path(), Path::new("/does/not/exist")]);

        assert_eq!(configuration.paths().unwrap().data, None);
    }

    #[test]
    fn stage1_needs_name_and_version_together() {
        let directory = tempfile::tempdir().unwrap();
        write(
            directory.path(),
            "stage1.d",
            "a.json",
            r#"{"rktKind":"stage1","rktVersion":"v1","name":"example.com/s"}"#,
        );

        assert!(configuration(&[directory.path()]).stage1().is_err());
    }

    #[test]
    fn stage1_location_is_an_absolute_path_or_a_known_url() {
        let read = |location: &str| {
            let directory = tempfile::tempdir().unwrap();
            let text = format!(r#"{{"rktKind":"stage1","rktVersion":"v1","location":"{location}"}}"#);
            write(directory.path(), "stage1.d", "a.json", &text);
            configuration(&[directory.path()]).stage1()
        };

        assert!(read("/opt/stage1.aci").is_ok() && read("https://example.com/stage1.aci").is_ok());
        assert!(read("stage1.aci").is_err() && read("ftp://example.com/stage1.aci").is_err());
    }
}
