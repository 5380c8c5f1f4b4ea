//! The fixtures themselves: the registry lets in whom it should and tells what it sent, and skopeo and umoci accept the
//! images that the tests write.

use std::fs;
use std::process::Command;

use rkt_tests::aci::Aci;
use rkt_tests::authority::Authority;
use rkt_tests::command::{limit, run};
use rkt_tests::oci::{Image, Layer, Layout, Packing};
use rkt_tests::registry::{PUBLIC, Registry};
use serde_json::json;

/// Three layers in three packings; the upper ones remove what the lowest has.
pub(crate) fn three_layers() -> Image {
    let lowest = Aci::empty().directory("etc", 0o755).file("etc/a", 0o644, b"a").file("etc/b", 0o600, b"b");
    let lowest = lowest.directory("old", 0o755).file("old/file", 0o644, b"old");
    let middle = Aci::empty().directory("etc", 0o755).whiteout("etc/a");
    let upper = Aci::empty().directory("old", 0o755).opaque("old").file("old/new", 0o644, b"new");
    let layers = [
        Layer::new(&lowest),
        Layer::new(&middle).packed(Packing::Plain),
        Layer::new(&upper).packed(Packing::Zstd),
    ];
    Image::new(layers).with("Cmd", json!(["one", "two"]))
}

fn check(registry: &Registry) {
    let (image, repository) = (three_layers(), format!("{PUBLIC}app:1"));
    let layout = Layout::of(&image);

    let digest = registry.push(&layout.reference("latest"), &repository);

    let said = registry.inspect(&repository);
    assert_eq!(said["Digest"], digest.as_str());
    assert_eq!(said["Layers"].as_array().expect("a list").len(), 3);
    assert!(registry.stored(&image.layers[2].digest()).exists());
    // Skopeo inspects the configuration, not the layers.
    assert_eq!(registry.blobs_sent(), [rkt_tests::oci::digest(&image.config_bytes())]);
}

#[test]
fn a_registry_without_tls_takes_and_gives_images() {
    check(&Registry::http());
}

#[test]
fn a_registry_with_tls_takes_and_gives_images() {
    check(&Registry::https(&Authority::new()));
}

#[test]
fn a_registry_with_basic_auth_lets_only_its_user_in() {
    let authority = Authority::new();
    let registry = Registry::with_basic_auth(&authority);

    check(&registry);

    let mut stranger = Command::new("skopeo");
    stranger.args(["inspect", "--no-creds", &registry.reference("public/app:1")]);
    let output = run(stranger.env("SSL_CERT_FILE", authority.certificate()), limit(60));
    output.expect_code(1).expect_err("authentication required");
}

#[test]
fn a_registry_with_token_auth_lets_everybody_read_public_images_only() {
    let authority = Authority::new();
    let registry = Registry::with_token_auth(&authority);

    check(&registry);

    registry.push(&Layout::of(&three_layers()).reference("latest"), "private/app:1");
    let stranger = |name: &str| {
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--no-creds", &registry.reference(name)]);
        run(command.env("SSL_CERT_FILE", authority.certificate()), limit(60))
    };
    stranger("public/app:1").expect_code(0);
    stranger("private/app:1").expect_code(1).expect_err("requested access to the resource is denied");
    assert!(registry.token_requests().iter().any(|request| request.contains("private%2Fapp%3Apull")));
}

#[test]
fn a_registry_takes_indexes_docker_images_and_what_is_put_by_hand() {
    let registry = Registry::http();
    let mut layout = Layout::new();
    let index = layout.add_index("many", &[three_layers(), three_layers().for_architecture("arm64")]);
    layout.add("gzip", &Image::new([Layer::new(&Aci::empty().file("app", 0o755, b"#!/bin/sh\n"))]));

    assert_eq!(registry.push(&layout.reference("many"), "many:1"), index);
    registry.push_docker(&layout.reference("gzip"), "docker:1");
    let blob = registry.put_blob("by-hand", b"any bytes");
    let manifest = json!({ "schemaVersion": 2, "mediaType": rkt_tests::oci::MANIFEST,
        "config": { "mediaType": rkt_tests::oci::CONFIG, "digest": blob, "size": 9 }, "layers": [] });
    let bytes = manifest.to_string().into_bytes();
    let digest = registry.put_manifest("by-hand", "1", rkt_tests::oci::MANIFEST, &bytes);

    assert_eq!(registry.inspect("many:1")["Architecture"], "amd64");
    assert_eq!(registry.inspect("docker:1")["Digest"].as_str().map(str::len), Some(71));
    assert_eq!(fs::read(registry.stored(&digest)).expect("a manifest"), bytes);
    assert_eq!(fs::read(registry.stored(&blob)).expect("a blob"), b"any bytes");
}

#[test]
fn umoci_unpacks_what_the_tests_write() {
    let mut image = three_layers();
    // Debian's umoci knows no zstd.
    image.layers[2].packing = Packing::Gzip;
    let (layout, directory) = (Layout::of(&image), tempfile::tempdir().expect("a directory"));
    let (archive, copy) = (directory.path().join("image.tar"), directory.path().join("copy"));
    let bundle = directory.path().join("bundle");
    layout.write_archive(&archive);

    let from = format!("oci-archive:{}:latest", archive.display());
    let to = format!("oci:{}:1", copy.display());
    let convert = ["--insecure-policy", "copy", &from, &to];
    run(Command::new("skopeo").args(convert), limit(60)).expect_code(0);
    let image = format!("{}:1", copy.display());
    run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle), limit(60)).expect_code(0);

    let root = bundle.join("rootfs");
    assert_eq!(fs::read(root.join("etc/b")).expect("a file"), b"b");
    assert_eq!(fs::read(root.join("old/new")).expect("a file"), b"new");
    assert!(!root.join("etc/a").exists() && !root.join("old/file").exists());
}
