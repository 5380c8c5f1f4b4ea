use std::ffi::CString;

use virtiofsd::filesystem::{Context, DirectoryIterator, Entry, FileSystem, FsOptions, OpenOptions};
use virtiofsd::fuse::{ATTR_SUBMOUNT, ROOT_ID};
use virtiofsd::passthrough::{Config, PassthroughFs};

use super::Writers;
use super::numbers::NumberedFs;

/// This machine's root, in which /proc and /sys are other file systems.
fn root() -> NumberedFs {
    root_written_by(Writers::GuestAndHost)
}

fn root_written_by(writers: Writers) -> NumberedFs {
    let config = Config { announce_submounts: true, ..Config::default() };
    let file_system = NumberedFs::new(PassthroughFs::new(config).unwrap(), writers);
    file_system.init(FsOptions::SUBMOUNTS).unwrap();
    file_system
}

fn context() -> Context {
    Context { uid: 0.into(), gid: 0.into(), pid: 1 }
}

fn lookup(file_system: &NumberedFs, parent: u64, name: &str) -> Entry {
    file_system.lookup(context(), parent, &CString::new(name).unwrap()).unwrap()
}

#[test]
fn roots_of_file_systems_have_numbers_of_their_own_and_keep_them() {
    let tree = root();

    let (first, second) = (lookup(&tree, ROOT_ID, "proc"), lookup(&tree, ROOT_ID, "sys"));

    // Both are inode 1 of their file systems.
    assert_ne!(first.attr.ino, second.attr.ino);
    assert_eq!((first.attr.ino ^ second.attr.ino) & 0xffff_ffff_ffff, 0);
    assert_eq!(first.attr.flags & ATTR_SUBMOUNT, 0);
    assert_eq!(tree.getattr(context(), first.inode, None).unwrap().0.ino, first.attr.ino);
    let number = first.attr.ino;
    tree.forget(context(), first.inode, 1);
    assert_eq!(lookup(&tree, ROOT_ID, "proc").attr.ino, number);
}

#[test]
fn directories_list_the_numbers_that_lookups_give() {
    let tree = root();
    let sys = lookup(&tree, ROOT_ID, "sys");
    let kernel = lookup(&tree, sys.inode, "kernel");
    let (handle, _) = tree.opendir(context(), sys.inode, 0).unwrap();

    let mut entries = tree.readdir(context(), sys.inode, handle.unwrap(), 1 << 16, 0).unwrap();

    let mut listed = None;
    while let Some(entry) = entries.next() {
        if entry.name.to_bytes() == b"kernel" {
            listed = Some(entry.ino);
        }
    }
    assert_eq!(listed, Some(kernel.attr.ino));
}

#[test]
fn closing_is_told_of_where_a_host_volume_may_have_been_written() {
    for (writers, flags, told) in [
        (Writers::GuestAndHost, libc::O_RDONLY, false),
        (Writers::GuestAndHost, libc::O_RDWR, true),
        (Writers::GuestOnly, libc::O_RDWR, false),
    ] {
        let tree = root_written_by(writers);
        let dev = lookup(&tree, ROOT_ID, "dev");
        // A directory below which every machine has a file to write to, and nothing happens.
        let shm = lookup(&tree, dev.inode, "shm");
        let name = CString::new(format!("rkt-numbers-test-{}", std::process::id())).unwrap();
        std::fs::write(format!("/dev/shm/{}", name.to_str().unwrap()), "").unwrap();
        let file = tree.lookup(context(), shm.inode, &name).unwrap();

        let (_, options) = tree.open(context(), file.inode, false, flags as u32).unwrap();

        tree.unlink(context(), shm.inode, &name).unwrap();
        assert_eq!(!options.contains(OpenOptions::NOFLUSH), told, "{writers:?} {flags:o}");
    }
}
