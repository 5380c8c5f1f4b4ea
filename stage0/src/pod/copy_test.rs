//! A copied tree cannot be told from the original.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

use super::copy::copy_tree;

#[test]
fn modes_times_and_links_survive_a_copy() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("source"), directory.path().join("target"));
    let long_ago = UNIX_EPOCH + Duration::from_secs(86_400);
    std::fs::create_dir_all(source.join("bin")).unwrap();
    std::fs::write(source.join("bin/tool"), "#!").unwrap();
    std::fs::set_permissions(source.join("bin/tool"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::hard_link(source.join("bin/tool"), source.join("bin/alias")).unwrap();
    symlink("/etc/../tool", source.join("link")).unwrap();
    std::fs::File::open(source.join("bin/tool")).unwrap().set_modified(long_ago).unwrap();
    std::fs::File::open(source.join("bin")).unwrap().set_modified(long_ago).unwrap();

    copy_tree(&source, &target, None).unwrap();

    let tool = target.join("bin/tool").metadata().unwrap();
    assert_eq!(std::fs::read(target.join("bin/tool")).unwrap(), b"#!");
    assert_eq!(tool.mode() & 0o7777, 0o4755);
    assert_eq!(tool.modified().unwrap(), long_ago);
    assert_eq!(target.join("bin").metadata().unwrap().modified().unwrap(), long_ago);
    assert_eq!(tool.ino(), target.join("bin/alias").metadata().unwrap().ino());
    assert_ne!(tool.ino(), source.join("bin/tool").metadata().unwrap().ino());
    assert_eq!(std::fs::read_link(target.join("link")).unwrap().to_str(), Some("/etc/../tool"));
}

#[test]
fn holes_stay_holes_and_what_is_between_them_arrives() {
    use std::os::unix::fs::FileExt;
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("source"), directory.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    let file = std::fs::File::create(source.join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"middle", 32 << 20).unwrap();

    copy_tree(&source, &target, None).unwrap();

    let copied = target.join("sparse").metadata().unwrap();
    assert_eq!(copied.len(), 64 << 20);
    assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
    assert_eq!(std::fs::read(target.join("sparse")).unwrap(), std::fs::read(source.join("sparse")).unwrap());
}

#[test]
fn owners_are_moved_into_the_range_of_a_pod_with_private_users() {
    use super::user_range::UserRange;
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("source"), directory.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(100)).unwrap();
    let users = UserRange::random().unwrap();

    copy_tree(&source, &target, Some(users)).unwrap();

    let owner = |path: &std::path::Path| {
        let metadata = path.metadata().unwrap();
        (metadata.uid(), metadata.gid())
    };
    assert_eq!(owner(&target), (users.shift(0).unwrap(), users.shift(0).unwrap()));
    assert_eq!(owner(&target.join("file")), (users.shift(1000).unwrap(), users.shift(100).unwrap()));
}
