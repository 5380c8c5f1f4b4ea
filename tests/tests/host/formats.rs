//! What programs read: JSON of pods, chosen columns of images, hashes in full.

use std::fs;

use rkt_tests::aci::{self, Aci};
use rkt_tests::rkt::TestRkt;
use serde_json::Value;

use crate::publisher::{self, run_arguments};

#[test]
fn list_and_status_print_pods_as_json() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);
    let uuid = rkt.uuid("uuid");

    let list = rkt.run(["list", "--format=json"]).expect_code(0).out();
    let pretty = rkt.run(["list", "--format", "json-pretty"]).expect_code(0).out();
    let one = rkt.run(["status", "--format=json", "--uuid-file=uuid"]).expect_code(0).out();
    let text = rkt.run(["status", "--wait-ready=5s", &uuid]).expect_code(0).out();

    let pods: Value = serde_json::from_str(&list).expect("JSON");
    let pod = &pods[0];
    assert_eq!((&pod["name"], &pod["state"]), (&Value::from(uuid.clone()), &Value::from("exited")));
    assert_eq!(pod["app_names"], serde_json::json!(["app"]));
    assert_eq!(serde_json::from_str::<Value>(&pretty).expect("JSON"), pods);
    assert!(pretty.contains("\n\t\t\"name\""), "indented with tabulators: {pretty}");
    assert_eq!(&serde_json::from_str::<Value>(&one).expect("JSON"), pod);
    for key in ["state=exited", "created=", "started=", "networks=", "pid=", "exited=true", "app-app=0"] {
        assert!(text.lines().any(|line| line.starts_with(key)), "no {key} in {text}");
    }
}

#[test]
fn gc_only_marks_when_told_so() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);
    let uuid = rkt.uuid("uuid");

    let output = rkt.run(["gc", "--mark-only", "--grace-period=0s"]).expect_code(0);
    rkt.run(["gc", "--mark-only", "--grace-period=0s"]).expect_code(0);

    output.expect_err(&format!("moving pod \"{uuid}\" to garbage"));
    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("exited garbage"));
    rkt.run(["rm", "--uuid-file=uuid"]).expect_code(0).expect_out(&format!("\"{uuid}\""));
}

#[test]
fn images_are_listed_in_the_columns_and_the_order_asked_for() {
    let rkt = TestRkt::new();
    for (name, bytes) in [("b", 10), ("a", 20_000), ("c", 400)] {
        let image = Aci::new(&aci::manifest(&format!("example.com/{name}")));
        image.file("rootfs/app", 0o755, &vec![b'x'; bytes]).write(&rkt.path("app.aci"));
        rkt.run(["--insecure-options=image", "fetch", "--full", "./app.aci"]).expect_code(0);
    }
    let names = |sort: &str, order: &str| -> String {
        let list = ["image", "list", "--no-legend", "--fields=name", sort, order];
        let output = rkt.run(list).expect_code(0).out();
        output.lines().filter_map(|line| line.strip_prefix("example.com/")?.chars().next()).collect()
    };

    assert_eq!(names("--sort=name", "--order=asc"), "abc");
    assert_eq!(names("--sort=size,name", "--order=desc"), "acb");
    assert_eq!(names("--sort=importtime", "--order=asc"), "bac");
    assert_eq!(names("--sort=lastused", "--order=desc"), "cab");
    let all = rkt.run(["image", "list", "--fields=lastused,id,size,importtime,name"]).expect_code(0).out();
    let header: Vec<&str> =
        all.lines().next().unwrap_or_default().split('\t').filter(|cell| !cell.is_empty()).collect();
    assert_eq!(header, ["LAST USED", "ID", "SIZE", "IMPORT TIME", "NAME"]);
}

#[test]
fn fetch_is_known_as_a_command_on_images_too() {
    let rkt = TestRkt::new();
    publisher::image(&rkt, "app.aci");

    let full =
        rkt.run(["--insecure-options=image", "image", "fetch", "--full", "./app.aci"]).expect_code(0).out();
    let short = rkt.run(["--insecure-options=image", "fetch", "./app.aci"]).expect_code(0).out();

    assert_eq!((full.trim().len(), short.trim().len()), (71, 39));
    assert!(full.starts_with(short.trim()));
    let blobs = fs::read_dir(rkt.data().join("cas/blob/sha512")).expect("a store").count();
    assert_eq!(blobs, 1, "it is the same image");
}
