//! `rkt fetch docker://`, `oci:` and `oci-archive:` against Debian's registry and layouts on disk: every way in, what is
//! fetched again and what is not, and that the files are those of the layers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rkt_tests::aci::Aci;
use rkt_tests::authority::Authority;
use rkt_tests::command::{Finished, limit, run};
use rkt_tests::oci::{Image, Layer, Layout};
use rkt_tests::registry::{PASSWORD, PUBLIC, REFRESH_TOKEN, Registry, USER};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::publisher::blobs;
use crate::registries::three_layers;

/// An rkt that trusts `authority` and sees nobody's logins.
fn rkt(authority: Option<&Authority>) -> TestRkt {
    let mut rkt = TestRkt::new();
    let home = rkt.path("home");
    fs::create_dir_all(&home).expect("creating a directory");
    rkt.set_env("HOME", &home);
    for variable in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"] {
        rkt.set_env(variable, "");
    }
    if let Some(authority) = authority {
        rkt.set_env("SSL_CERT_FILE", authority.certificate());
    }
    rkt
}

fn fetch(rkt: &TestRkt, image: &str) -> Finished {
    rkt.run(["--insecure-options=image", "fetch", image])
}

/// The converted manifest of an image that was fetched.
fn manifest(rkt: &TestRkt, fetched: &Finished) -> Value {
    let output = rkt.run(["image", "cat-manifest", fetched.out().trim()]).expect_code(0);
    serde_json::from_str(&output.out()).expect("a manifest")
}

/// The root of an image, rendered.
fn root(rkt: &TestRkt, fetched: &Finished) -> PathBuf {
    let target = rkt.path("rendered");
    let target_text = target.to_str().expect("a path in UTF-8");
    rkt.run(["image", "render", "--overwrite", fetched.out().trim(), target_text]).expect_code(0);
    target.join("rootfs")
}

fn layers_in_store(rkt: &TestRkt) -> Vec<PathBuf> {
    let fan_out = fs::read_dir(rkt.data().join("cas/layer/sha256")).into_iter().flatten().flatten();
    fan_out
        .flat_map(|directory| fs::read_dir(directory.path()).expect("a directory").flatten())
        .map(|entry| entry.path())
        .collect()
}

/// Layer `number` of images that share some.
fn layer(number: usize) -> Layer {
    Layer::new(&Aci::empty().file(&format!("file-{number}"), 0o644, format!("content {number}").as_bytes()))
}

#[track_caller]
fn expect_three_layers(root: &Path) {
    assert_eq!(fs::read(root.join("etc/b")).expect("a file"), b"b");
    assert_eq!(root.join("etc/b").metadata().expect("a file").permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read(root.join("old/new")).expect("a file"), b"new");
    assert!(!root.join("etc/a").exists() && !root.join("old/file").exists());
}

fn push(registry: &Registry, image: &Image, name: &str) -> String {
    registry.push(&Layout::of(image).reference("latest"), name)
}

#[test]
fn an_image_is_fetched_over_tls_converted_and_rendered() {
    let authority = Authority::new();
    let (registry, rkt) = (Registry::https(&authority), rkt(Some(&authority)));
    let digest = push(&registry, &three_layers(), "team/app:1.5");

    let fetched = fetch(&rkt, &registry.reference("team/app:1.5")).expect_code(0);

    expect_three_layers(&root(&rkt, &fetched));
    let manifest = manifest(&rkt, &fetched);
    assert_eq!(manifest["name"], format!("{}/team/app", registry.host().replace(':', "_")).as_str());
    assert_eq!(manifest["app"]["exec"], json!(["/app", "one", "two"]));
    assert_eq!(
        manifest["labels"],
        json!([{"name": "arch", "value": "amd64"}, {"name": "os", "value": "linux"}, {"name": "version", "value": "1.5"}])
    );
    let annotation = json!({"name": "appc.io/docker/manifesthash", "value": digest});
    assert!(manifest["annotations"].as_array().expect("a list").contains(&annotation), "{manifest}");
}

#[test]
fn an_image_is_fetched_over_plain_http_only_when_told_so() {
    let (registry, rkt) = (Registry::http(), rkt(None));
    push(&registry, &three_layers(), "app:1");

    fetch(&rkt, &registry.reference("app:1")).expect_code(RKT_FAILED);
    assert_eq!(blobs(&rkt), [] as [PathBuf; 0]);
    let fetched =
        rkt.run(["--insecure-options=image,http", "fetch", &registry.reference("app:1")]).expect_code(0);

    expect_three_layers(&root(&rkt, &fetched));
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_unless_told_so() {
    let authority = Authority::new();
    let (registry, rkt) = (Registry::https(&authority), rkt(None));
    push(&registry, &three_layers(), "app:1");

    let output = fetch(&rkt, &registry.reference("app:1")).expect_code(RKT_FAILED);
    output.expect_err(&registry.host()).expect_err("SSL_CERT_FILE");

    rkt.run(["--insecure-options=image,tls", "fetch", &registry.reference("app:1")])
        .expect_code(0)
        .expect_err("warning: TLS verification has been disabled");
}

#[test]
fn an_image_that_nobody_signed_is_refused_with_both_ways_out() {
    let (registry, rkt) = (Registry::http(), rkt(None));
    push(&registry, &three_layers(), "app:1");

    let output = rkt.run(["--insecure-options=http", "fetch", &registry.reference("app:1")]);

    output.expect_code(RKT_FAILED).expect_err("rkt trust").expect_err("--insecure-options=image");
    assert_eq!(blobs(&rkt), [] as [PathBuf; 0]);
}

#[test]
fn basic_credentials_come_from_rkts_own_configuration() {
    let authority = Authority::new();
    let (registry, rkt) = (Registry::with_basic_auth(&authority), rkt(Some(&authority)));
    push(&registry, &three_layers(), "app:1");
    let refused = fetch(&rkt, &registry.reference("app:1")).expect_code(RKT_FAILED);
    refused.expect_err("(401)").expect_err("docker login").expect_err("dockerAuth");

    let file = json!({"rktKind": "dockerAuth", "rktVersion": "v1", "registries": [registry.host()],
        "credentials": {"user": USER, "password": PASSWORD}});
    fs::create_dir_all(rkt.local_config().join("auth.d")).expect("creating a directory");
    fs::write(rkt.local_config().join("auth.d/registry.json"), file.to_string()).expect("writing");

    let fetched = fetch(&rkt, &registry.reference("app:1")).expect_code(0);
    expect_three_layers(&root(&rkt, &fetched));
}

#[test]
fn basic_credentials_that_are_wrong_are_refused_with_where_they_are_from() {
    let authority = Authority::new();
    let (registry, rkt) = (Registry::with_basic_auth(&authority), rkt(Some(&authority)));
    push(&registry, &three_layers(), "app:1");
    let config = json!({"auths": {registry.host(): {"username": "mallory", "password": "guess"}}});
    log_in(&rkt, &config);

    let output = fetch(&rkt, &registry.reference("app:1")).expect_code(RKT_FAILED);

    output.expect_err("does not accept user \"mallory\"").expect_err(".docker/config.json");
}

/// Writes docker's configuration file.
fn log_in(rkt: &TestRkt, config: &Value) {
    let directory = rkt.path("home/.docker");
    fs::create_dir_all(&directory).expect("creating a directory");
    fs::write(directory.join("config.json"), config.to_string()).expect("writing");
}

#[test]
fn tokens_are_asked_for_with_dockers_own_logins() {
    let authority = Authority::new();
    let registry = Registry::with_token_auth(&authority);
    push(&registry, &three_layers(), "private/app:1");
    // base64 of rkt:swordfish
    let logins = [
        json!({"auths": {registry.host(): {"auth": "cmt0OnN3b3JkZmlzaA=="}}}),
        json!({"auths": {format!("{}/private", registry.host()): {"auth": "cmt0OnN3b3JkZmlzaA=="}}}),
        json!({"auths": {registry.host(): {"auth": "cmt0OnN3b3JkZmlzaA==", "identitytoken": REFRESH_TOKEN}}}),
    ];

    for login in logins {
        let rkt = rkt(Some(&authority));
        fetch(&rkt, &registry.reference("private/app:1")).expect_code(RKT_FAILED).expect_err("(401)");
        log_in(&rkt, &login);

        let fetched = fetch(&rkt, &registry.reference("private/app:1")).expect_code(0);

        assert_eq!(layers_in_store(&rkt).len(), 3, "{login}");
        assert!(!fetched.err().contains(PASSWORD));
    }
}

#[test]
fn a_public_image_needs_no_login_and_one_token() {
    let authority = Authority::new();
    let (registry, rkt) = (Registry::with_token_auth(&authority), rkt(Some(&authority)));
    let name = format!("{PUBLIC}app:1");
    push(&registry, &three_layers(), &name);
    let before = registry.token_requests().len();

    fetch(&rkt, &registry.reference(&name)).expect_code(0);

    let requests = registry.token_requests();
    assert_eq!(requests.len() - before, 1, "{requests:?}");
}

#[test]
fn credential_helpers_are_asked_and_what_they_say_is_judged() {
    let authority = Authority::new();
    let registry = Registry::with_basic_auth(&authority);
    push(&registry, &three_layers(), "app:1");
    let with_helper = |name: &str, script: &str| {
        let mut rkt = rkt(Some(&authority));
        let directory = rkt.path("bin");
        fs::create_dir_all(&directory).expect("creating a directory");
        let helper = directory.join(format!("docker-credential-{name}"));
        fs::write(&helper, format!("#!/bin/sh\n{script}\n")).expect("writing");
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("changing a mode");
        rkt.set_env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
        log_in(&rkt, &json!({"credHelpers": {registry.host(): name}, "credsStore": "other"}));
        rkt
    };
    let good = format!(
        "read server; test \"$server\" = {} && echo '{{\"ServerURL\":\"x\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'",
        registry.host()
    );

    fetch(&with_helper("good", &good), &registry.reference("app:1")).expect_code(0);
    let cases = [
        ("fails", "read server; echo the vault is locked >&2; exit 3", "the vault is locked"),
        (
            "rubbish",
            "read server; echo rubbish",
            "docker-credential-rubbish printed something that is no credential",
        ),
        ("empty", "read server; echo credentials not found in native keychain; exit 1", "(401)"),
    ];
    for (name, script, message) in cases {
        let output = fetch(&with_helper(name, script), &registry.reference("app:1"));

        output.expect_code(RKT_FAILED).expect_err(message);
    }
}

#[test]
fn the_image_for_this_host_is_chosen_from_an_index() {
    let (registry, rkt) = (Registry::http(), rkt(None));
    let mut layout = Layout::new();
    layout.add_index("many", &[Image::new([layer(1)]).for_architecture("arm64"), three_layers()]);
    layout.add_index("foreign", &[Image::new([layer(1)]).for_architecture("arm64")]);
    registry.push(&layout.reference("many"), "app:many");
    registry.push(&layout.reference("foreign"), "app:foreign");
    let fetch = |name: &str| rkt.run(["--insecure-options=image,http", "fetch", &registry.reference(name)]);

    let fetched = fetch("app:many").expect_code(0);

    expect_three_layers(&root(&rkt, &fetched));
    fetch("app:foreign").expect_code(RKT_FAILED).expect_err("linux/arm64").expect_err("linux/amd64");
}

#[test]
fn dockers_own_format_is_an_image_too() {
    let (registry, rkt) = (Registry::http(), rkt(None));
    let lowest = Aci::empty().directory("etc", 0o755).file("etc/b", 0o600, b"b");
    let layout = Layout::of(&Image::new([Layer::new(&lowest)]));
    registry.push_docker(&layout.reference("latest"), "app:1");

    let fetched =
        rkt.run(["--insecure-options=image,http", "fetch", &registry.reference("app:1")]).expect_code(0);

    assert_eq!(fs::read(root(&rkt, &fetched).join("etc/b")).expect("a file"), b"b");
}

#[test]
fn a_second_image_that_shares_nine_of_ten_layers_costs_one_layer() {
    let (registry, rkt) = (Registry::http(), rkt(None));
    let ten = Image::new((0..10).map(layer).collect::<Vec<_>>());
    let mut other = ten.clone();
    other.layers[9] = layer(10);
    push(&registry, &ten, "ten:1");
    push(&registry, &other, "other:1");
    let fetch = |name: &str| rkt.run(["--insecure-options=image,http", "fetch", &registry.reference(name)]);
    fetch("ten:1").expect_code(0);
    let before = registry.blobs_sent().len();

    fetch("other:1").expect_code(0);

    let config = rkt_tests::oci::digest(&other.config_bytes());
    let mut sent = registry.blobs_sent().split_off(before);
    sent.retain(|digest| *digest != config);
    assert_eq!(sent, [other.layers[9].digest()]);
    assert_eq!(layers_in_store(&rkt).len(), 11);
}

#[test]
fn an_image_that_did_not_change_costs_no_blob_and_one_that_did_is_fetched() {
    let (registry, rkt) = (Registry::http(), rkt(None));
    push(&registry, &Image::new([layer(1)]), "app:1");
    let fetch = |policy: &str| {
        let policy = format!("--pull-policy={policy}");
        rkt.run(["--insecure-options=image,http", "fetch", &policy, &registry.reference("app:1")])
            .expect_code(0)
            .out()
    };
    let first = fetch("update");
    let (blobs, requests) = (registry.blobs_sent().len(), registry.accesses().len());

    assert_eq!(fetch("new"), first);
    assert_eq!(fetch("never"), first);
    assert_eq!(registry.accesses().len(), requests, "the store has it");
    assert_eq!(fetch("update"), first);
    assert_eq!(registry.blobs_sent().len(), blobs);
    push(&registry, &Image::new([layer(2)]), "app:1");
    assert_eq!(fetch("new"), first);
    assert_ne!(fetch("update"), first);
}

#[test]
fn an_image_is_fetched_by_digest_and_found_by_name() {
    let (registry, rkt) = (Registry::http(), rkt(None));
    let digest = push(&registry, &three_layers(), "app:1");

    let reference = registry.reference(&format!("app@{digest}"));
    let fetched = rkt.run(["--insecure-options=image,http", "fetch", &reference]).expect_code(0);

    let name = format!("{}/app", registry.host().replace(':', "_"));
    rkt.run(["image", "cat-manifest", &name]).expect_code(0).expect_out(&digest);
    let wrong = registry.reference(&format!("app@sha256:{}", "0".repeat(64)));
    rkt.run(["--insecure-options=image,http", "fetch", &wrong])
        .expect_code(RKT_FAILED)
        .expect_err("there is no such");
    assert!(fetched.out().starts_with("sha512-"));
}

#[test]
fn the_same_image_has_the_same_id_wherever_it_is_fetched() {
    let layout = Layout::of(&three_layers());
    let fetch_in_new_store = || {
        let rkt = rkt(None);
        fetch(&rkt, &layout.reference("latest")).expect_code(0).out()
    };

    assert_eq!(fetch_in_new_store(), fetch_in_new_store());
}

#[test]
fn layouts_and_archives_are_images_too() {
    let mut layout = Layout::new();
    layout.add("1", &three_layers());
    layout.add("2", &Image::new([layer(2)]));
    let rkt = rkt(None);
    let archive = rkt.path("Saved_App.tar");
    layout.write_archive(&archive);
    let compressed = rkt.path("compressed.tar.gz");
    run(
        Command::new("sh")
            .args(["-c", "gzip < Saved_App.tar > compressed.tar.gz"])
            .current_dir(rkt.directory()),
        limit(60),
    )
    .expect_code(0);
    let references = [
        layout.reference("1"),
        format!("oci-archive:{}:1", archive.display()),
        format!("oci-archive:{}:1", compressed.display()),
    ];

    for reference in references {
        let fetched = fetch(&rkt, &reference).expect_code(0);

        expect_three_layers(&root(&rkt, &fetched));
        assert!(!fetched.err().contains("Downloading"));
    }
    rkt.run(["image", "cat-manifest", "localhost/saved-app:1"]).expect_code(0);
    let ambiguous = fetch(&rkt, &format!("oci:{}", layout.path().display())).expect_code(RKT_FAILED);
    ambiguous.expect_err("\"1\", \"2\"");
    fetch(&rkt, &layout.reference("3")).expect_code(RKT_FAILED).expect_err("\"1\", \"2\"");
    let unsigned = rkt.run(["fetch", &layout.reference("1")]).expect_code(RKT_FAILED);
    unsigned.expect_err("--insecure-options=image");
}

#[test]
fn a_layout_with_one_image_needs_no_tag() {
    let layout = Layout::of(&three_layers());
    let rkt = rkt(None);

    let fetched = fetch(&rkt, &format!("oci:{}", layout.path().display())).expect_code(0);

    expect_three_layers(&root(&rkt, &fetched));
}

#[test]
fn what_skopeo_writes_is_read() {
    let layout = Layout::of(&Image::new([layer(1)]));
    let rkt = rkt(None);
    let archive = format!("oci-archive:{}:v1", rkt.path("skopeo.tar").display());
    let copy = ["--insecure-policy", "copy", &layout.reference("latest"), &archive];
    run(Command::new("skopeo").args(copy), limit(60)).expect_code(0);

    let fetched = fetch(&rkt, &archive).expect_code(0);

    assert_eq!(fs::read(root(&rkt, &fetched).join("file-1")).expect("a file"), b"content 1");
}

#[test]
fn layouts_that_are_damaged_are_refused_in_words() {
    let image = three_layers();
    type Damage<'d> = &'d dyn Fn(&Layout);
    let damage: [(&str, Damage<'_>); 6] = [
        ("does not have its size", &|layout| {
            fs::write(layout.blob(&image.layers[1].digest()), "x").expect("writing")
        }),
        ("is not there", &|layout| {
            fs::remove_file(layout.blob(&image.layers[1].digest())).expect("removing")
        }),
        ("is malformed", &|layout| fs::write(layout.path().join("index.json"), "{").expect("writing")),
        ("no OCI image layout", &|layout| {
            fs::remove_file(layout.path().join("oci-layout")).expect("removing")
        }),
        ("version \"9\"", &|layout| {
            fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"9"}"#).expect("writing");
        }),
        ("does not have its digest", &|layout| {
            let blob = layout.blob(&image.layers[0].digest());
            let mut bytes = fs::read(&blob).expect("a blob");
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(&blob, bytes).expect("writing");
        }),
    ];

    for (message, damage) in damage {
        let (rkt, layout) = (rkt(None), Layout::of(&image));
        damage(&layout);

        let output = fetch(&rkt, &layout.reference("latest")).expect_code(RKT_FAILED);

        output.expect_err(message);
        assert_eq!(blobs(&rkt), [] as [PathBuf; 0]);
    }
}

#[test]
fn what_is_no_layout_and_no_archive_is_refused_in_one_line_without_its_control_characters() {
    let rkt = rkt(None);
    // Long enough to be a tar's header, with something else where its numbers are.
    let text = rkt.path("text");
    fs::write(&text, "\x1b[2J is no number\n".repeat(60)).expect("writing");

    let output = fetch(&rkt, &format!("oci-archive:{}", text.display())).expect_code(RKT_FAILED);
    assert_eq!(output.err().lines().count(), 1, "{output:?}");
    assert!(!output.err().contains('\x1b'), "{output:?}");

    fetch(&rkt, "oci:/nonesuch")
        .expect_code(RKT_FAILED)
        .expect_err("\"/nonesuch\": No such file or directory");
}
