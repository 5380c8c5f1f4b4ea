use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::test_archive::{TestArchive, extract_all};
use super::{ExtractError, Layout};

/// A root file system that layers are applied to, with something of the host beside it.
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

    fn path(&self, path: &str) -> PathBuf {
        self.top.path().join("rootfs").join(path)
    }

    fn apply(&self, layer: TestArchive) -> Result<(), ExtractError> {
        let result = extract_all(layer, Layout::Layer, &self.path(""));
        assert_eq!(fs::read_to_string(self.top.path().join("secret")).unwrap(), "of the host");
        assert_eq!(fs::read_dir(self.top.path()).unwrap().count(), 2, "something appeared beside the rootfs");
        result
    }

    /// A place with this layer applied.
    fn with(layer: TestArchive) -> Self {
        let place = Self::new();
        place.apply(layer).unwrap();
        place
    }

    /// All paths below the root, sorted.
    fn paths(&self) -> Vec<String> {
        let root = self.path("");
        let mut found = Vec::new();
        let mut waiting = vec![root.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                found.push(entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                if entry.file_type().unwrap().is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }
}

fn layer() -> TestArchive {
    TestArchive::new()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn names_may_begin_with_a_dot_or_a_slash() {
    let place = Place::with(
        layer().directory("./", 0o755).file("./a", b"").file("/b", b"").file("//c/./d", b"").file("e", b""),
    );
    assert_eq!(place.paths(), ["a", "b", "c", "c/d", "e"]);
}

#[test]
fn whiteout_hides_a_file_a_directory_and_a_link_of_lower_layers() {
    let lower = layer().file("f", b"").file("d/x/y", b"").symlink("l", "/etc").file("kept", b"");
    let place = Place::with(lower);

    place.apply(layer().file(".wh.f", b"").file(".wh.d", b"").file("./.wh.l", b"")).unwrap();

    assert_eq!(place.paths(), ["kept"]);
}

#[test]
fn whiteout_of_what_is_not_there_is_no_error_and_makes_nothing() {
    let place = Place::with(layer().file("f", b"").symlink("out", ".."));

    place
        .apply(
            layer()
                .file(".wh.none", b"")
                .file("no/such/.wh.directory", b"")
                .file("f/.wh.below-a-file", b"")
                .file("out/.wh.secret", b"")
                .file("none/.wh..wh..opq", b""),
        )
        .unwrap();

    assert_eq!(place.paths(), ["f", "out"]);
}

#[test]
fn whiteout_hides_only_lower_layers_wherever_it_stands() {
    let lower = || layer().file("d/lower", b"").file("d/sub/lower", b"").file("f", b"lower");
    let own = |archive: TestArchive| archive.file("d/sub/own", b"").file("f", b"own");
    let whiteouts = |archive: TestArchive| archive.file(".wh.d", b"").file(".wh.f", b"");
    for upper in [own(whiteouts(layer())), whiteouts(own(layer()))] {
        let place = Place::with(lower());

        place.apply(upper).unwrap();

        assert_eq!(place.paths(), ["d", "d/sub", "d/sub/own", "f"]);
        assert_eq!(fs::read_to_string(place.path("f")).unwrap(), "own");
    }
}

#[test]
fn opaque_directory_hides_everything_below_of_lower_layers_wherever_the_mark_stands() {
    let lower = || layer().directory("d", 0o700).file("d/lower", b"").file("d/sub/lower", b"").file("f", b"");
    let own = |archive: TestArchive| archive.directory("d", 0o750).file("d/sub/own", b"");
    let opaque = |archive: TestArchive| archive.file("d/.wh..wh..opq", b"");
    for upper in [own(opaque(layer())), opaque(own(layer()))] {
        let place = Place::with(lower());

        place.apply(upper).unwrap();

        assert_eq!(place.paths(), ["d", "d/sub", "d/sub/own", "f"]);
        assert_eq!(fs::metadata(place.path("d")).unwrap().mode() & 0o7777, 0o750);
    }
}

#[test]
fn further_marks_of_an_opaque_directory_hide_no_more_and_its_whiteout_still_does() {
    let opaque = |archive: TestArchive| archive.file("d/.wh..wh..opq", b"").file("e/.wh..wh..opq", b"");
    let place = Place::with(layer().file("d/lower", b"").file("e/lower", b""));

    place.apply(opaque(opaque(layer()).file("d/own", b"")).file(".wh.d", b"").file(".wh.e", b"")).unwrap();

    assert_eq!(place.paths(), ["d", "d/own"]);
}

#[test]
fn opaque_root_hides_everything() {
    let place = Place::with(layer().file("a", b"").file("d/e", b""));
    place.apply(layer().file(".wh..wh..opq", b"").file("new", b"")).unwrap();
    assert_eq!(place.paths(), ["new"]);
}

#[test]
fn whiteouts_without_a_name_are_refused() {
    for name in [".wh.", "d/.wh...", "d/.wh..", ".wh.d/f"] {
        let error = Place::new().apply(layer().directory("d", 0o755).file(name, b"")).unwrap_err();
        assert!(error.to_string().contains(name) && error.to_string().contains("whiteout"), "{error}");
    }
    // A slash behind it makes it the directory's, so it is the whiteout of `..` all the same.
    assert!(Place::new().apply(layer().directory("d/.wh.../", 0o755)).is_err());
}

#[test]
fn bookkeeping_of_aufs_is_no_part_of_the_image() {
    let place = Place::with(
        layer().directory(".wh..wh.plnk", 0o700).file(".wh..wh.plnk/1.2", b"").file(".wh..wh.aufs", b""),
    );
    assert_eq!(place.paths(), [] as [&str; 0]);
}

#[test]
fn dot_dot_is_refused_in_every_place() {
    for archive in [
        layer().file("../secret", b"x"),
        layer().file("d/../../secret", b"x"),
        layer().file("../.wh.secret", b""),
        layer().file("/../secret", b"x"),
        layer().hard_link("h", "../secret"),
    ] {
        let error = Place::new().apply(archive).unwrap_err().to_string();
        assert!(error.contains("\"..\""), "{error}");
    }
}

#[test]
fn hard_link_reaches_a_file_of_a_lower_layer_and_nothing_outside() {
    let place =
        Place::with(layer().file("d/f", b"content").symlink("out", "..").symlink("file", "../secret"));

    place.apply(layer().hard_link("second", "/d/f").hard_link("third", "./d/f")).unwrap();

    let inode = |name| fs::metadata(place.path(name)).unwrap().ino();
    assert_eq!((inode("second"), inode("third")), (inode("d/f"), inode("d/f")));
    let error = place.apply(layer().hard_link("h", "out/secret")).unwrap_err().to_string();
    assert!(error.contains("not in the image"), "{error}");
    place.apply(layer().hard_link("h", "file")).unwrap();
    assert!(fs::symlink_metadata(place.path("h")).unwrap().is_symlink(), "the link itself got a name");
}

#[test]
fn upper_layer_replaces_whatever_has_the_name() {
    let place = Place::with(
        layer()
            .file("file-to-directory", b"")
            .file("directory-to-file/x", b"")
            .symlink("link-to-directory", "..")
            .file("directory-to-link/x", b""),
    );

    place
        .apply(
            layer()
                .directory("file-to-directory", 0o755)
                .file("directory-to-file", b"now")
                .directory("link-to-directory", 0o755)
                .file("link-to-directory/secret", b"inside")
                .symlink("directory-to-link", "/"),
        )
        .unwrap();

    assert!(place.path("file-to-directory").is_dir());
    assert_eq!(fs::read_to_string(place.path("directory-to-file")).unwrap(), "now");
    assert_eq!(fs::read_to_string(place.path("link-to-directory/secret")).unwrap(), "inside");
    assert!(fs::symlink_metadata(place.path("directory-to-link")).unwrap().is_symlink());
}

#[test]
fn file_below_a_lower_layers_link_gets_a_real_directory() {
    let place = Place::with(layer().symlink("out", "..").file("f", b""));

    place.apply(layer().file("out/secret", b"inside").file("f/g/h", b"")).unwrap();

    assert_eq!(place.paths(), ["f", "f/g", "f/g/h", "out", "out/secret"]);
    assert!(fs::symlink_metadata(place.path("out")).unwrap().is_dir());
}

#[test]
fn file_below_a_link_of_the_same_layer_is_refused() {
    let error = Place::new().apply(layer().symlink("out", "..").file("out/secret", b"x")).unwrap_err();
    assert!(error.to_string().contains("out/secret"), "{error}");
}

#[test]
fn last_of_duplicate_entries_wins() {
    let place = Place::with(layer().file("f", b"1").file("f", b"2").symlink("f", "x").file("f", b"3"));
    assert_eq!(fs::read_to_string(place.path("f")).unwrap(), "3");
}

#[test]
fn directory_of_a_lower_layer_keeps_its_time_when_a_file_is_added() {
    let place = Place::with(layer().directory("a", 0o755).directory("a/b", 0o755).file("a/b/f", b""));

    place.apply(layer().file("a/b/g", b"").file("a/.wh.none", b"").file("a/c/d/h", b"")).unwrap();
    place.apply(layer().file("a/b/.wh.f", b"")).unwrap();

    for path in ["a", "a/b"] {
        assert_eq!(fs::metadata(place.path(path)).unwrap().mtime(), 1_000_000_000, "{path}");
    }
}

#[test]
fn directory_of_an_upper_layer_has_none_of_the_lower_ones_attributes() {
    let lower = layer()
        .pax(&[("SCHILY.xattr.user.lower", b"1"), ("SCHILY.xattr.user.both", b"1")])
        .directory("d", 0o755);
    let place = Place::with(lower);

    place.apply(layer().pax(&[("SCHILY.xattr.user.both", b"2")]).directory("d", 0o755)).unwrap();

    let directory = fs::File::open(place.path("d")).unwrap();
    assert_eq!(super::listed_xattrs(&directory).unwrap(), [b"user.both"]);
}

#[test]
fn modes_owners_times_and_devices_are_exact() {
    if !is_root() {
        return;
    }
    let mut device = Header::new_gnu();
    device.set_entry_type(EntryType::Block);
    device.set_mode(0o640);
    device.set_uid(3_000_000_000);
    device.set_gid(70_000);
    device.set_size(0);
    device.set_mtime(7);
    device.set_device_major(259).unwrap();
    device.set_device_minor(300_000).unwrap();
    let times = [("mtime", &b"1234567890.123456789"[..])];
    let owners = [("uid", &b"4000000000"[..]), ("gid", b"70001"), ("mtime", b"-1.5")];
    let place = Place::with(
        layer()
            .with_header(device, "disk", "", b"")
            .pax(&owners)
            .raw(EntryType::Regular, "f", "", 0o6755, b"x")
            .pax(&times)
            .directory("d", 0o1777)
            .file("d/later", b""),
    );

    let disk = fs::symlink_metadata(place.path("disk")).unwrap();
    assert!(disk.file_type().is_block_device());
    assert_eq!(disk.rdev(), rustix::fs::makedev(259, 300_000));
    assert_eq!((disk.uid(), disk.gid(), disk.mode() & 0o7777), (3_000_000_000, 70_000, 0o640));
    let file = fs::metadata(place.path("f")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (4_000_000_000, 70_001, 0o6755));
    assert_eq!((file.mtime(), file.mtime_nsec()), (-2, 500_000_000));
    let directory = fs::metadata(place.path("d")).unwrap();
    assert_eq!((directory.mode() & 0o7777, directory.mtime()), (0o1777, 1_234_567_890));
    assert_eq!(directory.mtime_nsec(), 123_456_789);
}

#[test]
fn records_win_over_the_header_and_empty_ones_leave_it_as_it_is() {
    let place = Place::with(
        layer()
            .pax(&[("path", b"by-record"), ("size", b"3")])
            .file("by-header", b"abc")
            .pax(&[("path", b""), ("size", b""), ("uid", b""), ("mtime", b"")])
            .file("kept-name", b"defg"),
    );
    assert_eq!(place.paths(), ["by-record", "kept-name"]);
    assert_eq!(fs::read(place.path("by-record")).unwrap(), b"abc");
    assert_eq!(fs::read(place.path("kept-name")).unwrap(), b"defg");
}

#[test]
fn size_record_that_disagrees_decides_where_the_next_entry_begins() {
    // The header says 512 bytes, the record says none: the next header is where the data would be.
    let hidden = layer().file("hidden", b"").unfinished();
    let archive = layer().pax(&[("size", b"0")]).file("f", &hidden[..512]);

    let place = Place::with(archive);

    assert_eq!(place.paths(), ["f", "hidden"]);
}

#[test]
fn long_names_arrive_whole() {
    let component = "n".repeat(250);
    let path = format!("{component}/{component}/{component}");
    let place = Place::with(
        layer().file(&path, b"gnu").pax(&[("path", format!("p/{path}").as_bytes())]).file("short", b"pax"),
    );
    assert_eq!(fs::read(place.path(&path)).unwrap(), b"gnu");
    assert_eq!(fs::read(place.path(&format!("p/{path}"))).unwrap(), b"pax");
}

#[test]
fn hundred_thousand_entries_are_written_and_hidden() {
    let mut archive = layer();
    for number in 0..100_000 {
        archive = archive.symlink(&format!("d{}/l{number}", number / 1000), "x");
    }
    let place = Place::with(archive);
    assert_eq!(place.paths().len(), 100_100);

    let mut archive = layer().file("d0/own", b"");
    for number in 0..100 {
        archive = archive.file(&format!(".wh.d{number}"), b"");
    }
    place.apply(archive).unwrap();

    assert_eq!(place.paths(), ["d0", "d0/own"]);
}

#[test]
fn set_user_id_bit_of_a_lower_layers_file_survives_a_new_name() {
    let place = Place::with(layer().raw(EntryType::Regular, "su", "", 0o4755, b"x"));
    place.apply(layer().hard_link("sudo", "su")).unwrap();
    assert_eq!(fs::metadata(place.path("sudo")).unwrap().permissions().mode() & 0o7777, 0o4755);
}
