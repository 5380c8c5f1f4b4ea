//! rkt's own directories, empty, for the demo alone.

use std::fs;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rkt_tests::rkt::scratch;
use tempfile::TempDir;

/// An empty /var/lib/rkt and /etc/rkt, for this process and every command it starts, so that the demo neither sees nor
/// changes the host's own pods and keys.
pub struct PrivateDirectories {
    _place: TempDir,
}

/// Where they appear.
const RKT_DIRECTORIES: [&str; 2] = ["/etc/rkt", "/var/lib/rkt"];

impl PrivateDirectories {
    /// Covers them until the value is dropped.
    pub fn mount() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (the demo runs as root)");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        let place = tempfile::Builder::new().prefix("rkt-demo-").tempdir_in(scratch()).expect("a directory");
        // All sources first: they may lie below one of the targets.
        let sources = RKT_DIRECTORIES.map(|target| place.path().join(target.replace('/', "-")));
        for (source, target) in sources.iter().zip(RKT_DIRECTORIES) {
            fs::create_dir(source).expect("a directory");
            fs::create_dir_all(target).expect("a directory");
        }
        for (source, target) in sources.iter().zip(RKT_DIRECTORIES) {
            mount(Some(source), target, none, MsFlags::MS_BIND, none).expect("a bind mount");
        }
        Self { _place: place }
    }
}

impl Drop for PrivateDirectories {
    fn drop(&mut self) {
        // Uncovers the place that the directory is removed from; without that it stays behind, which is no reason to fail.
        for target in RKT_DIRECTORIES {
            let _ = umount2(target, MntFlags::MNT_DETACH);
        }
    }
}
