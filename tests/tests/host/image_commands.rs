//! `rkt image list`, `cat-manifest` and `rm`: names and IDs, columns and JSON, exit codes, and who may look.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{self, Finished, limit};
use rkt_tests::dist;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::publisher::{self, blobs, small_image};

/// Fetches an image without signature; returns its whole ID.
#[track_caller]
pub fn fetch(rkt: &TestRkt, image: &str) -> String {
    let output = rkt.run(["--insecure-options=image", "fetch", "--full", image]).expect_code(0);
    output.out().trim().to_owned()
}

/// An image of this name and version.
pub fn image_of(name: &str, version: &str) -> Aci {
    let mut manifest = aci::manifest(name);
    manifest["labels"][0]["value"] = json!(version);
    Aci::new(&manifest).file("rootfs/app", 0o755, version.as_bytes())
}

/// Writes and fetches an image of this name and version; returns its whole ID.
#[track_caller]
pub fn fetch_new(rkt: &TestRkt, name: &str, version: &str) -> String {
    image_of(name, version).write(&rkt.path("new.aci"));
    fetch(rkt, "./new.aci")
}

#[track_caller]
fn json(output: &Finished) -> Value {
    serde_json::from_str(&output.out()).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The IDs that `image list` shows, in its order.
#[track_caller]
pub fn listed(rkt: &TestRkt, flags: &[&str]) -> Vec<String> {
    let arguments = [&["image", "list", "--full", "--no-legend", "--fields=id"], flags].concat();
    rkt.run(arguments).expect_code(0).out().lines().map(str::to_owned).collect()
}

#[test]
fn list_shows_id_name_size_and_times_in_columns_of_tabs() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1.0");

    let output = rkt.run(["image", "list"]).expect_code(0).out();

    let lines: Vec<Vec<&str>> =
        output.lines().map(|line| line.split('\t').filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED"]);
    let [short, name, size, imported, used] = lines[1][..] else { panic!("{output}") };
    assert_eq!((short, name), (&id[..19], "example.com/app:1.0"));
    assert!(size.ends_with("KiB"), "{output}");
    for time in [imported, used] {
        assert!(time == "now" || time.ends_with(" ago"), "{output}");
    }
}

#[test]
fn list_shows_everything_when_asked_to() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1.0");

    let output = rkt.run(["image", "list", "--full", "--no-legend"]).expect_code(0).out();

    let cells: Vec<&str> = output.trim_end().split('\t').filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[..2], [&id, "example.com/app:1.0"]);
    assert!(cells[2].parse::<u64>().expect("bytes") > 1024, "{output}");
    assert!(cells[3].starts_with("20") && cells[3].contains(':'), "{output}");
}

#[test]
fn list_as_json_has_whole_ids_and_nanoseconds() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1.0");

    let compact = rkt.run(["image", "list", "--format=json"]).expect_code(0);
    let pretty = rkt.run(["image", "list", "--format=json-pretty"]).expect_code(0);

    assert_eq!(json(&compact), json(&pretty));
    assert!(pretty.out().contains("\n\t\t\"id\": \"sha512-"), "{pretty:?}");
    assert_eq!(compact.out().lines().count(), 1);
    let entries = json(&compact);
    let entry = entries[0].as_object().expect("an object");
    let keys: Vec<&String> = entry.keys().collect();
    assert_eq!(keys, ["id", "name", "import_time", "last_used_time", "size"]);
    assert_eq!((&entry["id"], &entry["name"]), (&json!(id), &json!("example.com/app:1.0")));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    for time in ["import_time", "last_used_time"] {
        let time = u128::from(entry[time].as_u64().expect("a number"));
        assert!(time <= now && now - time < 600_000_000_000, "{entry:?}");
    }
    assert!(entry["size"].as_u64().expect("a number") > 1024);
}

#[test]
fn list_without_images_is_a_legend_or_null() {
    let rkt = TestRkt::new();

    let table = rkt.run(["image", "list"]).expect_code(0).out();
    let json = rkt.run(["image", "list", "--format=json"]).expect_code(0).out();

    assert_eq!(table.lines().count(), 1);
    assert_eq!(json, "null\n");
    assert_eq!(rkt.run(["image", "list", "--no-legend"]).expect_code(0).out(), "");
}

#[test]
fn list_sorts_by_name_time_and_size_in_either_order() {
    let rkt = TestRkt::new();
    let first = fetch_new(&rkt, "example.com/b", "1.0");
    let second = fetch_new(&rkt, "example.com/a", "1.0.0.0");

    assert_eq!(listed(&rkt, &[]), [&first[..], &second]);
    assert_eq!(listed(&rkt, &["--order=desc"]), [&second[..], &first]);
    assert_eq!(listed(&rkt, &["--sort=name"]), [&second[..], &first]);
    assert_eq!(listed(&rkt, &["--sort=name", "--order=desc"]), [&first[..], &second]);
    assert_eq!(listed(&rkt, &["--sort=importtime,name"]), [&first[..], &second]);
}

#[test]
fn list_shows_the_chosen_columns_only() {
    let rkt = TestRkt::new();
    fetch_new(&rkt, "example.com/app", "1.0");

    let output = rkt.run(["image", "list", "--fields=name,id"]).expect_code(0).out();

    assert!(output.starts_with("NAME"), "{output}");
    assert!(!output.contains("SIZE"), "{output}");
}

#[test]
fn wrong_flags_and_arguments_are_usage_errors() {
    let rkt = TestRkt::new();
    let cases: [(&[&str], &str); 9] = [
        (&["image", "list", "--fields=id,latest"], "unknown option \"latest\""),
        (&["image", "list", "--sort=id"], "unknown option \"id\""),
        (&["image", "list", "--order=up"], "wrong sort order"),
        (&["image", "list", "--format=xml"], "json"),
        (&["image", "list", "surplus"], "surplus"),
        (&["image", "cat-manifest"], "IMAGE"),
        (&["image", "export", "example.com/app"], "OUTPUT_ACI_FILE"),
        (&["image", "frobnicate"], "unknown command \"frobnicate\" for \"rkt image\""),
        (&["image", "rm", "--frob"], "--frob"),
    ];

    for (arguments, expected) in cases {
        let output = rkt.run(arguments).expect_code(RKT_FAILED).expect_err("Error: ");

        assert!(output.err().contains(expected), "{arguments:?}: {output:?}");
    }
}

#[test]
fn image_without_a_command_prints_its_page() {
    let output = TestRkt::new().run(["image"]).expect_code(0);

    output.expect_out("SUBCOMMANDS:").expect_out("cat-manifest");
}

#[test]
fn help_explains_a_nested_command() {
    let rkt = TestRkt::new();

    for arguments in [["help", "image", "list"], ["image", "list", "--help"]] {
        rkt.run(arguments).expect_code(0).expect_out("rkt image list").expect_out("--no-legend");
    }
}

#[test]
fn cat_manifest_prints_what_the_image_says_of_itself() {
    let rkt = TestRkt::new();
    let mut manifest = aci::manifest("example.com/app");
    manifest["annotations"] = json!([{ "name": "example.com/note", "value": "kept" }]);
    Aci::new(&manifest).file("rootfs/app", 0o755, b"").write(&rkt.path("app.aci"));
    let id = fetch(&rkt, "./app.aci");

    let pretty = rkt.run(["image", "cat-manifest", &id]).expect_code(0);
    let compact = rkt.run(["image", "cat-manifest", "--pretty-print=false", &id]).expect_code(0);

    assert_eq!(json(&pretty), manifest);
    assert_eq!(json(&compact), manifest);
    assert!(pretty.out().contains("\n\t\"acKind\""), "{pretty:?}");
    assert_eq!(compact.out().lines().count(), 1);
}

#[test]
fn images_are_named_by_id_abbreviated_id_name_and_labels() {
    let rkt = TestRkt::new();
    let old = fetch_new(&rkt, "example.com/app", "1.0");
    let new = fetch_new(&rkt, "example.com/app", "2.0");
    let found = |image: &str| {
        let manifest = json(&rkt.run(["image", "cat-manifest", image]).expect_code(0));
        manifest["labels"][0]["value"].as_str().expect("a version").to_owned()
    };

    assert_eq!(found(&old), "1.0");
    assert_eq!(found(&new[..19]), "2.0");
    assert_eq!(found("example.com/app:1.0"), "1.0");
    assert_eq!(found("example.com/app,version=2.0,os=linux"), "2.0");
    assert_eq!(found("example.com/app"), "2.0", "the newest");
}

#[test]
fn an_image_that_is_not_there_is_refused_by_name() {
    let rkt = TestRkt::new();
    fetch_new(&rkt, "example.com/app", "1.0");
    let cases = [
        ("sha512-0123456789abcdef", "cat-manifest: cannot resolve image ID: no image IDs found"),
        ("sha512-0", "cannot resolve image ID: image ID too short"),
        (
            "example.com/app:3.0",
            "cat-manifest: cannot find image: cannot find aci satisfying name: \"example.com/app\" and labels: \
             [{\"version\" \"3.0\"}] in the local store",
        ),
        ("docker://busybox", "says where to fetch an image from"),
        ("Not A Name", "cannot find image: "),
    ];

    for (image, expected) in cases {
        let output = rkt.run(["image", "cat-manifest", image]).expect_code(RKT_FAILED);

        assert!(output.err().contains(expected), "{image}: {output:?}");
    }
}

#[test]
fn an_abbreviated_id_that_means_several_images_is_refused() {
    let rkt = TestRkt::new();
    // Of 257 images two agree in the first byte of their hash; these two do.
    let mut first_by_prefix = std::collections::HashMap::new();
    let (one, other, prefix) = (0..)
        .find_map(|number: u32| {
            let image = image_of("example.com/app", &number.to_string());
            let prefix = publisher::image_id(&image)[..9].to_owned();
            first_by_prefix.insert(prefix.clone(), image.clone()).map(|one| (one, image, prefix))
        })
        .expect("there are only 256 prefixes");
    for image in [one, other] {
        image.write(&rkt.path("app.aci"));
        fetch(&rkt, "./app.aci");
    }

    let output = rkt.run(["image", "cat-manifest", &prefix]).expect_code(RKT_FAILED);

    output.expect_err(&format!("cannot resolve image ID: ambiguous image ID: \"{prefix}\""));
}

#[test]
fn rm_removes_images_and_says_which() {
    let rkt = TestRkt::new();
    let (one, other) = (fetch_new(&rkt, "example.com/a", "1"), fetch_new(&rkt, "example.com/b", "1"));
    let kept = fetch_new(&rkt, "example.com/c", "1");

    let output = rkt.run(["image", "rm", &one, "example.com/b", "example.com/b:1"]).expect_code(0);

    for id in [one, other] {
        assert!(
            output.out().contains(&format!("successfully removed aci for image: {id:?}\n")),
            "{output:?}"
        );
    }
    assert!(output.err().contains("rm: 2 image(s) successfully removed"), "{output:?}");
    assert_eq!(listed(&rkt, &[]), [kept]);
    assert_eq!(blobs(&rkt).len(), 1);
}

#[test]
fn rm_of_an_image_that_is_not_there_says_so_and_succeeds() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1");

    let output = rkt.run(["image", "rm", "example.com/other", "example.com/app"]).expect_code(0);

    output.expect_err("example.com/other").expect_out(&id);
    assert_eq!(listed(&rkt, &[]), [] as [&str; 0]);
}

#[test]
fn rm_without_an_image_is_refused() {
    let output = TestRkt::new().run(["image", "rm"]);

    output.expect_code(RKT_FAILED).expect_err("rm: must provide at least one image ID");
}

#[test]
fn rm_of_an_image_that_a_pod_uses_leaves_the_pod_as_it_is() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    rkt.run(publisher::run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);

    rkt.run(["image", "rm", "example.com/app"]).expect_code(0);

    assert_eq!(rkt.status_value(&rkt.uuid("uuid"), "app-app").as_deref(), Some("0"));
    rkt.run(["rm", &rkt.uuid("uuid")]).expect_code(0);
}

#[test]
fn an_image_is_fetched_again_after_it_was_removed() {
    let rkt = TestRkt::new();
    publisher::image(&rkt, "app.aci");
    let id = fetch(&rkt, "./app.aci");
    rkt.run(["image", "rm", &id]).expect_code(0);

    let output = rkt.run(["--insecure-options=image", "image", "fetch", "./app.aci"]).expect_code(0);

    assert_eq!(output.out().trim(), publisher::image_id(&small_image()));
}

#[test]
fn images_can_be_listed_and_removed_while_others_are_fetched() {
    let rkt = TestRkt::new();
    let mut fetches = Vec::new();
    for number in 0..6 {
        let file = format!("{number}.aci");
        image_of("example.com/app", &number.to_string()).write(&rkt.path(&file));
        fetches.push(rkt.start(["--insecure-options=image", "fetch", &format!("./{file}")]));
    }

    for _ in 0..10 {
        rkt.run(["image", "list"]).expect_code(0);
        rkt.run(["image", "rm", "example.com/app"]).expect_code(0);
    }
    for fetch in fetches {
        let output = fetch.finish(limit(60));
        // Removed before its tree was rendered.
        let gone = output.code() == RKT_FAILED && output.err().contains("is not in the store");
        assert!(output.code() == 0 || gone, "{output:?}");
    }
    while !listed(&rkt, &[]).is_empty() {
        rkt.run(["image", "rm", "example.com/app"]).expect_code(0);
    }

    assert_eq!(blobs(&rkt), [] as [std::path::PathBuf; 0]);
}

/// The rkt of a machine with a group whose members share the store, and its number.
fn shared_store() -> (TestRkt, u32) {
    const GROUP: u32 = 54_321;
    let rkt = TestRkt::new();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("setting a mode");
    };
    mode(rkt.directory(), 0o755);
    chown(rkt.data(), None, Some(GROUP)).expect("setting a group");
    mode(&rkt.data(), 0o2750);
    // A copy, because the checkout may lie in a home directory that nobody else may enter.
    fs::copy(dist::file("rkt"), rkt.path("rkt")).expect("copying rkt");
    (rkt, GROUP)
}

/// `rkt ARGUMENTS…` as a user without privileges and of this group.
fn as_user(rkt: &TestRkt, group: u32, arguments: &[&str]) -> Finished {
    let root = rkt.command(arguments);
    let mut command = Command::new(rkt.path("rkt"));
    command.args(root.get_args()).current_dir("/").uid(65534).gid(group);
    command::run(&mut command, limit(60))
}

#[test]
fn members_of_the_stores_group_may_look_at_images() {
    let (rkt, group) = shared_store();
    let id = fetch_new(&rkt, "example.com/app", "1.0");

    as_user(&rkt, group, &["image", "list", "--full"]).expect_code(0).expect_out(&id);
    as_user(&rkt, group, &["image", "cat-manifest", "example.com/app"])
        .expect_code(0)
        .expect_out("ImageManifest");
    fs::create_dir(rkt.path("out")).expect("creating a directory");
    chown(rkt.path("out"), Some(65534), None).expect("giving it away");
    let file = rkt.path("out/app.aci");
    as_user(&rkt, group, &["image", "export", &id, file.to_str().expect("UTF-8")]).expect_code(0);
    assert_eq!(fs::read(file).expect("reading"), image_of("example.com/app", "1.0").tar());
}

#[test]
fn others_are_told_that_they_may_not() {
    let (rkt, _) = shared_store();
    fetch_new(&rkt, "example.com/app", "1.0");

    let output = as_user(&rkt, 65534, &["image", "list"]).expect_code(RKT_FAILED);

    output.expect_err("list: cannot open store: ").expect_err("Permission denied");
}
