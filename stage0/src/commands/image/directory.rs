//! An image's files in a directory of the user's.
//!
//! Responsible for: the flags that `rkt image extract` and `rkt image render` share, what may be overwritten, and the
//! directory's layout. Must not know: where the files come from. Follows rkt-reference.md 1.6.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::place::{Draft, Place};
use crate::cli::flag::FlagKind;
use crate::error::{FileContext, Result, Stage0Error};

const EXISTS: &str = "output directory exists (try --overwrite)";

/// Flags of `rkt image extract` and `rkt image render`.
#[derive(Debug, Clone, clap::Args)]
pub struct DirectoryArguments {
    /// write the root file system only
    #[arg(long, switch = false)]
    pub rootfs_only: bool,

    /// overwrite output directory
    #[arg(long, switch = false)]
    overwrite: bool,

    pub operands: Vec<String>,
}

impl DirectoryArguments {
    /// The image.
    pub fn image(&self) -> &str {
        self.operands.first().map(String::as_str).unwrap_or_default()
    }

    /// Begins the output. `data` is rkt's own directory.
    pub(super) fn begin(&self, data: &Path) -> Result<OutputDirectory> {
        let output = Path::new(self.operands.get(1).map(String::as_str).unwrap_or_default());
        let place = Place::of_directory(output)?;
        let path = place.path();
        if place.is_taken()? {
            if !self.overwrite {
                return Err(Stage0Error::refused(EXISTS));
            }
            if data.starts_with(&path) || path.starts_with(data) {
                return Err(Stage0Error::refused(format!(
                    "overwriting {path:?} would delete what rkt keeps in {data:?}. Refusing."
                )));
            }
        }
        let draft = place.draft_directory()?;
        Ok(OutputDirectory { draft, overwrite: self.overwrite, rootfs_only: self.rootfs_only })
    }
}

/// An output directory that has another name until it is whole.
#[derive(Debug)]
pub(super) struct OutputDirectory {
    draft: Draft,
    overwrite: bool,
    rootfs_only: bool,
}

impl OutputDirectory {
    /// Where the image's root file system belongs. The directory is made by whoever fills it, or is there and empty.
    pub fn rootfs(&self) -> PathBuf {
        let path = self.draft.path();
        if self.rootfs_only { path } else { path.join("rootfs") }
    }

    /// Writes the manifest, where it is wanted, and gives the directory its name.
    pub fn finish(self, manifest: &[u8], mode: u32) -> Result<()> {
        if !self.rootfs_only {
            let path = self.draft.path().join("manifest");
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&path)
                .and_then(|mut file| file.write_all(manifest))
                .file("write", &path)?;
        }
        self.draft.publish(self.overwrite, EXISTS)
    }
}
