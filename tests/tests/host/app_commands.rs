//! `rkt app …`: a pod without apps, and apps that come and go. What stage1 does with them is the stub's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{Stream, limit};
use rkt_tests::leaks;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::stub_stage1::Stub;
use serde_json::{Value, json};

use crate::held_pod::{HeldPod, directory, note, release, rkt, rkt_with};
use crate::publisher::NAME;

/// An image of another name, with an environment and two arguments.
pub const OTHER: &str = "example.com/other";

/// The command of a sandbox of the stub.
pub fn sandbox_arguments<'a>(further: &[&'a str]) -> Vec<&'a str> {
    [&["app", "sandbox", "--insecure-options=image", "--stage1-path=stub.aci"], further].concat()
}

/// A sandbox that runs, in an rkt with the images [`NAME`] and [`OTHER`] in its store.
pub fn sandbox(rkt: &TestRkt, further: &[&str]) -> HeldPod {
    fetch(rkt);
    let arguments = [&["--uuid-file-save=sandbox"], further].concat();
    let mut process = rkt.start(sandbox_arguments(&arguments));
    process.wait_for(Stream::Out, "stub: pod is up", limit(60));
    HeldPod { process, uuid: rkt.uuid("sandbox") }
}

fn fetch(rkt: &TestRkt) {
    let mut manifest = aci::manifest(OTHER);
    manifest["app"]["exec"] = json!(["/app", "one", "two"]);
    manifest["app"]["environment"] = json!([{ "name": "COLOUR", "value": "blue" }]);
    Aci::new(&manifest)
        .directory("rootfs/etc", 0o755)
        .file("rootfs/app", 0o755, b"#!/bin/sh\n")
        .write(&rkt.path("other.aci"));
    rkt.run(["fetch", "--insecure-options=image", "./app.aci", "./other.aci"]).expect_code(0);
}

pub fn manifest(rkt: &TestRkt, uuid: &str) -> Value {
    let text = rkt.run(["cat-manifest", uuid]).expect_code(0).out();
    serde_json::from_str(&text).expect("JSON")
}

/// Names of the apps in the pod's manifest.
pub fn apps(rkt: &TestRkt, uuid: &str) -> Vec<String> {
    let manifest = manifest(rkt, uuid);
    let apps = manifest["apps"].as_array().expect("a list").iter();
    apps.map(|app| app["name"].as_str().expect("a name").to_owned()).collect()
}

/// The states that `app list` prints, by name.
pub fn states(rkt: &TestRkt, uuid: &str) -> Vec<String> {
    let table = rkt.run(["app", "list", "--no-legend", uuid]).expect_code(0).out();
    table
        .lines()
        .map(|line| line.split('\t').filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" "))
        .collect()
}

pub fn app_status(rkt: &TestRkt, uuid: &str, app: &str) -> Value {
    let output = rkt.run(["app", "status", uuid, "--app", app, "--format=json"]).expect_code(0);
    serde_json::from_str(&output.out()).expect("JSON")
}

/// Everything below a pod's directory that has to do with an app, mounts included.
pub fn traces(rkt: &TestRkt, uuid: &str, app: &str) -> Vec<String> {
    let pod = directory(rkt, uuid);
    let mut found: Vec<String> =
        leaks::mounts_below(&pod).into_iter().filter(|point| point.contains(app)).collect();
    for place in ["appsinfo", "stage1/rootfs/opt/stage2", "stage1/rootfs/rkt/env", "stage1/rootfs/rkt/status"]
    {
        let entries = fs::read_dir(pod.join(place)).into_iter().flatten().flatten();
        found.extend(
            entries.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(app)),
        );
    }
    let overlays = fs::read_dir(pod.join("overlay")).into_iter().flatten().flatten();
    for overlay in overlays {
        for layer in ["upper", "work"] {
            let own = overlay.path().join(layer).join(app);
            found.extend(own.exists().then(|| own.display().to_string()));
        }
    }
    found
}

#[test]
fn a_sandbox_is_an_empty_mutable_pod_that_stage1_is_told_of() {
    let rkt = rkt();
    let pod = sandbox(
        &rkt,
        &[
            "--net",
            "none",
            "--dns=8.8.8.8",
            "--dns-search=a.test",
            "--dns-opt=debug",
            "--dns-domain=b.test",
            "--hosts-entry=10.0.0.1=db",
            "--hostname=box",
            "--annotation=coreos.com/rkt/experiment/logmode=k8s-plain",
            "--user-annotation=team=a",
            "--user-label=tier=b",
        ],
    );

    let arguments = note(&rkt, &pod.uuid, "stub-arguments");
    let expected = [
        "--net=none",
        &format!("--local-config={}", rkt.local_config().display()),
        "--hostname=box",
        "--dns-conf-mode=resolv=stage0,hosts=stage0",
        "--mutable",
        &pod.uuid,
    ];
    assert_eq!(arguments, expected);
    let manifest = manifest(&rkt, &pod.uuid);
    let annotations = json!([
        { "name": "coreos.com/rkt/experiment/logmode", "value": "k8s-plain" },
        { "name": "coreos.com/rkt/stage1/mutable", "value": "true" },
    ]);
    assert_eq!(manifest["annotations"], annotations);
    assert_eq!(manifest["apps"], json!([]));
    assert_eq!(
        (&manifest["userAnnotations"], &manifest["userLabels"]),
        (&json!({"team": "a"}), &json!({"tier": "b"}))
    );
    let root = directory(&rkt, &pod.uuid).join("stage1/rootfs/etc");
    assert!(
        fs::read_to_string(root.join("rkt-resolv.conf")).expect("reading").contains("nameserver 8.8.8.8")
    );
    assert!(fs::read_to_string(root.join("rkt-hosts")).expect("reading").contains("10.0.0.1 db"));
    let listed = rkt.run(["list", "--no-legend"]).expect_code(0).out();
    assert!(listed.starts_with(&pod.uuid[..8]) && listed.contains("\t-\t"), "{listed}");
    assert!(listed.contains("running"), "{listed}");
    assert_eq!(rkt.run(["app", "list", &pod.uuid]).expect_code(0).out(), "NAME\tSTATE\n");
    assert_eq!(rkt.status_value(&pod.uuid, "exited").as_deref(), Some("false"));
    release(&rkt, pod);
}

#[test]
fn ports_of_a_sandbox_say_themselves_where_they_lead() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &["--port=http:tcp:8080:127.0.0.1:80", "--port=dns:udp:53:0.0.0.0:5353"]);

    let ports = manifest(&rkt, &pod.uuid)["ports"].clone();

    let port = |name: &str, protocol: &str, port: u16| json!({ "name": name, "protocol": protocol, "port": port, "count": 1, "socketActivated": false });
    let expected = json!([
        { "name": "http", "hostPort": 80, "hostIP": "127.0.0.1", "podPort": port("http", "tcp", 8080) },
        { "name": "dns", "hostPort": 5353, "hostIP": "0.0.0.0", "podPort": port("dns", "udp", 53) },
    ]);
    assert_eq!(ports, expected);
    release(&rkt, pod);
}

#[test]
fn what_makes_no_sense_for_a_sandbox_is_refused_before_there_is_one() {
    let rkt = rkt();
    for (flags, why) in [
        (
            vec!["--port=http:tcp:8080:127.0.0.1:80", "--net=none"],
            "--port flag does not work with 'none' networking",
        ),
        (vec!["--net=a,a"], "found duplicate netname"),
        (vec!["--dns=nowhere"], "Invalid IP passed to --dns: nowhere"),
        (vec!["--stage1-url=https://a.test/x"], "mutually exclusive"),
        (vec!["--annotation=A B=c"], "error parsing --annotation"),
    ] {
        rkt.run(sandbox_arguments(&flags)).expect_code(1).expect_err("sandbox: ").expect_err(why);
    }
    rkt.run(sandbox_arguments(&["--port=http:80"])).expect_code(RKT_FAILED).expect_err("Error: ");
    rkt.run(sandbox_arguments(&["--net"]))
        .expect_code(RKT_FAILED)
        .expect_err("flag needs an argument: --net");
    assert!(rkt.pods_in("run").is_empty() && rkt.pods_in("prepare").is_empty());
}

#[test]
fn a_stage1_whose_apps_cannot_come_and_go_runs_no_sandbox() {
    for missing in ["app/rm", "app/start", "app/stop"] {
        let rkt = rkt_with(&Stub::default().without(missing));

        let output = rkt.run(sandbox_arguments(&["--uuid-file-save=sandbox"]));

        output.expect_code(1).expect_err("sandbox: stage1 does not support mutable pods");
        assert!(rkt.pods_in("run").is_empty() && !rkt.path("sandbox").exists(), "{missing}");
    }
}

#[test]
fn stage1_can_be_named_for_a_sandbox_in_every_way() {
    let rkt = rkt();
    let key = rkt.run(["fetch", "--full", "--insecure-options=image", "./stub.aci"]).expect_code(0).out();
    fs::remove_file(rkt.path("hold")).expect("removing");
    fs::create_dir(rkt.path("images")).expect("creating");
    fs::copy(rkt.path("stub.aci"), rkt.path("images/stub.aci")).expect("copying");
    fs::create_dir_all(rkt.local_config().join("paths.d")).expect("creating");
    let paths = json!({ "rktKind": "paths", "rktVersion": "v1", "stage1-images": rkt.path("images") });
    fs::write(rkt.local_config().join("paths.d/paths.json"), paths.to_string()).expect("writing");
    let url = format!("--stage1-url=file://{}", rkt.path("stub.aci").display());
    let hash = format!("--stage1-hash={}", key.trim());

    for flag in ["--stage1-name=example.com/stub-stage1:1.0.0", &hash, &url, "--stage1-from-dir=stub.aci"] {
        let output = rkt.run(["app", "sandbox", "--insecure-options=image", flag]);
        output.expect_code(0).expect_out("stub: pod is up");
    }
}

#[test]
fn an_added_app_is_in_the_manifest_and_mounted_when_stage1_hears_of_it() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    let pod_directory = directory(&rkt, &pod.uuid);
    let mode = fs::metadata(pod_directory.join("pod")).expect("a manifest").mode();
    let mut add = rkt.command(["--debug", "app", "add", &pod.uuid, OTHER, "--name=a"]);
    add.env("PATH", "/bin:/usr/bin").env("SECRET", "x");

    let output = rkt_tests::command::run(&mut add, limit(60)).expect_code(0);

    output.expect_err("stub: add a");
    let arguments = ["--debug=true".to_owned(), format!("--uuid={}", pod.uuid), "--app=a".to_owned()];
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-add-arguments"), arguments);
    let stage1 = pod_directory.join("stage1/rootfs");
    let mut environment = note(&rkt, &pod.uuid, "stub-app-add-environment");
    environment.sort();
    let expected = [
        "PATH=/bin:/usr/bin".to_owned(),
        format!("RKT_STAGE1_ENTERCMD={}", stage1.join("enter").display()),
        format!("RKT_STAGE1_ENTERPID={}", pod.process.pid()),
    ];
    assert_eq!(environment, expected);
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-add-directory"), [pod_directory.to_str().expect("UTF-8")]);
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-add-program"), [stage1.join("app_add").display().to_string()]);
    assert_eq!(apps(&rkt, &pod.uuid), ["a"]);
    assert_eq!(fs::metadata(pod_directory.join("pod")).expect("a manifest").mode(), mode);
    let root = stage1.join("opt/stage2/a/rootfs");
    assert!(leaks::mounts_below(&pod_directory).contains(&root.display().to_string()));
    assert_eq!(fs::read_link(root.join("etc/mtab")).expect("a link"), Path::new("../proc/self/mounts"));
    let info = pod_directory.join("appsinfo/a");
    assert_eq!(
        fs::read(info.join("manifest")).expect("reading"),
        fs::read(stage1.join("opt/stage2/a/manifest")).expect("reading")
    );
    let tree = fs::read_to_string(info.join("treeStoreID")).expect("reading");
    assert!(pod_directory.join("overlay").join(&tree).join("upper/a").is_dir());
    assert_eq!(fs::read_dir(&info).expect("listing").count(), 2);
    let environment = fs::read_to_string(stage1.join("rkt/env/a")).expect("reading");
    assert_eq!(environment, "COLOUR=blue\nAC_APP_NAME=a\n");
    assert_eq!(states(&rkt, &pod.uuid), ["a created"]);
    release(&rkt, pod);
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    rkt.expect_nothing_left();
}

#[test]
fn without_overlay_an_added_app_is_a_copy() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &["--no-overlay"]);

    rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(0);

    let root = directory(&rkt, &pod.uuid).join("stage1/rootfs/opt/stage2/app");
    assert!(root.join("rootfs/app").is_file() && root.join("manifest").is_file());
    assert!(leaks::mounts_below(&rkt.data()).is_empty());
    rkt.run(["app", "rm", &pod.uuid, "--app=app"]).expect_code(0);
    assert_eq!(traces(&rkt, &pod.uuid, "app"), [] as [&str; 0]);
    release(&rkt, pod);
}

#[test]
fn every_flag_of_an_app_counts_for_an_added_one_and_arguments_replace_the_images() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    fs::create_dir(rkt.path("shared data")).expect("creating");
    let source = rkt.path("shared+data").display().to_string();
    let volume = format!("--mnt-volume=name=data,kind=host,source={source},target=/data,readOnly=true");
    let flags = [
        "--name=a",
        "--working-dir=/srv",
        "--readonly-rootfs=true",
        &volume,
        "--mnt-volume=name=scratch,kind=empty,target=/scratch,mode=0700,uid=1,gid=2",
        "--user=7",
        "--group=8",
        "--supplementary-gids=9,10",
        "--environment=SHAPE=round",
        "--annotation=example.com/note=x",
        "--user-annotation=team=a",
        "--user-label=tier=b",
        "--memory=64M",
        "--cpu=500m",
        "--cpu-shares=512",
        "--caps-retain=CAP_NET_BIND_SERVICE",
        "--seccomp=mode=retain,errno=EPERM,chmod",
        "--oom-score-adj=-5",
        "--stdin=stream",
        "--stdout=stream",
        "--stderr=log",
        "--",
        "x",
        "--y",
    ];

    rkt.run([&["app", "add", &pod.uuid, OTHER], &flags[..]].concat()).expect_code(0);
    rkt.run(["app", "add", &pod.uuid, OTHER, "--name=b", "--exec=/bin/b", "--caps-remove=CAP_MKNOD"])
        .expect_code(0);

    let manifest = manifest(&rkt, &pod.uuid);
    let app = &manifest["apps"][0];
    assert_eq!(app["app"]["exec"], json!(["/app", "x", "--y"]));
    assert_eq!(app["app"]["workingDirectory"], "/srv");
    assert_eq!((&app["app"]["user"], &app["app"]["group"]), (&json!("7"), &json!("8")));
    assert_eq!(app["app"]["supplementaryGIDs"], json!([9, 10]));
    let environment = json!([{ "name": "COLOUR", "value": "blue" }, { "name": "SHAPE", "value": "round" }]);
    assert_eq!(app["app"]["environment"], environment);
    assert_eq!(
        (&app["app"]["userAnnotations"], &app["app"]["userLabels"]),
        (&json!({"team": "a"}), &json!({"tier": "b"}))
    );
    assert_eq!(app["readOnlyRootFS"], true);
    let names: Vec<_> =
        app["app"]["isolators"].as_array().expect("a list").iter().map(|i| i["name"].clone()).collect();
    let isolators = [
        "resource/memory",
        "resource/cpu",
        "os/linux/cpu-shares",
        "os/linux/oom-score-adj",
        "os/linux/capabilities-retain-set",
        "os/linux/seccomp-retain-set",
    ];
    assert_eq!(names, isolators);
    let annotations: Vec<_> = app["annotations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| (a["name"].clone(), a["value"].clone()))
        .collect();
    let stream = |name: &str, mode: &str| (json!(format!("coreos.com/rkt/stage2/{name}")), json!(mode));
    let expected = [
        (json!("example.com/note"), json!("x")),
        stream("stdin", "stream"),
        stream("stdout", "stream"),
        stream("stderr", "log"),
    ];
    assert_eq!(annotations, expected);
    let shared = rkt.path("shared data").display().to_string();
    let mounts = json!([
        { "volume": "data", "path": "/data",
          "appVolume": { "name": "data", "kind": "host", "source": shared, "readOnly": true } },
        { "volume": "scratch", "path": "/scratch",
          "appVolume": { "name": "scratch", "kind": "empty", "mode": "0700", "uid": 1, "gid": 2 } },
    ]);
    assert_eq!(app["mounts"], mounts);
    assert_eq!(manifest["apps"][1]["app"]["exec"], json!(["/bin/b"]));
    let status = rkt.run(["app", "status", &pod.uuid, "--app=a"]).expect_code(0).out();
    let scratch = directory(&rkt, &pod.uuid).join("sharedVolumes/scratch").display().to_string();
    assert!(
        status.contains(&format!(
            "mounts={shared}:/data:(read_only:true),{scratch}:/scratch:(read_only:false)\n"
        )),
        "{status}"
    );
    assert!(status.contains("user_annotations=team:a\nuser_labels=tier:b\n"), "{status}");
    release(&rkt, pod);
}

#[test]
fn an_app_is_started_stopped_started_again_and_removed() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    let app = |command: &str| rkt.run(["app", command, &pod.uuid, "--app=app"]);
    rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(0);
    let created = app_status(&rkt, &pod.uuid, "app");
    assert_eq!((&created["state"], created.get("started_at")), (&json!("created"), None));

    app("start").expect_code(0);

    let running = app_status(&rkt, &pod.uuid, "app");
    assert_eq!((&running["state"], running.get("finished_at")), (&json!("running"), None));
    assert!(running["started_at"].as_i64() >= created["created_at"].as_i64());
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-start-arguments"), ["--debug=false", "--app=app"]);
    app("stop").expect_code(0);
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-stop-arguments"), ["--debug=false", "--app=app"]);
    let exited = app_status(&rkt, &pod.uuid, "app");
    assert_eq!((&exited["state"], &exited["exit_code"]), (&json!("exited"), &json!(0)));
    assert!(exited["finished_at"].as_i64() >= exited["started_at"].as_i64());
    app("stop").expect_code(RKT_FAILED).expect_err("stop: error stopping app: app \"app\" is not running");
    app("start").expect_code(0);
    let again = app_status(&rkt, &pod.uuid, "app");
    assert_eq!((&again["state"], again.get("exit_code")), (&json!("running"), None));
    assert!(again["started_at"].as_i64() > running["started_at"].as_i64());
    app("rm").expect_code(0);
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-rm-arguments"), ["--debug=false", "--app=app"]);
    assert_eq!(apps(&rkt, &pod.uuid), [] as [&str; 0]);
    assert_eq!(traces(&rkt, &pod.uuid, "app"), [] as [&str; 0]);
    for command in ["start", "stop", "rm"] {
        let doing = ["starting", "stopping", "removing"]
            [["start", "stop", "rm"].iter().position(|c| *c == command).expect("one")];
        let message = format!("{command}: error {doing} app: error: nonexistent app \"app\"");
        app(command).expect_code(RKT_FAILED).expect_err(&message);
    }
    release(&rkt, pod);
}

#[test]
fn status_is_key_and_value_and_exec_is_enter() {
    let mut rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(0);
    rkt.run(["app", "add", &pod.uuid, OTHER]).expect_code(0);
    rkt.run(["app", "start", &pod.uuid, "--app=app"]).expect_code(0);

    let status = rkt.run(["app", "status", "--app=app", &pod.uuid]).expect_code(0).out();

    let keys: Vec<_> = status.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key).collect();
    assert_eq!(keys, ["name", "state", "image_id", "created_at", "started_at"]);
    assert!(status.starts_with("name=app\nstate=running\nimage_id=sha512-"), "{status}");
    let pretty =
        rkt.run(["app", "status", "--app=app", "--format=json-pretty", &pod.uuid]).expect_code(0).out();
    assert!(pretty.starts_with("{\n\t\"name\": \"app\",\n\t\"state\": \"running\""), "{pretty}");
    let missing = rkt.run(["app", "status", "--app=none", &pod.uuid]).expect_code(1);
    missing.expect_err("status: cannot find app \"none\" in the pod");
    rkt.run(["app", "status", &pod.uuid]).expect_code(1).expect_err("must provide the app");
    rkt.run(["app", "list"]).expect_code(1).expect_err("must provide exactly one UUID");
    rkt.run(["app", "list", "ffffffff"])
        .expect_code(1)
        .expect_err("list: error listing apps: no matches found");
    let table = rkt.run(["app", "list", &pod.uuid]).expect_code(0).out();
    assert_eq!(table, "NAME\tSTATE\napp\trunning\nother\tcreated\n");
    rkt.set_env("STUB_ENTER_CODE", "7");
    rkt.run(["app", "exec", "--app=app", &pod.uuid, "ls", "-l"]).expect_code(7);
    assert_eq!(note(&rkt, &pod.uuid, "stub-enter-arguments")[1..], ["--appname=app", "--", "ls", "-l"]);
    let unnamed = rkt.run(["app", "exec", &pod.uuid, "ls"]).expect_code(RKT_FAILED);
    unnamed.expect_err("exec: unable to determine app name: specify app using \"rkt app exec --app= ...\"");
    rkt.run(["app", "exec"]).expect_code(RKT_FAILED).expect_err("missing argument UUID");
    release(&rkt, pod);
}
