use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use tar::{EntryType, Header};

use super::tree_hash::summarise;
use super::{ImageStore, Import, write_image};
use crate::extract::Layout;
use crate::extract::test_archive::{TestArchive, extract_all, manifest_json};

/// A tree with one of everything.
fn tree() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let long = format!("rootfs/{}/{}", "d".repeat(200), "f".repeat(200));
    let mut archive = TestArchive::new()
        .pax(&[("mtime", b"1234567890.5"), ("SCHILY.xattr.user.d", b"of a directory")])
        .directory("rootfs/d", 0o1777)
        .file(&long, b"long")
        .pax(&[("SCHILY.xattr.user.a", b"1\n2\0"), ("mtime", b"-1.25")])
        .raw(EntryType::Regular, "rootfs/suid", "", 0o4755, b"content")
        .hard_link("rootfs/second", "rootfs/suid")
        .symlink("rootfs/link", &"t".repeat(300))
        .raw(EntryType::Fifo, "rootfs/pipe", "", 0o600, b"");
    if rustix::process::geteuid().is_root() {
        let mut device = Header::new_gnu();
        device.set_entry_type(EntryType::Char);
        device.set_mode(0o666);
        device.set_uid(3_000_000_000);
        device.set_gid(5);
        device.set_size(0);
        device.set_mtime(7);
        device.set_device_major(5).unwrap();
        device.set_device_minor(1).unwrap();
        archive = archive.with_header(device, "rootfs/console", "", b"");
    }
    extract_all(archive, Layout::Image, directory.path()).unwrap();
    directory
}

#[test]
fn written_image_holds_the_same_tree() {
    let source = tree();
    let manifest = manifest_json("a.com/b", "");
    let mut image = Vec::new();

    write_image(manifest.as_bytes(), source.path(), &mut image).unwrap();

    let data = tempfile::tempdir().unwrap();
    let images = ImageStore::open(data.path()).unwrap();
    let key = images.import(&image[..], &Import::default()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    images.extract_to(&key, copy.path()).unwrap();
    assert_eq!(images.manifest_json(&key).unwrap(), manifest.as_bytes());
    assert_eq!(summarise(copy.path()).unwrap(), summarise(source.path()).unwrap());
    let of =
        |name: &str| [source.path(), copy.path()].map(|root| fs::symlink_metadata(root.join(name)).unwrap());
    for name in ["d", "suid", "link", "pipe"] {
        let [before, after] = of(name);
        assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()), "{name}");
    }
    assert_eq!((of("suid")[1].ino(), of("suid")[1].nlink()), (of("second")[1].ino(), 2));
    if rustix::process::geteuid().is_root() {
        assert!(of("console")[1].file_type().is_char_device());
    }
}

#[test]
fn same_tree_gives_the_same_bytes() {
    let source = tree();
    let write = || {
        let mut image = Vec::new();
        write_image(b"{}", source.path(), &mut image).unwrap();
        image
    };
    assert_eq!(write(), write());
}

#[test]
fn reader_that_goes_away_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(write_image(b"{}", tree().path(), Full).is_err());
}
