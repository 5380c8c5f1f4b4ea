use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::prefill::prefill;

/// A root file system with content at `/srv/data`, and an empty directory beside it.
fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (root, target) = (directory.path().join("root"), directory.path().join("volume"));
    fs::create_dir_all(root.join("srv/data/sub")).unwrap();
    fs::write(root.join("srv/data/sub/file"), "content").unwrap();
    fs::hard_link(root.join("srv/data/sub/file"), root.join("srv/data/second")).unwrap();
    symlink("/etc/passwd", root.join("srv/data/link")).unwrap();
    fs::set_permissions(root.join("srv/data"), fs::Permissions::from_mode(0o1750)).unwrap();
    fs::create_dir(&target).unwrap();
    (directory, root, target)
}

#[test]
fn content_links_and_mode_are_copied() {
    let (_directory, root, target) = places();

    assert!(prefill(&root, "/srv/data", &target).unwrap());

    assert_eq!(fs::read(target.join("sub/file")).unwrap(), b"content");
    let inode = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
    assert_eq!(inode("sub/file"), inode("second"));
    assert_eq!(fs::read_link(target.join("link")).unwrap(), PathBuf::from("/etc/passwd"));
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o1750);
}

#[test]
fn a_mount_point_behind_links_is_found_inside_the_root() {
    let (_directory, root, target) = places();
    symlink("/srv", root.join("var")).unwrap();

    assert!(prefill(&root, "/var/data", &target).unwrap());

    assert!(target.join("second").exists());
}

#[test]
fn a_link_out_of_the_root_leads_nowhere_else() {
    let (directory, root, target) = places();
    fs::create_dir(directory.path().join("secret")).unwrap();
    symlink("../../secret", root.join("out")).unwrap();

    assert!(!prefill(&root, "/out", &target).unwrap());
}

#[test]
fn an_image_without_the_directory_leaves_the_volume_empty() {
    let (_directory, root, target) = places();

    assert!(!prefill(&root, "/nowhere", &target).unwrap());

    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}
