//! Roots that are mounted with a pod's users; it takes root, so for anybody else there is nothing to see here.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::app_root::{self, AppRoot, Obstacle};
use super::users::{Numbers, Users};

const OWNER: u32 = 0x7002_0000;

/// A name that with what leads to it is longer than the kernel takes a path for.
const APP: &str = "app-whose-name-is-so-long-that-what-leads-to-its-layers-has-more-bytes-than-the-kernel-takes-for-\
     the-value-of-an-option-of-a-file-system-which-are-two-hundred-and-fifty-six-of-them-and-this-one-has-nearly-as-many";

/// Where its changes are, with separators of overlayfs' options.
const CHANGES: &str = "overlay:1,2";

/// A pod's directory with an app, as stage0 leaves it.
struct Pod {
    directory: tempfile::TempDir,
    users: Users,
}

impl Pod {
    /// None for whoever is not root.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let pod = Self {
            // A disk: owners of files of a tmpfs can be mapped since Linux 6.3 only.
            directory: tempfile::tempdir_in("/var/tmp").unwrap(),
            users: Users::make(Numbers::OfThePod(OWNER)).unwrap(),
        };
        // As systemd has all mounts.
        rustix::mount::mount_bind(pod.directory.path(), pod.directory.path()).unwrap();
        rustix::mount::mount_change(pod.directory.path(), MountPropagationFlags::SHARED).unwrap();
        for directory in
            [&format!("{CHANGES}/upper/{APP}"), &format!("{CHANGES}/work/{APP}"), "tree/etc", "root"]
        {
            fs::create_dir_all(pod.path(directory)).unwrap();
        }
        fs::write(pod.path("tree/kept"), "of the image").unwrap();
        chown(pod.path("tree/kept"), Some(1000), Some(100)).unwrap();
        fs::write(pod.path("tree/gone"), "").unwrap();
        let (tree, root) = (pod.path("tree"), pod.path("root"));
        rustix::mount::mount_bind(&tree, &root).unwrap();
        rustix::mount::mount_remount(&root, MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
        Some(pod)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn upper(&self, name: &str) -> PathBuf {
        self.path(&format!("{CHANGES}/upper/{APP}")).join(name)
    }

    fn prepare(&self) -> Result<AppRoot, Obstacle> {
        app_root::prepare(APP, &self.path("root"), Some(self.path(CHANGES)), Some(&self.users))
    }

    fn mount(&self, prepared: Result<AppRoot, Obstacle>) -> std::io::Result<OwnedFd> {
        let roots = vec![prepared.unwrap()];
        match app_root::make_overlays(&roots, Some(&self.users)) {
            Ok(overlays) => Ok(app_root::put_all(roots, overlays)?.remove(0)),
            Err(Obstacle::Root(error) | Obstacle::Users(error)) => Err(error),
        }
    }

    fn prepare_copy(&self, root: &str) -> Result<AppRoot, Obstacle> {
        app_root::prepare(APP, &self.path(root), None, Some(&self.users))
    }

    /// What is mounted below it, and of which kind.
    fn mounts(&self) -> Vec<(String, String)> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let directory = self.directory.path().to_str().unwrap().to_owned() + "/";
        let mount = |line: &str| {
            let kind = line.split_once(" - ").unwrap().1.split(' ').next().unwrap().to_owned();
            let point = line.split(' ').nth(4).unwrap().strip_prefix(&directory)?.to_owned();
            Some((point, kind))
        };
        table.lines().filter_map(mount).collect()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for point in ["root", "root", CHANGES] {
            let _ = rustix::mount::unmount(self.path(point), UnmountFlags::DETACH);
        }
        let _ = rustix::mount::unmount(self.directory.path(), UnmountFlags::DETACH);
    }
}

#[track_caller]
fn owner(mount: &OwnedFd, path: &str) -> (u32, u32) {
    let stat = rustix::fs::statat(mount, path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    (stat.st_uid, stat.st_gid)
}

#[track_caller]
fn on_disk(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// Makes a file as somebody does who has this number on the host, and every capability.
fn make_as(mount: &OwnedFd, path: &str, user: u32) -> rustix::io::Result<()> {
    let before = nix::unistd::setfsuid(user.into());
    let group = nix::unistd::setfsgid(user.into());
    let held = rustix::thread::capabilities(None).unwrap();
    let whole = rustix::thread::CapabilitySets { effective: held.permitted, ..held };
    rustix::thread::set_capabilities(None, whole).unwrap();
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let made = rustix::fs::openat(mount.as_fd(), path, flags, Mode::RUSR).map(drop);
    nix::unistd::setfsuid(before);
    nix::unistd::setfsgid(group);
    made
}

#[test]
fn overlay_shows_the_pods_users_and_keeps_the_hosts_numbers_on_the_disk() {
    let Some(pod) = Pod::new() else { return };

    let mount = pod.mount(pod.prepare()).unwrap();

    assert_eq!(owner(&mount, "kept"), (OWNER + 1000, OWNER + 100));
    // Copied up, made, covered and removed: all that leaves something in the upper layer.
    let root = pod.path("root");
    fs::write(root.join("kept"), "changed").unwrap();
    make_as(&mount, "made", OWNER + 7).unwrap();
    fs::remove_file(root.join("gone")).unwrap();
    fs::set_permissions(root.join("kept"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(owner(&mount, "kept"), (OWNER + 1000, OWNER + 100));
    assert_eq!(owner(&mount, "made"), (OWNER + 7, OWNER + 7));
    assert_eq!(on_disk(&pod.upper("kept")), (1000, 100));
    assert_eq!(on_disk(&pod.upper("made")), (7, 7));
    assert_eq!(fs::read_to_string(pod.upper("kept")).unwrap(), "changed");
    assert!(fs::symlink_metadata(pod.upper("gone")).is_ok() && !root.join("gone").exists());
    assert_eq!(fs::read_to_string(pod.path("tree/kept")).unwrap(), "of the image");
    // Nobody of the host's can have a file there.
    assert_eq!(make_as(&mount, "of-root", 0), Err(Errno::OVERFLOW));
}

#[test]
fn overlay_takes_the_place_of_its_tree_and_nothing_else_stays_mounted() {
    let Some(pod) = Pod::new() else { return };
    assert_eq!(pod.mounts().len(), 1);

    drop(pod.mount(pod.prepare()).unwrap());

    assert_eq!(pod.mounts(), [("root".to_owned(), "overlay".to_owned())]);
    assert_eq!(on_disk(&pod.path("root/kept")), (OWNER + 1000, OWNER + 100));
}

#[test]
fn overlay_has_a_list_of_mounts_unless_its_image_brings_one_or_leads_away() {
    let Some(pod) = Pod::new() else { return };
    drop(pod.mount(pod.prepare()).unwrap());
    assert_eq!(fs::read_link(pod.upper("etc/mtab")).unwrap(), Path::new("../proc/self/mounts"));
    assert_eq!(on_disk(&pod.upper("etc/mtab")), (0, 0));

    let Some(pod) = Pod::new() else { return };
    fs::write(pod.path("tree/etc/mtab"), "its own").unwrap();
    drop(pod.mount(pod.prepare()).unwrap());
    assert_eq!(fs::read_to_string(pod.path("root/etc/mtab")).unwrap(), "its own");

    let Some(pod) = Pod::new() else { return };
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir(pod.path("tree/etc")).unwrap();
    symlink(outside.path(), pod.path("tree/etc")).unwrap();
    drop(pod.mount(pod.prepare()).unwrap());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn nothing_is_changed_before_all_is_known_to_be_possible() {
    let Some(pod) = Pod::new() else { return };
    let before = pod.mounts();

    assert!(matches!(pod.prepare().unwrap(), AppRoot::Overlay(_)));

    assert_eq!(pod.mounts(), before);
    fs::remove_dir_all(pod.path(CHANGES)).unwrap();
    assert!(matches!(pod.prepare(), Err(Obstacle::Users(_))));
}

#[test]
fn overlay_that_cannot_be_mounted_leaves_the_tree_where_it_was() {
    let Some(mut pod) = Pod::new() else { return };
    let before = pod.mounts();
    let prepared = pod.prepare();
    fs::remove_dir(pod.path(&format!("{CHANGES}/work/{APP}"))).unwrap();

    assert!(pod.mount(prepared).is_err());

    assert_eq!(pod.mounts(), before);
    // Nor does an attempt that came further keep the next one from being made.
    fs::create_dir_all(pod.path(&format!("{CHANGES}/work/{APP}/work"))).unwrap();
    pod.users = Users::make(Numbers::OfTheHost).unwrap();
    let mount = pod.mount(pod.prepare()).unwrap();
    make_as(&mount, "made", 7).unwrap();
}

#[test]
fn what_another_stage0_has_mounted_cannot_have_the_pods_users() {
    let Some(mut pod) = Pod::new() else { return };
    drop(pod.mount(pod.prepare()).unwrap());

    assert!(matches!(pod.prepare(), Err(Obstacle::Users(_))));

    pod.users = Users::make(Numbers::OfTheHost).unwrap();
    assert!(matches!(pod.prepare().unwrap(), AppRoot::Directory(_)));
}

#[test]
fn directory_shows_the_pods_users() {
    let Some(pod) = Pod::new() else { return };

    let mount = pod.mount(pod.prepare_copy("tree")).unwrap();

    assert_eq!(owner(&mount, "kept"), (OWNER + 1000, OWNER + 100));
    make_as(&mount, "made", OWNER + 7).unwrap();
    assert_eq!(on_disk(&pod.path("tree/made")), (7, 7));
    assert_eq!(on_disk(&pod.path("tree/kept")), (1000, 100));
}

#[test]
fn root_is_a_directory_and_no_link_to_one() {
    let Some(pod) = Pod::new() else { return };
    symlink("/etc", pod.path("link")).unwrap();

    for path in ["link", "tree/kept", "missing"] {
        assert!(matches!(pod.prepare_copy(path), Err(Obstacle::Root(_))), "{path}");
    }
}

#[test]
fn overlay_of_the_hosts_users_has_their_numbers() {
    let Some(mut pod) = Pod::new() else { return };
    pod.users = Users::make(Numbers::OfTheHost).unwrap();

    let mount = pod.mount(pod.prepare()).unwrap();

    assert_eq!(owner(&mount, "kept"), (1000, 100));
    assert_eq!(owner(&mount, "etc/mtab"), (0, 0));
    make_as(&mount, "made", 7).unwrap();
    assert_eq!(on_disk(&pod.upper("made")), (7, 7));
    assert_eq!(pod.mounts(), [("root".to_owned(), "overlay".to_owned())]);
}

#[test]
fn many_apps_of_one_image_have_overlays_of_their_own() {
    const APPS: usize = 12;
    let Some(pod) = Pod::new() else { return };
    let name = |number| format!("app-{number}");
    let point = |number| pod.path(&format!("root-{number}"));
    for number in 0..APPS {
        let app = name(number);
        for directory in [format!("{CHANGES}/upper/{app}"), format!("{CHANGES}/work/{app}")] {
            fs::create_dir(pod.path(&directory)).unwrap();
        }
        fs::create_dir(point(number)).unwrap();
        rustix::mount::mount_bind(pod.path("tree"), point(number)).unwrap();
    }
    let prepare = |number| {
        app_root::prepare(&name(number), &point(number), Some(pod.path(CHANGES)), Some(&pod.users)).unwrap()
    };
    let roots: Vec<AppRoot> = (0..APPS).map(prepare).collect();
    let before = pod.mounts().len();

    let overlays = app_root::make_overlays(&roots, Some(&pod.users)).unwrap();
    let mounts = app_root::put_all(roots, overlays).unwrap();

    assert_eq!(pod.mounts().len(), before);
    for (number, mount) in mounts.iter().enumerate() {
        make_as(mount, &name(number), OWNER).unwrap();
    }
    for number in 0..APPS {
        let upper = pod.path(&format!("{CHANGES}/upper/{}", name(number)));
        assert!(upper.join(name(number)).exists() && !upper.join(name((number + 1) % APPS)).exists());
        rustix::mount::unmount(point(number), UnmountFlags::DETACH).unwrap();
    }
}
