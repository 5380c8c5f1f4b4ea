use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::test_archive::{TestArchive, extract_all};
use super::{ExtractError, Layout};

/// A directory `outside` beside the `rootfs` that is written to.
struct Place {
    top: TempDir,
}

impl Place {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("rootfs")).unwrap();
        fs::write(top.path().join("secret"), "of the host").unwrap();
        Self { top }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.top.path().join(path)
    }

    fn extract(&self, archive: TestArchive) -> Result<(), ExtractError> {
        extract_all(archive, Layout::Image, &self.path("rootfs"))
    }

    /// The error's text; panics if there is none or if anything of the host changed.
    fn refusal(&self, archive: TestArchive) -> String {
        let error = self.extract(archive).unwrap_err().to_string();
        assert_eq!(fs::read_to_string(self.path("secret")).unwrap(), "of the host");
        assert_eq!(fs::read_dir(self.top.path()).unwrap().count(), 2, "something appeared beside the rootfs");
        error
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn files_directories_and_links_are_written_with_mode_and_time() {
    let place = Place::new();
    let archive = TestArchive::new()
        .directory("rootfs", 0o711)
        .directory("rootfs/d", 0o555)
        .raw(EntryType::Regular, "rootfs/d/suid", "", 0o4755, b"hello")
        .symlink("rootfs/absolute", "/etc/passwd")
        .hard_link("rootfs/second", "rootfs/d/suid")
        .raw(EntryType::Fifo, "rootfs/pipe", "", 0o600, b"");

    place.extract(archive).unwrap();

    let file = fs::metadata(place.path("rootfs/d/suid")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.mtime(), file.nlink()), (0o4755, 1_000_000_000, 2));
    assert_eq!(fs::read_to_string(place.path("rootfs/second")).unwrap(), "hello");
    assert_eq!(fs::read_link(place.path("rootfs/absolute")).unwrap(), Path::new("/etc/passwd"));
    let directory = fs::metadata(place.path("rootfs/d")).unwrap();
    assert_eq!((directory.mode() & 0o7777, directory.mtime()), (0o555, 1_000_000_000));
    assert_eq!(fs::metadata(place.path("rootfs")).unwrap().mode() & 0o7777, 0o711);
    assert!(fs::symlink_metadata(place.path("rootfs/pipe")).unwrap().file_type().is_fifo());
    fs::set_permissions(place.path("rootfs/d"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn dot_dot_and_absolute_names_write_nothing() {
    let place = Place::new();
    assert!(place.refusal(TestArchive::new().file("rootfs/../secret", b"x")).contains("rootfs/../secret"));
    assert!(place.refusal(TestArchive::new().file("/secret", b"x")).contains("/secret"));
}

#[test]
fn file_behind_a_symbolic_link_is_refused() {
    let place = Place::new();
    for target in ["..", "/", "../../.."] {
        let archive = TestArchive::new().symlink("rootfs/out", target).file("rootfs/out/secret", b"x");
        let error = place.refusal(archive);
        assert!(error.contains("rootfs/out/secret") && error.contains("symbolic link"), "{error}");
    }
}

#[test]
fn file_in_place_of_a_symbolic_link_replaces_the_link_and_not_its_target() {
    let place = Place::new();
    let archive = TestArchive::new().symlink("rootfs/f", "../secret").file("rootfs/f", b"new");
    place.extract(archive).unwrap();
    assert_eq!(fs::read_to_string(place.path("rootfs/f")).unwrap(), "new");
    assert_eq!(fs::read_to_string(place.path("secret")).unwrap(), "of the host");
}

#[test]
fn directory_in_place_of_a_symbolic_link_replaces_the_link() {
    let place = Place::new();
    let archive = TestArchive::new()
        .symlink("rootfs/d", "..")
        .directory("rootfs/d", 0o755)
        .file("rootfs/d/secret", b"x");
    place.extract(archive).unwrap();
    assert_eq!(fs::read_to_string(place.path("secret")).unwrap(), "of the host");
    assert_eq!(fs::read_to_string(place.path("rootfs/d/secret")).unwrap(), "x");
}

#[test]
fn hard_links_reach_only_what_the_image_holds() {
    for (target, word) in [
        ("../secret", "\"..\""),
        ("/etc/passwd", "absolute"),
        ("rootfs/missing", "not in the image"),
        ("manifest", "outside"),
        ("rootfs/d", "directory"),
    ] {
        let place = Place::new();
        let archive = TestArchive::new().directory("rootfs/d", 0o755).hard_link("rootfs/h", target);
        let error = place.refusal(archive);
        assert!(error.contains("rootfs/h") && error.contains(word), "{target}: {error}");
    }
}

#[test]
fn hard_link_does_not_follow_a_symbolic_link_out_of_the_image() {
    let place = Place::new();
    let through_parent =
        TestArchive::new().symlink("rootfs/out", "..").hard_link("rootfs/h", "rootfs/out/secret");
    assert!(place.refusal(through_parent).contains("not in the image"));

    let to_link = TestArchive::new().symlink("rootfs/l", "../secret").hard_link("rootfs/h", "rootfs/l");
    place.extract(to_link).unwrap();
    assert!(fs::symlink_metadata(place.path("rootfs/h")).unwrap().is_symlink());
    assert_eq!(fs::metadata(place.path("secret")).unwrap().nlink(), 1);
}

#[test]
fn device_nodes_stay_nodes() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Char);
    header.set_mode(0o666);
    header.set_uid(0);
    header.set_gid(5);
    header.set_size(0);
    header.set_mtime(7);
    // Opening this one as a character device would rewind a tape.
    header.set_device_major(9).unwrap();
    header.set_device_minor(3).unwrap();
    let archive = TestArchive::new().with_header(header, "rootfs/dev/tape", "", b"");

    place.extract(archive).unwrap();

    let node = fs::symlink_metadata(place.path("rootfs/dev/tape")).unwrap();
    assert!(node.file_type().is_char_device());
    assert_eq!((node.rdev(), node.gid(), node.mode() & 0o7777), (rustix::fs::makedev(9, 3), 5, 0o666));
    assert_eq!(node.mtime(), 7);
}

#[test]
fn sparse_gibibyte_takes_no_gibibyte() {
    let place = Place::new();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(4);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.sparse[0].set_offset((1 << 30) - 4);
    gnu.sparse[0].set_length(4);
    gnu.set_real_size(1 << 30);
    let archive =
        TestArchive::new().with_header(header, "rootfs/bomb", "", b"tail").file("rootfs/after", b"x");

    place.extract(archive).unwrap();

    let file = fs::metadata(place.path("rootfs/bomb")).unwrap();
    assert_eq!(file.len(), 1 << 30);
    assert!(file.blocks() * 512 < 1 << 20, "{} blocks", file.blocks());
    assert!(place.path("rootfs/after").exists(), "what follows the sparse file is found");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let place = Place::new();
    let archive = TestArchive::new()
        .directory("rootfs/d", 0o755)
        .file("rootfs/d/f", b"old")
        .file("rootfs/d", b"now a file")
        .file("rootfs/x", b"now")
        .directory("rootfs/x", 0o700)
        .file("rootfs/x/y", b"z");
    place.extract(archive).unwrap();
    assert_eq!(fs::read_to_string(place.path("rootfs/d")).unwrap(), "now a file");
    assert_eq!(fs::read_to_string(place.path("rootfs/x/y")).unwrap(), "z");
}

#[test]
fn only_capabilities_and_user_attributes_are_kept() {
    let place = Place::new();
    // Version 2, effective, cap_net_raw permitted.
    let capability: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut records: Vec<(&str, &[u8])> =
        vec![("SCHILY.xattr.user.note", b"kept"), ("SCHILY.xattr.trusted.overlay.opaque", b"y")];
    if is_root() {
        records.push(("SCHILY.xattr.security.capability", capability));
    }
    let archive = TestArchive::new().pax(&records).file("rootfs/f", b"x");

    place.extract(archive).unwrap();

    let file = fs::File::open(place.path("rootfs/f")).unwrap();
    let mut value = vec![0; 64];
    let length = rustix::fs::fgetxattr(&file, "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
    assert!(rustix::fs::fgetxattr(&file, "trusted.overlay.opaque", &mut value).is_err());
    if is_root() {
        let length = rustix::fs::fgetxattr(&file, "security.capability", &mut value).unwrap();
        assert_eq!(&value[..length], capability);
    }
}

#[test]
fn missing_parents_are_made() {
    let place = Place::new();
    place.extract(TestArchive::new().file("rootfs/a/b/c", b"x")).unwrap();
    assert_eq!(fs::metadata(place.path("rootfs/a/b")).unwrap().mode() & 0o700, 0o700);
}

#[test]
fn trees_deeper_than_the_descriptor_limit_are_removed() {
    let top = tempfile::tempdir().unwrap();
    let mut directory = fs::File::open(top.path()).unwrap();
    rustix::fs::mkdirat(&directory, "deep", 0o700.into()).unwrap();
    for _ in 0..3000 {
        let flags = rustix::fs::OFlags::DIRECTORY;
        directory = rustix::fs::openat(&directory, "deep", flags, rustix::fs::Mode::empty()).unwrap().into();
        rustix::fs::mkdirat(&directory, "deep", 0o700.into()).unwrap();
    }

    let parent = fs::File::open(top.path()).unwrap();
    super::remove_tree(std::os::fd::AsFd::as_fd(&parent), "deep".as_ref()).unwrap();

    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
}
