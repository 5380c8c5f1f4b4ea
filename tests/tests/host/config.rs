//! `rkt config`: what is configured where, and what is refused.

use std::fs;
use std::os::unix::process::CommandExt;

use rkt_tests::command::{self, limit};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::held_pod;

/// Writes a configuration file below the directory `root` of this rkt.
fn write(rkt: &TestRkt, root: &str, file: &str, content: &Value) {
    let path = rkt.path(root).join(file);
    fs::create_dir_all(path.parent().expect("it has one")).expect("creating a directory");
    fs::write(path, content.to_string()).expect("writing");
}

fn basic(domain: &str, user: &str) -> Value {
    json!({
        "rktKind": "auth", "rktVersion": "v1", "domains": [domain], "type": "basic",
        "credentials": { "user": user, "password": "p" },
    })
}

/// What asks for all walls around pods.
fn strict(jail: &str) -> Value {
    json!({ "rktKind": "stage1", "rktVersion": "v1", "jail": jail })
}

#[track_caller]
fn entries(rkt: &TestRkt, arguments: &[&str]) -> Vec<Value> {
    let output = rkt.run([&["config"], arguments].concat()).expect_code(0);
    let config: Value = serde_json::from_str(&output.out()).expect("JSON");
    assert_eq!(config.as_object().expect("an object").len(), 1, "{config}");
    config["stage0"].as_array().expect("an array").clone()
}

#[test]
fn without_files_there_are_paths_and_stage1_without_values() {
    let rkt = TestRkt::new();

    let found = entries(&rkt, &[]);

    let paths = json!({ "rktVersion": "v1", "rktKind": "paths", "data": "", "stage1-images": "" });
    let stage1 =
        json!({ "rktVersion": "v1", "rktKind": "stage1", "name": "", "version": "", "location": "" });
    assert_eq!(found, [paths, stage1]);
}

#[test]
fn every_kind_is_shown_in_the_form_of_its_file() {
    let rkt = TestRkt::new();
    let oauth = json!({
        "rktKind": "auth", "rktVersion": "v1", "domains": ["b.example.com"], "type": "oauth",
        "credentials": { "token": "t" },
    });
    let aws = json!({
        "rktKind": "auth", "rktVersion": "v1", "domains": ["c.s3.amazonaws.com"], "type": "aws",
        "credentials": { "accessKeyID": "k", "secretAccessKey": "s", "awsRegion": "eu-west-1" },
    });
    let docker = json!({
        "rktKind": "dockerAuth", "rktVersion": "v1", "registries": ["quay.io"],
        "credentials": { "user": "u", "password": "p" },
    });
    let paths =
        json!({ "rktKind": "paths", "rktVersion": "v1", "data": "/srv/rkt", "stage1-images": "/srv/stage1" });
    let stage1 = json!({
        "rktKind": "stage1", "rktVersion": "v1", "name": "example.com/stage1", "version": "1",
        "location": "/srv/stage1.aci", "jail": "strict",
    });
    let written = [basic("a.example.com:8443", "u"), oauth, aws, docker, paths, stage1];
    let files = [
        "auth.d/a.json",
        "auth.d/b.json",
        "auth.d/c.json",
        "auth.d/d.json",
        "paths.d/p.json",
        "stage1.d/s.json",
    ];
    for (content, file) in written.iter().zip(files) {
        write(&rkt, "local", file, content);
    }

    let found = entries(&rkt, &[]);

    assert_eq!(found, written);
}

#[test]
fn a_later_directory_overrides_an_earlier_one() {
    let rkt = TestRkt::new();
    write(&rkt, "system", "auth.d/a.json", &basic("a.com", "system"));
    write(&rkt, "system", "auth.d/b.json", &basic("b.com", "system"));
    write(&rkt, "local", "auth.d/a.json", &basic("a.com", "local"));
    write(&rkt, "user", "auth.d/b.json", &basic("b.com", "user"));
    let user = format!("--user-config={}", rkt.path("user").display());

    let found = entries(&rkt, &[&user]);

    assert_eq!(found[0]["credentials"]["user"], "local");
    assert_eq!(found[1]["credentials"]["user"], "user");
}

#[test]
fn it_is_indented_unless_that_is_turned_off() {
    let rkt = TestRkt::new();

    let pretty = rkt.run(["config"]).expect_code(0).out();
    let compact = rkt.run(["config", "--pretty-print=false"]).expect_code(0).out();

    assert!(pretty.contains("\n\t\"stage0\": ["), "{pretty}");
    assert_eq!(compact.lines().count(), 1);
}

#[test]
fn a_wrong_file_is_named_with_what_is_wrong() {
    let cases = [
        ("auth.d/x.json", basic("a.com", ""), "user not specified"),
        ("auth.d/x.json", json!({ "rktKind": "paths", "rktVersion": "v1" }), "has kind of \"paths\""),
        ("auth.d/x.json", json!({ "rktVersion": "v1" }), "no rktKind specified"),
        ("paths.d/x.json", json!({ "rktKind": "paths", "rktVersion": "v9" }), "version \"v9\""),
        ("paths.d/x.json", json!({ "rktKind": "paths", "rktVersion": "v1", "data": "a" }), "absolute path"),
        ("stage1.d/x.json", strict("lax"), "unknown variant `lax`, expected `strict`"),
    ];

    for (file, content, expected) in cases {
        let rkt = TestRkt::new();
        write(&rkt, "local", file, &content);

        let output = rkt.run(["config"]).expect_code(RKT_FAILED).expect_err(expected);

        output.expect_err("config: cannot get configuration: ").expect_err("x.json");
    }
}

#[test]
fn a_file_in_place_of_a_directory_is_refused() {
    let rkt = TestRkt::new();
    fs::write(rkt.local_config().join("auth.d"), "").expect("writing");

    let output = rkt.run(["config"]).expect_code(RKT_FAILED);

    output.expect_err("expected ").expect_err("to be a directory");
}

#[test]
fn users_without_privileges_may_see_what_they_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let rkt = TestRkt::new();
    let readable = |path: &std::path::Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("setting a mode");
    };
    readable(rkt.directory());
    fs::copy(rkt_tests::dist::file("rkt"), rkt.path("rkt")).expect("copying rkt");
    write(&rkt, "local", "auth.d/a.json", &basic("a.com", "u"));
    let as_user = || {
        let mut command = std::process::Command::new(rkt.path("rkt"));
        command.args(rkt.command(["config"]).get_args()).current_dir("/").uid(65534).gid(65534);
        command::run(&mut command, limit(60))
    };

    as_user().expect_code(0).expect_out("a.com");
    let secret = rkt.local_config().join("auth.d/a.json");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("setting a mode");

    as_user().expect_code(RKT_FAILED).expect_err("a.json").expect_err("Permission denied");
}

#[test]
fn a_host_that_is_configured_to_be_strict_has_stage1_run_no_pod_without_all_walls() {
    let rkt = held_pod::rkt();
    let asked = |uuid: &str| {
        let notes = held_pod::note(&rkt, uuid, "stub-environment");
        notes.iter().any(|line| line == "export RKT_HYPERVISOR_JAIL='strict'")
    };

    let lenient = held_pod::start(&rkt, "lenient", &["./app.aci"]);
    write(&rkt, "system", "stage1.d/jail.json", &strict("strict"));
    // Of another image, with which the word about walls has nothing to do.
    let other = json!({ "rktKind": "stage1", "rktVersion": "v1", "location": "/srv/stage1.aci" });
    write(&rkt, "local", "stage1.d/image.json", &other);
    let strict = held_pod::start(&rkt, "strict", &["./app.aci"]);

    assert!(!asked(&lenient.uuid) && asked(&strict.uuid));
    held_pod::release(&rkt, lenient);
    held_pod::release(&rkt, strict);
}
