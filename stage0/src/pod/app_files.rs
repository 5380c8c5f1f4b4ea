//! The files of one app of a mutable pod, beside its entry in the pod's manifest.
//!
//! Responsible for: where they are, the mark of an app that is only half there, and removing them all. Must not know: what
//! stage1 has of the app. Follows rkt-reference.md 2.2 and 4.7.
//!
//! An app is in the pod when the manifest says so and `appsinfo/APP/incomplete` is not there. What else a killed `app add` or
//! `app rm` leaves is removed by the next command that is about an app of that name, and goes with the pod.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::assemble::{app_directory, stage1_root};
use super::locate::FoundPod;
use super::mounts::{MountTable, Unmounter};
use super::prepare::{create_below, write};
use super::remove::remove_path;
use super::sandbox::info_directory;
use crate::error::{Context, FileContext, Result};
use crate::fault;

/// The mark.
const INCOMPLETE: &str = "incomplete";

/// Where empty volumes are, below the pod's directory.
const VOLUMES: &str = "sharedVolumes";

/// Before the names of files of an app that is being started again, until it has been. No app's name begins with a dot.
const KEPT: char = '.';

/// An app's files.
#[derive(Debug, Clone, Copy)]
pub struct AppFiles<'a> {
    /// The pod.
    pub pod: &'a FoundPod,
    /// The app's name.
    pub app: &'a str,
}

impl AppFiles<'_> {
    /// `appsinfo/APP`.
    pub fn info(&self) -> PathBuf {
        self.pod.path().join(info_directory(self.app))
    }

    /// Whether the app is being added or removed, or was to some point.
    pub fn is_incomplete(&self) -> bool {
        self.pod.has(&info_directory(self.app).join(INCOMPLETE))
    }

    /// Sets the mark.
    pub fn mark_incomplete(&self) -> Result<()> {
        create_below(self.pod.path(), &info_directory(self.app))?;
        write(&self.info().join(INCOMPLETE), b"", 0o640)?;
        fault::point("app.marked");
        Ok(())
    }

    /// Takes the mark away: the app is there.
    pub fn mark_complete(&self) -> Result<()> {
        let mark = self.info().join(INCOMPLETE);
        std::fs::remove_file(&mark).file("remove", &mark)?;
        fault::point("app.unmarked");
        Ok(())
    }

    /// The file that says that the app was created, in `status`.
    pub fn created(&self, status: &Path) -> PathBuf {
        status.join(format!("{}-created", self.app))
    }

    /// The file that says that it was started.
    pub fn started(&self, status: &Path) -> PathBuf {
        status.join(format!("{}-started", self.app))
    }

    /// The file with its exit code.
    pub fn exit_code(&self, status: &Path) -> PathBuf {
        status.join(self.app)
    }

    /// Where its last exit code is while it is started again.
    pub fn kept_exit_code(&self, status: &Path) -> PathBuf {
        status.join(format!("{KEPT}{}", self.app))
    }

    /// Where the file that says that it was started is meanwhile.
    pub fn kept_started(&self, status: &Path) -> PathBuf {
        status.join(format!("{KEPT}{}-started", self.app))
    }

    /// Removes everything but `appsinfo/APP`, which says that there is something to be removed.
    pub fn remove(&self) -> Result<()> {
        let pod = self.pod.path();
        let table = MountTable::read()?;
        let directory = app_directory(pod, self.app);
        let mut unmounter = Unmounter::default();
        unmounter.unmount_below(&table, &directory)?;
        // Now, not in the end: what the overlay writes is removed below.
        drop(unmounter);
        fault::point("app.unmounted");
        remove_path(&directory).file("remove", &directory)?;
        fault::point("app.root.removed");
        self.remove_overlay().context("error removing the app's overlay")?;
        fault::point("app.overlay.removed");
        self.remove_volumes().context("error removing the app's volumes")?;
        fault::point("app.volumes.removed");
        let rkt = self.rkt_directory(&table)?;
        let status = rkt.join("status");
        for file in [
            rkt.join("env").join(self.app),
            self.exit_code(&status),
            self.kept_exit_code(&status),
            self.kept_started(&status),
            self.started(&status),
            self.created(&status),
        ] {
            remove_path(&file).file("remove", &file)?;
            fault::point("app.file.removed");
        }
        Ok(())
    }

    /// Removes `appsinfo/APP`, and `appsinfo` with the last of them. The pod's manifest must not name the app any more.
    pub fn remove_info(&self) -> Result<()> {
        let info = self.info();
        remove_path(&info).file("remove", &info)?;
        fault::point("app.info.removed");
        remove_if_empty(&self.pod.path().join("appsinfo"))
    }

    /// The app's directories in all overlays but stage1's own: which tree was the app's may not be written down (yet).
    fn remove_overlay(&self) -> Result<()> {
        if !self.pod.uses_overlay() {
            return Ok(());
        }
        let stage1 = self.pod.stage1_tree()?;
        for tree in self.pod.names_in("overlay")? {
            if tree.to_str() == Some(&stage1) {
                continue;
            }
            let own = self.pod.path().join("overlay").join(tree);
            for layer in [own.join("upper"), own.join("work")] {
                let changes = layer.join(self.app);
                remove_path(&changes).file("remove", &changes)?;
                remove_if_empty(&layer)?;
            }
            remove_if_empty(&own)?;
        }
        Ok(())
    }

    /// What stage1 has put aside of volumes that were one app's alone, under names with a dot in front.
    fn remove_volumes(&self) -> Result<()> {
        for name in self.pod.names_in(VOLUMES)? {
            if name.as_encoded_bytes().starts_with(b".") {
                let volume = self.pod.path().join(VOLUMES).join(name);
                remove_path(&volume).file("remove", &volume)?;
            }
        }
        Ok(())
    }

    /// `/rkt` of stage1's root. After a reboot nothing is mounted there.
    fn rkt_directory(&self, table: &MountTable) -> Result<PathBuf> {
        let root = stage1_root(self.pod.path());
        if !self.pod.uses_overlay() || table.contains(&root) {
            return Ok(root.join("rkt"));
        }
        Ok(self.pod.path().join("overlay").join(self.pod.stage1_tree()?).join("upper/rkt"))
    }
}

/// Other apps may be of the same image.
fn remove_if_empty(directory: &Path) -> Result<()> {
    match std::fs::remove_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
        removed => removed.file("remove", directory),
    }
}
