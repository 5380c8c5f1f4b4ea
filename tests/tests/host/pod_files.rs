//! The files of a pod that other tools read: names, content, modes, and where overlays put them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rkt_tests::rkt::TestRkt;

use crate::publisher::{self, run_arguments};

/// What a file must hold.
enum Content<'t> {
    Nothing,
    Exactly(&'t str),
    Json(&'t str),
}

use Content::{Exactly, Json, Nothing};

#[track_caller]
fn expect_file(pod: &Path, name: &str, mode: u32, content: &Content<'_>) {
    let path = pod.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let found = fs::metadata(&path).expect("it was read").permissions().mode() & 0o7777;
    assert_eq!(found, mode, "mode of {name}: {found:o}");
    match content {
        Nothing => assert_eq!(text, "", "{name}"),
        Exactly(expected) => assert_eq!(text, *expected, "{name}"),
        Json(kind) => {
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["acKind"], *kind, "{name}");
        }
    }
}

#[track_caller]
fn expect_directory(pod: &Path, name: &str, mode: u32) {
    let metadata = fs::symlink_metadata(pod.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(metadata.is_dir(), "{name} is no directory");
    let found = metadata.permissions().mode() & 0o7777;
    assert_eq!(found, mode, "mode of {name}: {found:o}");
}

/// Runs a pod to its end; its directory.
fn pod(rkt: &TestRkt, flags: &[&str]) -> PathBuf {
    publisher::image(rkt, "app.aci");
    let rest = ["--uuid-file-save=uuid", "./app.aci"];
    rkt.run(run_arguments(&[flags, &rest].concat())).expect_code(0);
    rkt.data().join("pods/run").join(rkt.uuid("uuid"))
}

/// A value that must not end with a newline.
fn value(pod: &Path, name: &str) -> String {
    let text = fs::read_to_string(pod.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!text.contains(char::is_whitespace), "{name}: {text:?}");
    text
}

#[test]
fn a_pod_with_overlays_has_the_files_of_the_reference() {
    let rkt = publisher::rkt();

    let pod = pod(&rkt, &[]);

    expect_directory(&pod, "", 0o750);
    expect_file(&pod, "pod", 0o640, &Json("PodManifest"));
    expect_file(&pod, "pod-created", 0o640, &Nothing);
    expect_file(&pod, "pod.lck", 0o600, &Nothing);
    expect_file(&pod, "overlay-prepared", 0o640, &Nothing);
    expect_file(&pod, "stage1/manifest", 0o640, &Json("ImageManifest"));
    expect_file(&pod, "appsinfo/app/manifest", 0o640, &Json("ImageManifest"));
    let stage1 = value(&pod, "stage1TreeStoreID");
    let app = value(&pod, "appsinfo/app/treeStoreID");
    for id in [&stage1, &app] {
        assert!(id.starts_with("deps-sha512-") && id.len() == "deps-sha512-".len() + 64, "{id}");
        assert!(rkt.data().join("cas/tree").join(id).join("rendered").exists());
    }
    expect_directory(&pod, "overlay", 0o750);
    for layer in ["upper", "work"] {
        assert!(pod.join("overlay").join(&stage1).join(layer).is_dir());
        assert!(pod.join("overlay").join(&app).join(layer).join("app").is_dir());
    }
    // What stage1 wrote into its root is read from there: also when nothing is mounted.
    let upper = pod.join("overlay").join(&stage1).join("upper");
    expect_file(&upper, "rkt/status/app", 0o644, &Exactly("0\n"));
    let ready = fs::read_link(upper.join("rkt/supervisor-status")).expect("a link");
    assert_eq!(ready, Path::new("ready"));
    let pid = fs::read_to_string(pod.join("pid")).expect("reading");
    assert!(pid.strip_suffix('\n').is_some_and(|pid| pid.parse::<u32>().is_ok()), "{pid:?}");
    assert!(pod.join("stage1/rootfs/opt/stage2/app/rootfs/app").exists());
    assert!(pod.join("stage1/rootfs/opt/stage2/app/manifest").exists());
    for absent in ["private-users-prepared", "ppid", "mds-registered"] {
        assert!(!pod.join(absent).exists(), "{absent}");
    }
    expect_file(rkt.directory(), "uuid", 0o644, &Exactly(&rkt.uuid("uuid")));
}

#[test]
fn a_pod_without_overlays_has_copies_and_says_so_by_what_is_missing() {
    let rkt = publisher::rkt();

    let pod = pod(&rkt, &["--no-overlay"]);

    for absent in ["overlay-prepared", "overlay", "appsinfo/app/treeStoreID"] {
        assert!(!pod.join(absent).exists(), "{absent}");
    }
    expect_file(&pod, "stage1/rootfs/rkt/status/app", 0o644, &Exactly("0\n"));
    assert!(value(&pod, "stage1TreeStoreID").starts_with("deps-sha512-"));
    assert!(pod.join("stage1/rootfs/init").exists());
    assert!(pod.join("stage1/rootfs/opt/stage2/app/rootfs/app").exists());
    assert!(pod.join("stage1/rootfs/opt/stage2/app/manifest").exists());
}

#[test]
fn two_apps_of_one_image_share_a_tree_and_nothing_else() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let apps = ["--uuid-file-save=uuid", "./app.aci", "--name=one", "./app.aci", "--name=two"];

    rkt.run(run_arguments(&apps)).expect_code(0);

    let pod = rkt.data().join("pods/run").join(rkt.uuid("uuid"));
    let (one, two) = (value(&pod, "appsinfo/one/treeStoreID"), value(&pod, "appsinfo/two/treeStoreID"));
    assert_eq!(one, two);
    for app in ["one", "two"] {
        assert!(pod.join("overlay").join(&one).join("upper").join(app).is_dir());
    }
}

#[test]
fn the_status_of_a_pod_is_readable_when_nothing_of_it_is_mounted() {
    let mut rkt = publisher::rkt();
    rkt.set_env("STUB_APP_CODE", "9");
    publisher::image(&rkt, "app.aci");
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(9);
    let uuid = rkt.uuid("uuid");
    let pod = rkt.data().join("pods/run").join(&uuid);

    // As after a reboot.
    for place in ["stage1/rootfs/opt/stage2/app/rootfs", "stage1/rootfs"] {
        nix::mount::umount(&pod.join(place)).expect("unmounting");
    }

    assert_eq!(rkt.status_value(&uuid, "app-app").as_deref(), Some("9"));
    rkt.run(["status", "--wait-ready", &uuid]).expect_code(0);
    rkt.run(["rm", &uuid]).expect_code(0);
    rkt.expect_nothing_left();
}
