//! `list` and `status` of pods in every state, of damaged ones, and of ones that change while they are looked at.

use std::fs::{self, File};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use rkt_tests::command::limit;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::Value;

use crate::held_pod::{directory, exited, release, rkt, start};

/// A pod's directory with a manifest without apps. `number` makes its UUID.
fn pod(rkt: &TestRkt, stage: &str, number: u32) -> (String, PathBuf) {
    let uuid = format!("{number:08x}-2d04-4b2b-8b7c-9b2f0d5f6a11");
    let path = rkt.data().join("pods").join(stage).join(&uuid);
    fs::create_dir_all(&path).expect("a pod");
    let manifest = "{\"acVersion\":\"1.30.0\",\"acKind\":\"PodManifest\",\"apps\":[]}";
    fs::write(path.join("pod"), manifest).expect("writing");
    fs::write(path.join("pod-created"), "").expect("writing");
    (uuid, path)
}

fn locked(path: &PathBuf) -> Flock<File> {
    let directory = File::open(path).expect("opening");
    Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("a lock")
}

#[test]
fn every_state_is_shown_by_list_and_status() {
    let rkt = TestRkt::new();
    let cases = [
        (1, "prepare", false, "aborted prepare"),
        (2, "prepare", true, "preparing"),
        (3, "prepared", false, "prepared"),
        (4, "prepared", true, "prepared"),
        (5, "run", true, "running"),
        (6, "run", false, "exited"),
        (7, "exited-garbage", false, "exited garbage"),
        (8, "exited-garbage", true, "exited deleting"),
    ];
    let mut locks = Vec::new();
    let mut expected = Vec::new();
    for (number, stage, is_locked, state) in cases {
        let (uuid, path) = pod(&rkt, stage, number);
        locks.extend(is_locked.then(|| locked(&path)));
        expected.push((uuid, state));
    }
    for (number, stage) in [(9, "embryo"), (10, "garbage")] {
        pod(&rkt, stage, number);
    }

    let table = rkt.run(["list", "--no-legend", "--full"]).expect_code(0);
    let json = rkt.run(["list", "--format=json"]).expect_code(0);

    assert_eq!(table.err(), "");
    let rows: Vec<Vec<String>> = table
        .out()
        .lines()
        .map(|row| row.split('\t').filter(|cell| !cell.is_empty()).map(str::to_owned).collect())
        .collect();
    assert_eq!(rows.len(), expected.len(), "{rows:?}");
    for (row, (uuid, state)) in rows.iter().zip(&expected) {
        assert_eq!(row[..5], [uuid, "-", "-", "-", *state], "{row:?}");
        let unknown = row[5] == "0001-01-01 00:00:00 +0000 UTC";
        assert_eq!(unknown, ["aborted prepare", "preparing"].contains(state), "{row:?}");
        assert_eq!(rkt.status_value(uuid, "state").as_deref(), Some(*state));
    }
    let json: Value = serde_json::from_str(&json.out()).expect("JSON");
    let names: Vec<&str> =
        json.as_array().expect("pods").iter().filter_map(|pod| pod["name"].as_str()).collect();
    let known: Vec<&str> = expected[2..].iter().map(|(uuid, _)| uuid.as_str()).collect();
    assert_eq!(names, known);
    rkt.run(["status", "00000009"]).expect_code(RKT_FAILED).expect_err("no matches found");
    rkt.run(["status", "0000000"]).expect_code(RKT_FAILED).expect_err("ambiguous uuid, 8 matches");
}

#[test]
fn damaged_pods_are_reported_behind_the_others_and_stop_no_listing() {
    let rkt = TestRkt::new();
    let (good, _) = pod(&rkt, "run", 1);
    let (_, without) = pod(&rkt, "run", 2);
    fs::remove_file(without.join("pod")).expect("removing");
    let (_, half) = pod(&rkt, "run", 3);
    fs::write(half.join("pod"), "{\"acVersion\":\"1.30.0\",\"acK").expect("writing");
    let (_, networks) = pod(&rkt, "run", 4);
    fs::write(networks.join("net-info.json"), "[{").expect("writing");
    fs::write(rkt.data().join("pods/run/00000005-2d04-4b2b-8b7c-9b2f0d5f6a11"), "no directory")
        .expect("writing");
    fs::create_dir(rkt.data().join("pods/run/lost+found")).expect("a directory");

    for format in ["", "json", "json-pretty"] {
        let list = rkt.run(["list", "--full", &format!("--format={format}")]).expect_code(0);

        assert_eq!(list.out().matches("-2d04-4b2b").count(), 1, "{list:?}");
        list.clone().expect_out(&good).expect_err("4 error(s) encountered when listing pods:");
        for number in 2..=5 {
            let uuid = format!("0000000{number}-2d04-4b2b-8b7c-9b2f0d5f6a11");
            assert!(list.err().contains(&uuid), "no word of {uuid}: {list:?}");
        }
    }
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert_eq!(rkt.pods_in("exited-garbage"), Vec::<String>::new());
}

#[test]
fn list_without_pods_is_null_in_json_and_a_legend_in_text() {
    let rkt = TestRkt::new();

    assert_eq!(rkt.run(["list", "--format=json"]).expect_code(0).out(), "null\n");
    let legend = rkt.run(["list"]).expect_code(0).out();
    assert_eq!(legend, "UUID\tAPP\tIMAGE NAME\tSTATE\tCREATED\tSTARTED\tNETWORKS\n");
    assert_eq!(rkt.run(["list", "--no-legend"]).expect_code(0).out(), "");
    rkt.run(["list", "--format=yaml"]).expect_code(RKT_FAILED);
}

#[test]
fn status_has_one_line_a_fact_and_json_names_them_as_rkt_does() {
    let mut rkt = rkt();
    let networks = r#"[{"netName":"default","netConf":"net/99.conf","pluginPath":"p","ifName":"eth0","ip":"172.16.28.2","args":"","mask":"255.255.255.0"}]"#;
    rkt.set_env("STUB_NET_INFO", networks);
    let pod = start(&rkt, "uuid", &["./app.aci"]);

    let keys: Vec<String> = rkt.status(&pod.uuid).into_iter().map(|(key, _)| key).collect();
    let json = rkt.run(["status", "--format=json", "--uuid-file=uuid"]).expect_code(0).out();
    let pretty = rkt.run(["status", "--format=json-pretty", &pod.uuid]).expect_code(0).out();

    assert_eq!(keys, ["state", "created", "started", "networks", "pid", "exited"]);
    assert_eq!(rkt.status_value(&pod.uuid, "networks").as_deref(), Some("default:ip4=172.16.28.2"));
    let [mut json, mut same]: [Value; 2] =
        [&json, &pretty].map(|text| serde_json::from_str(text).expect("JSON"));
    // What a pod takes may change between two looks.
    let memory = [&mut json, &mut same].map(|pod| pod.as_object_mut().expect("an object").remove("memory"));
    assert!(memory.iter().all(Option::is_some), "{memory:?}");
    let members: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["name", "state", "networks", "app_names", "apps", "created_at", "started_at"]);
    let app: Vec<&String> = json["apps"][0].as_object().expect("an object").keys().collect();
    assert_eq!(app, ["name", "state", "created_at", "started_at", "image_id"]);
    assert_eq!(same, json);
    assert!(pretty.starts_with("{\n\t\"name\": "), "{pretty}");
    release(&rkt, pod);
}

#[test]
fn status_waits_for_readiness_and_for_the_end_as_long_as_it_is_told() {
    let mut rkt = rkt();
    let ready_hold = rkt.path("ready-hold");
    fs::write(&ready_hold, "").expect("writing");
    rkt.set_env("STUB_READY_HOLD", &ready_hold);
    let mut process = rkt.start(crate::publisher::run_arguments(&["--uuid-file-save=uuid", "./app.aci"]));
    let uuid = rkt.wait_for_uuid(&mut process, &rkt.path("uuid"));

    let finish = "error waiting for pod to finish: context deadline exceeded";
    let ready = "error waiting for pod to become ready: context deadline exceeded";
    rkt.run(["status", "--wait=1ms", &uuid]).expect_code(RKT_FAILED).expect_err(finish);
    rkt.run(["status", "--wait-ready=1ms", &uuid]).expect_code(RKT_FAILED).expect_err(ready);
    rkt.run(["status", "--wait=soon", &uuid]).expect_code(RKT_FAILED).expect_err("invalid");
    rkt.run(["status", "--wait=false", "--wait-ready=false", &uuid]).expect_code(0);
    let forever =
        ["--wait-ready", "--wait-ready=true", "--wait-ready=", "--wait-ready=-1s", "--wait-ready=1m"];
    let waiting: Vec<_> = forever.iter().map(|flag| rkt.start(["status", flag, &uuid])).collect();
    fs::remove_file(&ready_hold).expect("removing");
    for status in waiting {
        status.finish(limit(60)).expect_code(0).expect_out("state=running");
    }
    let waiting: Vec<_> =
        ["--wait", "--wait=", "--wait=-1s"].iter().map(|flag| rkt.start(["status", flag, &uuid])).collect();
    fs::remove_file(rkt.path("hold")).expect("removing");
    for status in waiting {
        status.finish(limit(60)).expect_code(0).expect_out("state=exited");
    }
    process.finish(limit(60)).expect_code(0);
}

#[test]
fn rm_takes_many_uuids_and_files_and_refuses_what_is_in_use() {
    let rkt = rkt();
    let first = exited(&rkt, &["./app.aci"]);
    let (preparing, preparing_path) = pod(&rkt, "prepare", 1);
    let (deleting, deleting_path) = pod(&rkt, "exited-garbage", 2);
    let (prepared, _) = pod(&rkt, "prepared", 3);
    let (aborted, _) = pod(&rkt, "prepare", 4);
    let locks = [locked(&preparing_path), locked(&deleting_path)];

    let all = ["rm", &first, &preparing, &deleting, &prepared, &aborted, "ffff"];
    let some = rkt.run(all).expect_code(RKT_FAILED);
    drop(locks);
    fs::write(rkt.path("file"), format!("{preparing}\n")).expect("writing");
    rkt.run(["rm", "--uuid-file=file"]).expect_code(0).expect_out(&preparing);

    assert_eq!(some.out(), format!("{first:?}\n{prepared:?}\n{aborted:?}\n"));
    for expected in [
        format!("rm: pod {preparing:?} is currently being prepared"),
        format!("rm: pod {deleting:?} is currently being deleted"),
        "rm: cannot get pod: no matches found for \"ffff\"".to_owned(),
        "rm: failed to remove one or more pods".to_owned(),
    ] {
        assert!(some.err().contains(&expected), "no {expected} in {some:?}");
    }
    rkt.run(["rm", "--uuid-file=missing"])
        .expect_code(RKT_FAILED)
        .expect_err("failed to remove one or more pods");
    assert!(!directory(&rkt, &first).exists());
    rkt.expect_nothing_left();
}

#[test]
fn gc_expires_prepared_pods_and_only_marks_when_that_is_all_it_is_to_do() {
    let rkt = rkt();
    let first = exited(&rkt, &["./app.aci"]);
    let (prepared, _) = pod(&rkt, "prepared", 1);
    let (aborted, _) = pod(&rkt, "prepare", 2);
    pod(&rkt, "garbage", 3);

    let marked = rkt.run(["gc", "--mark-only", "--expire-prepared=0s", "--grace-period=0s"]).expect_code(0);
    let collected = rkt.run(["gc", "--expire-prepared=0s"]).expect_code(0);

    assert_eq!(marked.out(), "");
    let expected =
        format!("gc: moving pod {first:?} to garbage\ngc: moving failed prepare {aborted:?} to garbage\n");
    assert_eq!(marked.err(), expected);
    let expected = format!(
        "gc: moving expired prepared pod {prepared:?} to garbage\n\
         gc: pod {first:?} not removed: still within grace period (30m0s)\n"
    );
    assert_eq!(collected.err(), expected);
    assert_eq!(collected.out().matches("Garbage collecting pod").count(), 3, "{collected:?}");
    assert_eq!(rkt.pods_in("garbage"), Vec::<String>::new());
}

#[test]
fn gcs_that_run_at_the_same_time_delete_each_pod_once() {
    let rkt = rkt();
    for _ in 0..6 {
        exited(&rkt, &["./app.aci"]);
    }

    let all: Vec<_> = (0..4).map(|_| rkt.start(["gc", "--grace-period=0s"])).collect();

    for gc in all {
        let output = gc.finish(limit(60)).expect_code(0);
        assert!(output.err().lines().all(|line| line.starts_with("gc: moving pod")), "{output:?}");
    }
    assert_eq!(rkt.pods_in("run").len() + rkt.pods_in("exited-garbage").len(), 0);
    rkt.expect_nothing_left();
}
