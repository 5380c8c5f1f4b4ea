use std::ffi::CString;

use virtiofsd::filesystem::{Context, DirectoryIterator, Entry, FileSystem, FsOptions};
use virtiofsd::fuse::{ATTR_SUBMOUNT, ROOT_ID};
use virtiofsd::passthrough::{Config, PassthroughFs};

use super::numbers::NumberedFs;

/// This machine's root, in which /proc and /sys are other file systems.
fn root() -> NumberedFs {
    let config = Config { announce_submounts: true, ..Config::default() };
    let file_system = NumberedFs::new(PassthroughFs::new(config).unwrap());
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
