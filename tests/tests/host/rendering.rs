//! Images become trees: the same tree that other tools make of the same layers, whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rkt_tests::command;
use rkt_tests::leaks;
use rkt_tests::oci::{Image, Layer, Layout, Packing};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{self, run_arguments, small_image};

/// Everything of a file but its directory.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    /// Of a file, or a link's text.
    content: Vec<u8>,
    modified: (i64, i64),
    attributes: BTreeMap<String, Vec<u8>>,
    /// The first path of the same file.
    same_as: PathBuf,
}

/// What is in a tree, by path. The root's own metadata differs with whoever made the directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut inodes = HashMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&directory).expect("listing").map(|entry| entry.expect("listing").path()).collect();
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(root).expect("below the root").to_owned();
            let metadata = path.symlink_metadata().expect("inspecting");
            let kind = metadata.file_type();
            let content = if kind.is_symlink() {
                fs::read_link(&path).expect("reading").into_os_string().into_encoded_bytes()
            } else if kind.is_file() {
                fs::read(&path).expect("reading")
            } else {
                Vec::new()
            };
            let attributes = xattr::list(&path).expect("reading").map(|name| {
                let value = xattr::get(&path, &name).expect("reading").unwrap_or_default();
                (name.to_string_lossy().into_owned(), value)
            });
            let same_as = match kind.is_dir() {
                true => name.clone(),
                false => inodes.entry(metadata.ino()).or_insert_with(|| name.clone()).clone(),
            };
            seen.insert(
                name,
                Seen {
                    mode: metadata.mode(),
                    owner: (metadata.uid(), metadata.gid()),
                    device: if kind.is_char_device() { metadata.rdev() } else { 0 },
                    content,
                    modified: (metadata.mtime(), metadata.mtime_nsec()),
                    attributes: attributes.collect(),
                    same_as,
                },
            );
            if kind.is_dir() {
                waiting.push(path);
            }
        }
    }
    seen
}

/// A layer of what `fill` puts into a directory, packed by GNU tar.
fn layer(packing: Packing, fill: impl FnOnce(&Path)) -> Layer {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("changing");
    fill(directory.path());
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=pax", "--numeric-owner", "--sort=name", "--sparse", "--xattrs"]);
    tar.args(["--xattrs-include=user.*", "--xattrs-include=security.capability", "."]);
    let output = tar.current_dir(directory.path()).output().expect("tar is installed");
    assert!(output.status.success(), "{output:?}");
    Layer::of_bytes(output.stdout).packed(packing)
}

fn write(path: impl AsRef<Path>, content: &[u8], mode: u32) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("a parent")).expect("creating");
    fs::write(path, content).expect("writing");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changing");
}

/// Three layers with one of everything, and whiteouts of most of it.
fn image() -> Image {
    let bottom = layer(Packing::Gzip, |root| {
        write(root.join("app"), b"#!/bin/sh\n", 0o755);
        write(root.join("usr/bin/su"), b"su", 0o755);
        chown(root.join("usr/bin/su"), Some(0), Some(70_000)).expect("changing");
        fs::set_permissions(root.join("usr/bin/su"), fs::Permissions::from_mode(0o6755)).expect("changing");
        write(root.join("usr/bin/ping"), b"ping", 0o755);
        // Version 2, effective, cap_net_raw permitted.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        xattr::set(root.join("usr/bin/ping"), "security.capability", &capability).expect("setting");
        write(root.join("usr/share/note"), b"note", 0o644);
        xattr::set(root.join("usr/share/note"), "user.note", b"a\n\0b").expect("setting");
        xattr::set(root.join("usr/share"), "user.directory", b"yes").expect("setting");
        symlink("usr/bin", root.join("bin")).expect("linking");
        symlink("/etc/../nowhere", root.join("dangling")).expect("linking");
        fs::create_dir(root.join("dev")).expect("creating");
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&root.join("dev/null"), SFlag::S_IFCHR, mode, makedev(1, 3)).expect("making a node");
        mknod(&root.join("dev/pipe"), SFlag::S_IFIFO, mode, 0).expect("making a pipe");
        write(root.join("var/old/a/b"), b"old", 0o600);
        write(root.join("var/opaque/lower"), b"lower", 0o600);
        write(root.join("var/again/lower"), b"lower", 0o600);
        write(root.join("etc/replaced"), b"a file", 0o644);
        write(root.join("etc/directory/x"), b"x", 0o644);
        write(root.join("l".repeat(200)).join("n".repeat(200)), b"long", 0o644);
        chown(root.join("var"), Some(4_000_000), Some(3_000_000)).expect("changing");
    });
    let middle = layer(Packing::Gzip, |root| {
        write(root.join("var/.wh.old"), b"", 0o644);
        write(root.join("var/opaque/.wh..wh..opq"), b"", 0o644);
        write(root.join("var/opaque/own"), b"own", 0o640);
        write(root.join("var/.wh.again"), b"", 0o644);
        write(root.join(".wh.dangling"), b"", 0o644);
        write(root.join("etc/replaced/now"), b"a directory", 0o644);
        write(root.join("etc/directory"), b"now a file", 0o600);
        let sparse = fs::File::create(root.join("hole")).expect("creating");
        sparse.set_len(3 << 20).expect("extending");
        write(root.join("data/one"), b"two names", 0o644);
        fs::hard_link(root.join("data/one"), root.join("data/two")).expect("linking");
        fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o1777)).expect("changing");
    });
    let top = layer(Packing::Plain, |root| {
        write(root.join("var/again/own"), b"own", 0o600);
        write(root.join("data/.wh.one"), b"", 0o644);
        write(root.join("later"), b"later", 0o444);
        let time = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
        fs::File::open(root.join("later")).expect("opening").set_modified(time).expect("setting");
        fs::File::open(root.join("data")).expect("opening").set_modified(time).expect("setting");
    });
    Image::new([bottom, middle, top])
}

/// Fetches the only image of a layout and returns its ID.
fn fetched(rkt: &TestRkt, layout: &Layout) -> String {
    let output = rkt.run(["fetch", "--insecure-options=image", &layout.reference("latest")]).expect_code(0);
    output.out().trim().to_owned()
}

#[test]
fn layers_become_the_tree_that_umoci_makes_of_them() {
    let rkt = TestRkt::new();
    let layout = Layout::of(&image());
    let bundle = rkt.path("bundle");
    let mut umoci = Command::new("umoci");
    umoci.args(["unpack", "--image", &format!("{}:latest", layout.path().display())]).arg(&bundle);
    command::run(&mut umoci, command::limit(60)).expect_code(0);

    let id = fetched(&rkt, &layout);
    rkt.run(["image", "render", "--rootfs-only", &id, "rendered"]).expect_code(0);

    let (ours, mut theirs) = (tree(&rkt.path("rendered")), tree(&bundle.join("rootfs")));
    for (path, seen) in &ours {
        assert_eq!(Some(seen), theirs.remove(path).as_ref(), "{path:?}");
    }
    assert_eq!(theirs.keys().collect::<Vec<_>>(), [] as [&PathBuf; 0], "missing");
    assert!(fs::metadata(rkt.path("rendered/hole")).expect("the file").blocks() < 100, "the hole was filled");
}

#[test]
fn exported_image_of_layers_renders_to_the_same_tree() {
    let rkt = TestRkt::new();
    let id = fetched(&rkt, &Layout::of(&image()));
    rkt.run(["image", "render", "--rootfs-only", &id, "before"]).expect_code(0);

    rkt.run(["image", "export", &id, "exported.aci"]).expect_code(0);
    rkt.run(["image", "rm", &id]).expect_code(0);
    let imported = rkt.run(["fetch", "--insecure-options=image", "./exported.aci"]).expect_code(0);
    rkt.run(["image", "render", "--rootfs-only", imported.out().trim(), "after"]).expect_code(0);

    assert_eq!(tree(&rkt.path("after")), tree(&rkt.path("before")));
}

#[test]
fn a_layer_that_leads_out_is_refused_with_its_entry() {
    let rkt = TestRkt::new();
    let outside = rkt.path("outside");
    fs::create_dir(&outside).expect("creating");
    fs::write(outside.join("precious"), "precious").expect("writing");
    let out = outside.to_str().expect("a UTF-8 path");
    for (hostile, entry) in [
        (small_layer().file("../../../../../../../../tmp/rkt-escaped", 0o644, b""), "rkt-escaped"),
        (small_layer().symlink("out", out).file("out/precious", 0o644, b""), "out/precious"),
        (small_layer().symlink("out", out).hard_link("stolen", "out/precious"), "stolen"),
        (small_layer().file("d/.wh...", 0o644, b""), ".wh..."),
    ] {
        let layout = Layout::of(&Image::new([Layer::new(&hostile)]));
        let reference = layout.reference("latest");
        let output = rkt.run(run_arguments_without_stage1(&reference));
        output.expect_code(RKT_FAILED).expect_err(entry);
    }
    assert_eq!(fs::read_to_string(outside.join("precious")).expect("reading"), "precious");
    assert_eq!(fs::metadata(outside.join("precious")).expect("the file").nlink(), 1);
    assert!(fs::symlink_metadata("/tmp/rkt-escaped").is_err());
}

fn small_layer() -> rkt_tests::aci::Aci {
    rkt_tests::aci::Aci::empty().file("app", 0o755, b"#!/bin/sh\n")
}

/// Fetching renders as well, where that is of use.
fn run_arguments_without_stage1(reference: &str) -> [&str; 3] {
    ["fetch", "--insecure-options=image", reference]
}

/// A small file system mounted on the rkt's data directory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(rkt: &TestRkt, mebibytes: u32) -> Self {
        let disk = Self(rkt.data());
        disk.resize(mebibytes, MsFlags::empty());
        disk
    }

    fn resize(&self, mebibytes: u32, flags: MsFlags) {
        let options = format!("size={mebibytes}m,mode=755");
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), flags, Some(options.as_str())).expect("mounting");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_while_rendering_names_the_file_and_leaves_no_tree() {
    let rkt = publisher::rkt();
    small_image().file("rootfs/large", 0o644, &vec![b'x'; 24 << 20]).write(&rkt.path("large.aci"));
    let disk = SmallDisk::mount(&rkt, 40);
    let id = {
        // Fetched where there is room for a tree as well, which is then taken away.
        disk.resize(100, MsFlags::MS_REMOUNT);
        let output = rkt.run(["fetch", "--insecure-options=image", "./large.aci"]).expect_code(0);
        output.out().trim().to_owned()
    };
    let trees = rkt.data().join("cas/tree");
    for tree in fs::read_dir(&trees).expect("listing") {
        fs::remove_dir_all(tree.expect("listing").path()).expect("removing");
    }
    disk.resize(40, MsFlags::MS_REMOUNT);

    rkt.run(["image", "render", &id, "rendered"]).expect_code(RKT_FAILED).expect_err("rootfs/large");

    assert_eq!(fs::read_dir(&trees).expect("listing").count(), 0);
    disk.resize(100, MsFlags::MS_REMOUNT);
    rkt.run(["image", "render", &id, "rendered"]).expect_code(0);
    assert_eq!(fs::metadata(rkt.path("rendered/rootfs/large")).expect("the file").len(), 24 << 20);
}

#[test]
fn a_rendering_that_was_killed_starts_over_and_nobody_writes_on() {
    const FILES: usize = 5000;
    let rkt = publisher::rkt();
    let image = (0..FILES).fold(small_image(), |image, number| {
        image.file(&format!("rootfs/d{}/f{number}", number % 50), 0o644, b"content")
    });
    image.write(&rkt.path("many.aci"));
    let trees = rkt.data().join("cas/tree");
    let begun = || {
        let mut found = fs::read_dir(&trees).into_iter().flatten().flatten();
        found.any(|tree| tree.path().join("rootfs/d0").exists())
    };

    let rendering = rkt.start(run_arguments(&["./many.aci"]));
    let deadline = Instant::now() + command::limit(60);
    while !begun() {
        assert!(Instant::now() < deadline, "rendering did not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    rendering.send(Signal::SIGKILL);
    rendering.finish(command::limit(60));

    rkt.run(run_arguments(&["./many.aci"])).expect_code(0);
    let tree = fs::read_dir(&trees)
        .expect("listing")
        .map(|tree| tree.expect("listing").path())
        .find(|tree| tree.join("rootfs/d0").exists())
        .expect("the image's tree");
    let files = publisher::files_below(&tree.join("rootfs"));
    assert_eq!(files.len(), FILES + 1);
    assert!(tree.join("rendered").exists());
    let left: Vec<String> = leaks::processes("extracttar")
        .into_iter()
        .map(|(_, what)| what)
        .filter(|what| what.contains("many"))
        .collect();
    assert_eq!(left, [] as [String; 0]);
}

#[test]
fn two_rkts_that_render_one_image_both_run_it() {
    let rkt = publisher::rkt();
    let image = (0..2000)
        .fold(small_image(), |image, number| image.file(&format!("rootfs/f{number}"), 0o644, b"content"));
    image.write(&rkt.path("image.aci"));

    let both = [rkt.start(run_arguments(&["./image.aci"])), rkt.start(run_arguments(&["./image.aci"]))];

    for rkt in both {
        rkt.finish(command::limit(60)).expect_code(0);
    }
    let rendered = fs::read_dir(rkt.data().join("cas/tree")).expect("listing").flatten();
    assert!(rendered.map(|tree| tree.path()).all(|tree| tree.join("rendered").exists()));
}

#[test]
fn rendering_works_without_proc() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let fetch = rkt.command(["fetch", "--insecure-options=image", "./app.aci"]);
    let mut command = command::with_an_empty("/proc", &fetch);

    let fetched = command::run(&mut command, command::limit(60)).expect_code(0);

    rkt.run(["image", "render", fetched.out().trim(), "rendered"]).expect_code(0);
    assert_eq!(fs::read(rkt.path("rendered/rootfs/app")).expect("reading"), b"#!/bin/sh\n");
}
