//! Which stage1 image runs a pod, and whether its signature counts: flags, configuration, the image beside the program.

use std::fs;
use std::path::Path;

use rkt_tests::dist;
use rkt_tests::rkt::{RKT_FAILED, TestRkt, scratch};
use rkt_tests::server::Answer;
use rkt_tests::stub_stage1::{self, Stub};
use tempfile::TempDir;

use crate::publisher;
use crate::site::Site;

const TEMPLATE: &str = "example.com https://images.example.com/{name}-{version}-{os}-{arch}.{ext}";
const IMAGE: &str = "images.example.com/example.com/stub-stage1-1.0.0-linux-amd64.aci";

/// A stage1 image of another name.
fn named(name: &'static str) -> Stub {
    Stub { name, ..Stub::default() }
}

/// An rkt whose app image is in the store, so that no check of images need be off.
fn rkt_with_app() -> TestRkt {
    let rkt = TestRkt::new();
    store_app(&rkt);
    rkt
}

fn store_app(rkt: &TestRkt) {
    publisher::image(rkt, "app.aci");
    rkt.run(["--insecure-options=image", "fetch", "./app.aci"]).expect_code(0);
}

/// Runs a pod with these global and stage1 flags; the name of its stage1 image.
#[track_caller]
fn stage1_of(rkt: &TestRkt, global: &[&str], flags: &[&str]) -> String {
    let rest = ["--uuid-file-save=uuid", "example.com/app"];
    rkt.run([global, &["run"], flags, &rest].concat()).expect_code(0);
    let pod = rkt.data().join("pods/run").join(rkt.uuid("uuid"));
    let manifest = fs::read(pod.join("stage1/manifest")).expect("the manifest of stage1");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    manifest["name"].as_str().expect("a name").to_owned()
}

fn configure(rkt: &TestRkt, kind: &str, content: &serde_json::Value) {
    let directory = rkt.local_config().join(format!("{kind}.d"));
    fs::create_dir_all(&directory).expect("creating");
    fs::write(directory.join("test.json"), content.to_string()).expect("writing");
}

fn configure_stage1(rkt: &TestRkt, fields: &serde_json::Value) {
    let mut content = serde_json::json!({ "rktKind": "stage1", "rktVersion": "v1" });
    let all = content.as_object_mut().expect("an object");
    all.extend(fields.as_object().expect("an object").clone());
    configure(rkt, "stage1", &content);
}

/// An rkt alone in a directory, with what else is put there.
fn installed() -> (TestRkt, TempDir) {
    let place = tempfile::tempdir_in(scratch()).expect("a directory");
    let program = place.path().join("rkt");
    if fs::hard_link(dist::file("rkt"), &program).is_err() {
        fs::copy(dist::file("rkt"), &program).expect("copying");
    }
    let rkt = TestRkt::with_program(&program);
    store_app(&rkt);
    (rkt, place)
}

#[test]
fn a_path_may_be_relative_or_absolute() {
    let rkt = rkt_with_app();
    stub_stage1::write(&rkt.path("stub.aci"));
    let absolute = format!("--stage1-path={}", rkt.path("stub.aci").display());

    for flag in ["--stage1-path=stub.aci", &absolute] {
        assert_eq!(stage1_of(&rkt, &["--insecure-options=image"], &[flag]), stub_stage1::NAME);
    }
    let missing = rkt.run(["run", "--stage1-path=missing.aci", "example.com/app"]);
    missing.expect_code(RKT_FAILED).expect_err("error getting stage1 image").expect_err("missing.aci");
}

#[test]
fn a_signed_file_needs_no_option() {
    let site = Site::trusted();
    store_app(&site.rkt);
    stub_stage1::write(&site.rkt.path("stub.aci"));
    site.gpg.sign(&site.key, &site.rkt.path("stub.aci"));

    assert_eq!(stage1_of(&site.rkt, &[], &["--stage1-path=stub.aci"]), stub_stage1::NAME);
}

#[test]
fn a_url_is_downloaded_once_and_verified() {
    let site = Site::trusted();
    store_app(&site.rkt);
    site.image("images.example.com/stage1.aci", &Stub::default().aci());
    let flag = "--stage1-url=https://images.example.com/stage1.aci";

    assert_eq!(stage1_of(&site.rkt, &[], &[flag]), stub_stage1::NAME);
    site.server.forget();
    assert_eq!(stage1_of(&site.rkt, &[], &[flag]), stub_stage1::NAME);

    assert_eq!(site.server.requests(), [""; 0], "pull policy new: what is in the store is taken from there");
    site.server.answer("images.example.com/other.aci", Answer::body(named("example.com/other").aci().gzip()));
    let unsigned =
        site.rkt.run(["run", "--stage1-url=https://images.example.com/other.aci", "example.com/app"]);
    unsigned.expect_code(RKT_FAILED).expect_err("error getting stage1 image").expect_err("other.aci.asc");
}

#[test]
fn a_file_url_is_a_path() {
    let rkt = rkt_with_app();
    stub_stage1::write(&rkt.path("stub.aci"));
    let flag = format!("--stage1-url=file://{}", rkt.path("stub.aci").display());

    assert_eq!(stage1_of(&rkt, &["--insecure-options=image"], &[&flag]), stub_stage1::NAME);
}

#[test]
fn a_name_is_discovered_unless_it_is_in_the_store() {
    let site = Site::trusted();
    store_app(&site.rkt);
    site.page(stub_stage1::NAME, &[("ac-discovery", TEMPLATE)]);
    site.image(IMAGE, &Stub::default().aci());

    for flag in ["--stage1-name=example.com/stub-stage1:1.0.0", "--stage1-name=example.com/stub-stage1"] {
        assert_eq!(stage1_of(&site.rkt, &[], &[flag]), stub_stage1::NAME);
    }

    let downloads = site.server.requests().iter().filter(|request| request.ends_with("amd64.aci")).count();
    assert_eq!(downloads, 1);
    let unknown = site.rkt.run(["run", "--stage1-name=example.com/nothing", "example.com/app"]);
    unknown
        .expect_code(RKT_FAILED)
        .expect_err("error getting stage1 image")
        .expect_err("example.com/nothing");
}

#[test]
fn a_hash_is_looked_up_in_the_store_only() {
    let rkt = rkt_with_app();
    stub_stage1::write(&rkt.path("stub.aci"));
    let id = rkt.run(["--insecure-options=image", "fetch", "./stub.aci"]).expect_code(0).out();
    let flag = format!("--stage1-hash={}", id.trim());

    assert_eq!(stage1_of(&rkt, &[], &[&flag]), stub_stage1::NAME);
    let unknown = rkt.run(["run", "--stage1-hash=sha512-0123456789abcdef", "example.com/app"]);
    unknown.expect_code(RKT_FAILED).expect_err("error getting stage1 image");
}

/// An rkt whose configuration says where stage1 images are, with one, `mine.aci`.
fn rkt_with_images_directory() -> TestRkt {
    let rkt = rkt_with_app();
    fs::create_dir(rkt.path("images")).expect("creating");
    stub_stage1::write(&rkt.path("images/mine.aci"));
    let paths = serde_json::json!({
        "rktKind": "paths", "rktVersion": "v1", "stage1-images": rkt.path("images"),
    });
    configure(&rkt, "paths", &paths);
    rkt
}

#[test]
fn a_file_of_the_images_directory_is_as_trustworthy_as_where_that_is() {
    let rkt = rkt_with_images_directory();

    let flag = "--stage1-from-dir=mine.aci";
    assert_eq!(stage1_of(&rkt, &["--insecure-options=image"], &[flag]), stub_stage1::NAME);
    let other = rkt.run(["run", "--stage1-from-dir=../app.aci", "example.com/app"]);
    other.expect_code(RKT_FAILED).expect_err("\"../app.aci\" is not a file name");
}

#[test]
fn an_unsigned_file_of_a_configured_images_directory_is_refused() {
    let rkt = rkt_with_images_directory();

    let output = rkt.run(["run", "--stage1-from-dir=mine.aci", "example.com/app"]);

    output.expect_code(RKT_FAILED).expect_err("mine.aci.asc");
}

#[test]
fn the_configured_name_and_version_are_looked_for_in_the_store_before_the_location() {
    let rkt = rkt_with_app();
    stub_stage1::write(&rkt.path("stub.aci"));
    named("example.com/located").write(&rkt.path("located.aci"));
    let location = rkt.path("located.aci");
    configure_stage1(
        &rkt,
        &serde_json::json!({ "name": stub_stage1::NAME, "version": "1.0.0", "location": location }),
    );

    assert_eq!(stage1_of(&rkt, &["--insecure-options=image"], &[]), "example.com/located");
    rkt.run(["--insecure-options=image", "fetch", "./stub.aci"]).expect_code(0);
    assert_eq!(stage1_of(&rkt, &[], &[]), stub_stage1::NAME);
}

#[test]
fn the_configured_location_may_be_a_url_and_is_verified() {
    let site = Site::trusted();
    store_app(&site.rkt);
    site.image("images.example.com/stage1.aci", &Stub::default().aci());
    configure_stage1(&site.rkt, &serde_json::json!({ "location": "https://images.example.com/stage1.aci" }));

    assert_eq!(stage1_of(&site.rkt, &[], &[]), stub_stage1::NAME);
}

#[test]
fn an_unsigned_configured_location_is_refused() {
    let rkt = rkt_with_app();
    stub_stage1::write(&rkt.path("stub.aci"));
    configure_stage1(&rkt, &serde_json::json!({ "location": rkt.path("stub.aci") }));

    rkt.run(["run", "example.com/app"]).expect_code(RKT_FAILED).expect_err("stub.aci.asc");
}

#[test]
fn the_image_beside_the_program_is_the_default_and_is_trusted() {
    if Path::new("/usr/lib/rkt/stage1-images/stage1-kvm.aci").exists() {
        // A package's image comes first.
        return;
    }
    let (rkt, place) = installed();
    let missing = rkt.run(["run", "example.com/app"]);
    let beside = place.path().join("stage1-kvm.aci");
    missing.expect_code(RKT_FAILED).expect_err(&format!("no stage1 image at {}", beside.display()));
    named("example.com/beside").write(&beside);

    assert_eq!(stage1_of(&rkt, &[], &[]), "example.com/beside");

    // A location that leads nowhere means the file of that name beside the program.
    named("example.com/own").write(&place.path().join("own.aci"));
    configure_stage1(&rkt, &serde_json::json!({ "location": "/nowhere/own.aci" }));
    assert_eq!(stage1_of(&rkt, &[], &[]), "example.com/own");
}

#[test]
fn kvm_means_the_image_that_belongs_to_this_rkt_whatever_is_configured() {
    if Path::new("/usr/lib/rkt/stage1-images/stage1-kvm.aci").exists() {
        return;
    }
    let (rkt, place) = installed();
    named("coreos.com/rkt/stage1-kvm").write(&place.path().join("stage1-kvm.aci"));
    named("example.com/located").write(&rkt.path("located.aci"));
    let fields =
        serde_json::json!({ "name": "example.com/o", "version": "1", "location": rkt.path("located.aci") });
    configure_stage1(&rkt, &fields);
    let version = rkt.run(["version"]).expect_code(0).out();
    let version =
        version.lines().find_map(|line| line.strip_prefix("rkt Version: ")).expect("a version").to_owned();
    let versioned = format!("--stage1-name=coreos.com/rkt/stage1-kvm:{version}");

    for flag in ["--stage1-name=kvm", "--stage1-name=coreos.com/rkt/stage1-kvm", &versioned] {
        assert_eq!(stage1_of(&rkt, &[], &[flag]), "coreos.com/rkt/stage1-kvm", "{flag}");
    }
    assert_eq!(stage1_of(&rkt, &["--insecure-options=image"], &[]), "example.com/located");
}

#[test]
fn an_image_that_cannot_run_pods_is_refused_before_a_pod_is_made() {
    let rkt = rkt_with_app();
    Stub::default().without("run").write(&rkt.path("no-run.aci"));
    Stub { interface: "six", ..Stub::default() }.write(&rkt.path("six.aci"));
    let cases = [
        ("no-run.aci", "entrypoint \"run\" not found"),
        ("six.aci", "invalid interface version \"six\" of stage1"),
    ];

    for (file, message) in cases {
        let flag = format!("--stage1-path={file}");
        let output = rkt.run(["--insecure-options=image", "run", &flag, "example.com/app"]);
        output.expect_code(RKT_FAILED).expect_err(message);
    }
    assert_eq!(rkt.pods_in("run"), [""; 0]);
}
