//! `rkt image export`, `extract` and `render`: what they write is whole, is what the image holds, and replaces only what it
//! was told to replace.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{self, limit};
use rkt_tests::oci::{Image, Layer, Layout};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::json;

use crate::image_commands::{fetch, fetch_new, image_of};
use crate::publisher::{self, files_below};

/// An image with a file of each kind.
fn every_kind() -> Aci {
    Aci::new(&aci::manifest("example.com/kinds"))
        .directory("rootfs/dir", 0o1777)
        .file("rootfs/dir/file", 0o4755, b"content")
        .hard_link("rootfs/hard", "rootfs/dir/file")
        .symlink("rootfs/link", "/etc/passwd")
        .fifo("rootfs/fifo")
        .character_device("rootfs/null", 1, 3)
}

#[track_caller]
fn check_every_kind(rootfs: &Path) {
    let metadata = |name: &str| rootfs.join(name).symlink_metadata().expect("it is there");
    assert_eq!(metadata("dir").mode() & 0o7777, 0o1777);
    assert_eq!(metadata("dir/file").mode() & 0o7777, 0o4755);
    assert_eq!(fs::read(rootfs.join("dir/file")).expect("reading"), b"content");
    assert_eq!(metadata("hard").ino(), metadata("dir/file").ino());
    assert_eq!(fs::read_link(rootfs.join("link")).expect("a link"), Path::new("/etc/passwd"));
    assert!(metadata("fifo").file_type().is_fifo());
    assert_eq!(metadata("null").rdev(), nix::sys::stat::makedev(1, 3));
    assert_eq!(metadata("dir/file").mtime(), 1_767_225_600);
}

/// An image of layers: the upper one removes what the lower one has.
fn layered() -> Layout {
    let lower =
        Aci::empty().directory("etc", 0o755).file("etc/gone", 0o644, b"").file("etc/kept", 0o640, b"1");
    let upper = Aci::empty().directory("etc", 0o755).whiteout("etc/gone").file("app", 0o755, b"#!/bin/sh\n");
    let image = Image::new([Layer::new(&lower), Layer::new(&upper)]).with("Cmd", json!(["/app"]));
    Layout::of(&image)
}

#[track_caller]
fn check_layered(rootfs: &Path) {
    assert!(!rootfs.join("etc/gone").exists() && rootfs.join("app").exists());
    assert_eq!(fs::read(rootfs.join("etc/kept")).expect("reading"), b"1");
    assert!(!files_below(rootfs).iter().any(|path| path.to_string_lossy().contains(".wh.")));
}

/// Names in a directory, hidden ones too.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("listing");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("listing").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// An rkt with `every_kind` in its store, and the image's ID.
fn rkt_with_kinds() -> (TestRkt, String) {
    let rkt = TestRkt::new();
    every_kind().write(&rkt.path("kinds.aci"));
    let id = fetch(&rkt, "./kinds.aci");
    (rkt, id)
}

#[track_caller]
fn validate(aci: &Path) {
    let mut actool = Command::new("actool");
    actool.args(["--debug", "validate"]).arg(aci);
    command::run(&mut actool, limit(60)).expect_code(0);
}

#[test]
fn export_writes_the_image_uncompressed_and_byte_for_byte() {
    let (rkt, id) = rkt_with_kinds();

    let output = rkt.run(["image", "export", &id, "out.aci"]).expect_code(0);

    assert_eq!((output.out(), output.err()), (String::new(), String::new()));
    assert_eq!(fs::read(rkt.path("out.aci")).expect("reading"), every_kind().tar());
    validate(&rkt.path("out.aci"));
}

#[test]
fn an_exported_image_of_layers_is_complete_by_itself() {
    let (rkt, other, layout) = (TestRkt::new(), TestRkt::new(), layered());
    let id = fetch(&rkt, &layout.reference("latest"));

    rkt.run(["image", "export", &id, "out.aci"]).expect_code(0);

    validate(&rkt.path("out.aci"));
    let exported = rkt.path("out.aci");
    let id = fetch(&other, exported.to_str().expect("UTF-8"));
    other.run(["image", "render", &id, "out"]).expect_code(0);
    check_layered(&other.path("out/rootfs"));
    let manifest = other.run(["image", "cat-manifest", &id]).expect_code(0).out();
    assert!(!manifest.contains("coreos.com/rkt/oci/layers"), "{manifest}");
}

#[test]
fn export_replaces_a_file_only_when_told_to() {
    let (rkt, id) = rkt_with_kinds();
    fs::write(rkt.path("out.aci"), "mine").expect("writing");

    let refused = rkt.run(["image", "export", &id, "out.aci"]).expect_code(RKT_FAILED);
    let kept = fs::read(rkt.path("out.aci")).expect("reading");
    rkt.run(["image", "export", "--overwrite", &id, "out.aci"]).expect_code(0);

    refused.expect_err("export: output ACI file exists (try --overwrite)");
    assert_eq!(kept, b"mine");
    assert_eq!(fs::read(rkt.path("out.aci")).expect("reading"), every_kind().tar());
}

#[test]
fn export_writes_to_a_pipe() {
    let (rkt, id) = rkt_with_kinds();

    let output = rkt.run(["image", "export", "--overwrite", &id, "/dev/stdout"]).expect_code(0);

    assert_eq!(output.stdout, every_kind().tar());
}

#[test]
fn export_that_fails_leaves_nothing_and_keeps_what_was_there() {
    let (rkt, id) = rkt_with_kinds();
    let full = rkt.path("full");
    fs::create_dir(&full).expect("creating a directory");
    fs::write(full.join("old.aci"), "old").expect("writing");
    let before = names(&full);
    // A limit on the size of files stands for a full disk.
    let export = rkt.command(["image", "export", "--overwrite", &id, "full/old.aci"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]);
    command.arg(export.get_program()).args(export.get_args()).current_dir(rkt.directory());

    let output = command::run(&mut command, limit(60)).expect_code(RKT_FAILED);

    output.expect_err("export: error writing to output ACI file");
    assert_eq!(names(&full), before);
    assert_eq!(fs::read(full.join("old.aci")).expect("reading"), b"old");
}

#[test]
fn export_refuses_what_is_no_place_for_a_file() {
    let (rkt, id) = rkt_with_kinds();
    fs::create_dir(rkt.path("directory")).expect("creating a directory");

    rkt.run(["image", "export", "--overwrite", &id, "directory"])
        .expect_code(RKT_FAILED)
        .expect_err("is a directory");
    rkt.run(["image", "export", &id, "missing/out.aci"]).expect_code(RKT_FAILED).expect_err("missing");
}

#[test]
fn extract_and_render_write_manifest_and_files_of_every_kind() {
    let (rkt, id) = rkt_with_kinds();
    for command in ["extract", "render"] {
        rkt.run(["image", command, &id, command]).expect_code(0);

        let output = rkt.path(command);
        assert_eq!(names(&output), ["manifest", "rootfs"]);
        check_every_kind(&output.join("rootfs"));
        let manifest = fs::read(output.join("manifest")).expect("reading");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(manifest, aci::manifest("example.com/kinds"));
    }
    let mode = fs::metadata(rkt.path("render/manifest")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn extract_and_render_write_the_root_file_system_alone_when_told_to() {
    let (rkt, id) = rkt_with_kinds();
    for command in ["extract", "render"] {
        rkt.run(["image", command, "--rootfs-only", &id, command]).expect_code(0);

        check_every_kind(&rkt.path(command));
        assert!(!rkt.path(command).join("manifest").exists());
    }
}

#[test]
fn extract_and_render_write_images_of_layers() {
    let (rkt, layout) = (TestRkt::new(), layered());
    let id = fetch(&rkt, &layout.reference("latest"));
    for command in ["extract", "render"] {
        rkt.run(["image", command, &id, command]).expect_code(0);

        check_layered(&rkt.path(command).join("rootfs"));
    }
}

#[test]
fn render_adds_dependencies_and_extract_does_not() {
    let rkt = TestRkt::new();
    let base = Aci::new(&aci::manifest("example.com/base")).file("rootfs/base", 0o644, b"base");
    base.write(&rkt.path("base.aci"));
    fetch(&rkt, "./base.aci");
    let mut manifest = aci::manifest("example.com/top");
    manifest["dependencies"] = json!([{ "imageName": "example.com/base" }]);
    Aci::new(&manifest).file("rootfs/top", 0o644, b"top").write(&rkt.path("top.aci"));
    // The dependency is taken from the store.
    let flags = ["--insecure-options=image", "fetch", "--pull-policy=new", "./top.aci"];
    let id = rkt.run(flags).expect_code(0).out().trim().to_owned();

    rkt.run(["image", "extract", "--rootfs-only", &id, "extracted"]).expect_code(0);
    rkt.run(["image", "render", "--rootfs-only", &id, "rendered"]).expect_code(0);

    assert_eq!(names(&rkt.path("extracted")), ["top"]);
    assert_eq!(names(&rkt.path("rendered")), ["base", "top"]);
}

#[test]
fn a_directory_is_replaced_only_when_told_to() {
    let (rkt, id) = rkt_with_kinds();
    for command in ["extract", "render"] {
        let output = rkt.path(command);
        fs::create_dir_all(output.join("mine")).expect("creating a directory");

        let refused = rkt.run(["image", command, &id, command]).expect_code(RKT_FAILED);
        let kept = names(&output);
        rkt.run(["image", command, "--overwrite", &id, command]).expect_code(0);

        refused.expect_err(&format!("{command}: output directory exists (try --overwrite)"));
        assert_eq!(kept, ["mine"]);
        assert_eq!(names(&output), ["manifest", "rootfs"]);
    }
}

#[test]
fn nothing_is_written_through_a_link_in_the_output_s_place() {
    let (rkt, id) = rkt_with_kinds();
    for command in ["extract", "render"] {
        let (elsewhere, link) = (rkt.path(&format!("{command}-elsewhere")), rkt.path(command));
        fs::create_dir_all(elsewhere.join("mine")).expect("creating a directory");
        symlink(&elsewhere, &link).expect("linking");

        rkt.run(["image", command, &id, command]).expect_code(RKT_FAILED);
        rkt.run(["image", command, "--overwrite", &id, command]).expect_code(0);

        assert_eq!(names(&elsewhere), ["mine"]);
        assert!(link.symlink_metadata().expect("it is there").is_dir());
    }
}

#[test]
fn neither_the_root_file_system_nor_the_data_directory_is_overwritten() {
    let (rkt, id) = rkt_with_kinds();
    let own = rkt.directory().to_str().expect("UTF-8").to_owned();
    for command in ["extract", "render"] {
        for (output, expected) in [
            ("/", "root filesystem. Refusing."),
            ("data", "Refusing."),
            ("data/cas", "Refusing."),
            (&own, "Refusing."),
        ] {
            let refused = rkt.run(["image", command, "--overwrite", &id, output]).expect_code(RKT_FAILED);

            refused.expect_err(expected);
        }
    }
    assert!(rkt.data().join("cas/blob").exists());
}

#[test]
fn missing_directories_above_the_output_are_made() {
    let (rkt, id) = rkt_with_kinds();

    rkt.run(["image", "extract", &id, "a/b/out"]).expect_code(0);

    check_every_kind(&rkt.path("a/b/out/rootfs"));
}

/// The only blob in the store.
fn blob(rkt: &TestRkt) -> PathBuf {
    let blobs = publisher::blobs(rkt);
    assert_eq!(blobs.len(), 1, "{blobs:?}");
    blobs[0].clone()
}

#[test]
fn output_of_a_damaged_image_is_removed() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1");
    let path = blob(&rkt);
    let mut bytes = fs::read(&path).expect("reading");
    let found = bytes.windows(3).rposition(|window| window == b"app").expect("the file's name is in there");
    bytes[found] = b'A';
    fs::write(&path, bytes).expect("damaging the image");
    fs::create_dir(rkt.path("out")).expect("creating a directory");
    // Without its tree, the image has to be read.
    rkt.run(["image", "gc"]).expect_code(0);

    for command in ["extract", "render", "export"] {
        let output = rkt.run(["image", command, &id, &format!("out/{command}")]).expect_code(RKT_FAILED);

        assert!(output.err().contains(command), "{output:?}");
        assert_eq!(names(&rkt.path("out")), [] as [&str; 0], "{command}");
    }
}

#[test]
fn images_are_exported_while_they_are_removed_and_fetched() {
    let rkt = TestRkt::new();
    image_of("example.com/app", "1").write(&rkt.path("app.aci"));
    let id = fetch(&rkt, "./app.aci");

    let mut exports = Vec::new();
    for number in 0..6 {
        exports.push(rkt.start(["image", "export", &id, &format!("{number}.aci")]));
        rkt.run(["image", "rm", &id]).expect_code(0);
        fetch(&rkt, "./app.aci");
    }

    let whole = image_of("example.com/app", "1").tar();
    for (number, export) in exports.into_iter().enumerate() {
        let output = export.finish(limit(60));
        let file = rkt.path(&format!("{number}.aci"));
        match output.code() {
            0 => assert_eq!(fs::read(file).expect("reading"), whole),
            code => assert!(code == RKT_FAILED && !file.exists(), "{output:?}"),
        }
    }
}
