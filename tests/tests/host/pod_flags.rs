//! Flags that `run` and `prepare` share: what becomes of them in the pod's manifest, and which images they lead to.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rkt_tests::command::{self, limit};
use rkt_tests::gpg::Gpg;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::stub_stage1;
use serde_json::{Value, json};

use crate::publisher::{self, rkt_with_image};

/// The two commands that make pods.
const COMMANDS: [&str; 2] = ["run", "prepare"];

/// Makes a pod with the stub stage1; the pod's manifest.
#[track_caller]
fn manifest_of(rkt: &TestRkt, command: &str, arguments: &[&str]) -> Value {
    let fixed = [command, "--insecure-options=image", "--stage1-path=stub.aci"];
    rkt.run([&fixed, arguments].concat()).expect_code(0);
    serde_json::from_slice(&fs::read(only_pod(rkt, command).join("pod")).expect("reading")).expect("JSON")
}

/// The pod that the command made, which is the only one of its kind.
#[track_caller]
fn only_pod(rkt: &TestRkt, command: &str) -> PathBuf {
    let state = if command == "run" { "run" } else { "prepared" };
    let pods = rkt.pods_in(state);
    assert_eq!(pods.len(), 1, "{pods:?} in {state}");
    rkt.data().join("pods").join(state).join(&pods[0])
}

/// The value of an environment variable of the manifest's only app.
fn environment<'m>(manifest: &'m Value, name: &str) -> Option<&'m str> {
    let variables = manifest["apps"][0]["app"]["environment"].as_array()?;
    variables.iter().find(|variable| variable["name"] == name)?["value"].as_str()
}

#[test]
fn flags_of_an_app_end_up_in_the_pod_manifest() {
    for command in COMMANDS {
        let rkt = rkt_with_image();

        let manifest = manifest_of(
            &rkt,
            command,
            &[
                "--volume=data,kind=empty",
                "--mount=volume=data,target=/everywhere",
                "./app.aci",
                "--name=web",
                "--exec=/bin/server",
                "--working-dir=/srv",
                "--user=1",
                "--group=2",
                "--supplementary-gids=3,4",
                "--environment=COLOUR=blue",
                "--annotation=example.com/note=hello",
                "--memory=64Mi",
                "--cpu=500m",
                "--readonly-rootfs=true",
                "--mount=volume=data,target=/data",
                "--",
                "--verbose",
            ],
        );

        let app = &manifest["apps"][0];
        assert_eq!(app["name"], "web");
        assert_eq!(app["readOnlyRootFS"], true);
        assert_eq!(app["app"]["exec"], json!(["/bin/server", "--verbose"]));
        assert_eq!(app["app"]["workingDirectory"], "/srv");
        assert_eq!((&app["app"]["user"], &app["app"]["group"]), (&json!("1"), &json!("2")));
        assert_eq!(app["app"]["supplementaryGIDs"], json!([3, 4]));
        assert_eq!(environment(&manifest, "COLOUR"), Some("blue"));
        let annotations = app["annotations"].as_array().expect("annotations");
        assert!(annotations.contains(&json!({ "name": "example.com/note", "value": "hello" })), "{app}");
        let isolators = app["app"]["isolators"].as_array().expect("isolators");
        let limit = |name: &str| {
            isolators.iter().find(|isolator| isolator["name"] == name).map(|found| &found["value"]["limit"])
        };
        assert_eq!(limit("resource/memory"), Some(&json!("64Mi")));
        assert_eq!(limit("resource/cpu"), Some(&json!("500m")));
        let mounts: Vec<&Value> =
            app["mounts"].as_array().expect("mounts").iter().map(|mount| &mount["path"]).collect();
        assert!(mounts.contains(&&json!("/data")) && mounts.contains(&&json!("/everywhere")), "{mounts:?}");
        assert_eq!(manifest["volumes"][0]["name"], "data");
    }
}

#[test]
fn isolation_and_notes_of_an_app_end_up_in_the_pod_manifest() {
    for command in COMMANDS {
        let rkt = rkt_with_image();

        let manifest = manifest_of(
            &rkt,
            command,
            &[
                "./app.aci",
                "--name=one",
                "--caps-retain=CAP_NET_ADMIN,CAP_KILL",
                "--cpu-shares=512",
                "--seccomp=mode=retain,errno=EPERM,read,write",
                "--oom-score-adj=100",
                "--user-annotation=owner=me",
                "--user-label=tier=web",
                "./app.aci",
                "--name=two",
                "--caps-remove=CAP_KILL",
                "./app.aci",
                "--name=three",
                "--cap-retain=CAP_KILL",
                "./app.aci",
                "--name=four",
                "--cap-remove=CAP_KILL",
            ],
        );

        let isolator = |app: usize, name: &str| {
            let isolators = manifest["apps"][app]["app"]["isolators"].as_array().expect("isolators");
            isolators.iter().find(|isolator| isolator["name"] == name).map(|found| found["value"].clone())
        };
        let (retain, remove) = ("os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set");
        assert_eq!(isolator(0, retain), Some(json!({ "set": ["CAP_NET_ADMIN", "CAP_KILL"] })));
        assert_eq!(isolator(0, "os/linux/cpu-shares"), Some(json!(512)));
        assert_eq!(isolator(0, "os/linux/oom-score-adj"), Some(json!(100)));
        let seccomp = json!({ "set": ["read", "write"], "errno": "EPERM" });
        assert_eq!(isolator(0, "os/linux/seccomp-retain-set"), Some(seccomp));
        assert_eq!(manifest["apps"][0]["app"]["userAnnotations"], json!({ "owner": "me" }));
        assert_eq!(manifest["apps"][0]["app"]["userLabels"], json!({ "tier": "web" }));
        assert_eq!(isolator(1, remove), Some(json!({ "set": ["CAP_KILL"] })));
        assert_eq!(isolator(2, retain), isolator(1, remove));
        assert_eq!(isolator(3, remove), isolator(1, remove));
    }
}

#[test]
fn environment_comes_from_flags_files_and_the_caller() {
    for command in COMMANDS {
        let mut rkt = rkt_with_image();
        rkt.set_env("INHERITED", "caller");
        fs::write(rkt.path("variables"), "# a comment\nFROM_FILE=a b\n").expect("writing");

        let flags = ["--inherit-env", "--set-env=FROM_FLAG=1", "--set-env-file=variables", "./app.aci"];
        let manifest = manifest_of(&rkt, command, &flags);

        assert_eq!(environment(&manifest, "FROM_FLAG"), Some("1"));
        assert_eq!(environment(&manifest, "FROM_FILE"), Some("a b"));
        assert_eq!(environment(&manifest, "INHERITED"), Some("caller"));
        let twice = ["--set-env=A=1", "--set-env=A=2", "./app.aci"];
        rkt.run([&[command], &twice[..]].concat()).expect_code(RKT_FAILED).expect_err("already set");
    }
}

#[test]
fn a_pod_manifest_given_by_file_is_kept_as_it_is() {
    for command in COMMANDS {
        let rkt = rkt_with_image();
        let id = rkt.run(["--insecure-options=image", "fetch", "--full", "./app.aci"]).expect_code(0).out();
        let given = json!({
            "acKind": "PodManifest",
            "acVersion": "0.8.11",
            "apps": [{
                "name": "mine",
                "image": { "id": id.trim() },
                "app": { "exec": ["/app"], "user": "0", "group": "0" },
            }],
            "annotations": [{ "name": "example.com/kept", "value": "yes" }],
        });
        fs::write(rkt.path("manifest.json"), given.to_string()).expect("writing");

        let manifest = manifest_of(&rkt, command, &["--pod-manifest=manifest.json"]);

        assert_eq!(manifest["apps"][0]["name"], "mine");
        assert_eq!(manifest["annotations"], given["annotations"]);
        let both = rkt.run([command, "--pod-manifest=manifest.json", "./app.aci"]);
        both.expect_code(RKT_FAILED).expect_err("conflicting flags set with --pod-manifest");
    }
}

#[test]
fn a_detached_signature_lies_where_the_flag_says() {
    let gpg = Gpg::new();
    for command in
        [&["run", "--stage1-path=stub.aci"][..], &["prepare", "--stage1-path=stub.aci"], &["image", "fetch"]]
    {
        let rkt = rkt_with_image();
        let key = publisher::trusted_key(&rkt, &gpg);
        let signature = gpg.sign(&key, &rkt.path("app.aci"));
        fs::rename(signature, rkt.path("elsewhere.asc")).expect("moving");
        // The stub stage1 is nobody's; a stage1 image that is named by a path needs a signature too.
        let stage1 = gpg.sign(&key, &rkt.path("stub.aci"));
        assert!(stage1.exists());

        let unsigned = rkt.run([command, &["./app.aci"]].concat());
        let signed = rkt.run([command, &["./app.aci", "--signature=elsewhere.asc"]].concat());

        unsigned.expect_code(RKT_FAILED);
        signed.expect_code(0).expect_err("signature verified:");
    }
}

#[test]
fn images_are_fetched_again_as_the_pull_policy_says() {
    let commands: [&[&str]; 3] =
        [&["run", "--stage1-path=stub.aci"], &["prepare", "--stage1-path=stub.aci"], &["image", "fetch"]];
    for command in commands {
        let rkt = rkt_with_image();
        let go =
            |flag: &str, image: &str| rkt.run([command, &["--insecure-options=image", flag, image]].concat());

        let never = go("--pull-policy=never", "example.com/app");
        go("--pull-policy=new", "./app.aci").expect_code(0);
        let stored = go("--store-only", "example.com/app");
        let anew = go("--no-store", "./app.aci");

        never.expect_code(RKT_FAILED);
        stored.expect_code(0).expect_err("Flag --store-only has been deprecated");
        anew.expect_code(0).expect_err("Flag --no-store has been deprecated");
        let both = rkt.run([command, &["--store-only", "--no-store", "example.com/app"]].concat());
        both.expect_code(RKT_FAILED).expect_err("both --store-only and --no-store specified");
    }
}

#[test]
fn a_stage1_image_is_taken_from_wherever_it_is() {
    let rkt = rkt_with_image();
    let fetched = rkt.run(["--insecure-options=image", "fetch", "--full", "./stub.aci"]).expect_code(0).out();
    let paths = rkt.local_config().join("paths.d");
    fs::create_dir_all(&paths).expect("a directory");
    let configuration =
        json!({ "rktKind": "paths", "rktVersion": "v1", "stage1-images": rkt.directory() }).to_string();
    fs::write(paths.join("paths.json"), configuration).expect("writing");
    let flags = [
        format!("--stage1-url=file://{}", rkt.path("stub.aci").display()),
        format!("--stage1-name={}:1.0.0", stub_stage1::NAME),
        format!("--stage1-hash={}", fetched.trim()),
        "--stage1-from-dir=stub.aci".to_owned(),
    ];

    for flag in &flags {
        let uuid = rkt.run(["prepare", "--insecure-options=image", flag, "./app.aci"]).expect_code(0).out();
        let run =
            ["run", "--insecure-options=image", "--ipc=private", "--uuid-file-save=uuid", flag, "./app.aci"];
        rkt.run(run).expect_code(0).expect_out("stub: pod is up");

        for pod in [format!("prepared/{}", uuid.trim()), format!("run/{}", rkt.uuid("uuid"))] {
            let stage1 = rkt.data().join("pods").join(pod).join("stage1/manifest");
            let stage1 = fs::read_to_string(stage1).expect("reading");
            assert!(stage1.contains(stub_stage1::NAME), "{flag}: {stage1}");
        }
    }
    let two = rkt.run(["prepare", &flags[0], &flags[1], "./app.aci"]).expect_code(RKT_FAILED);
    two.expect_err("flags --stage1-url and --stage1-name are mutually exclusive");
}

#[test]
fn checks_of_apps_that_are_off_are_passed_on_to_stage1() {
    let cases = [
        ("capabilities", &["--disable-capabilities-restriction"][..]),
        ("paths", &["--disable-paths"]),
        ("seccomp", &["--disable-seccomp"]),
        ("all-run", &["--disable-capabilities-restriction", "--disable-paths", "--disable-seccomp"]),
        ("all", &["--disable-capabilities-restriction", "--disable-paths", "--disable-seccomp"]),
        ("ondisk", &[]),
    ];
    for (option, expected) in cases {
        let rkt = rkt_with_image();
        // An unsigned image from a file needs `image`, which `all` includes.
        let options = if option == "all" { option.to_owned() } else { format!("image,{option}") };

        let flag = format!("--insecure-options={options}");
        rkt.run(["run", &flag, "--stage1-path=stub.aci", "./app.aci"]).expect_code(0);

        let arguments = fs::read_to_string(only_pod(&rkt, "run").join("stub-arguments")).expect("reading");
        let disabled: Vec<&str> = arguments.lines().filter(|line| line.starts_with("--disable-")).collect();
        assert_eq!(disabled, expected, "{option}");
    }
}

#[test]
fn checks_of_images_that_are_off_are_those_of_fetching() {
    let rkt = rkt_with_image();

    let refused = rkt.run(["--insecure-options=none", "fetch", "./app.aci"]);
    let accepted = rkt.run(["--insecure-options=all-fetch", "fetch", "./app.aci"]);

    refused.expect_code(RKT_FAILED);
    accepted.expect_code(0).expect_out("sha512-");
    let unknown = rkt.run(["--insecure-options=image,sleep", "fetch", "./app.aci"]);
    unknown.expect_code(RKT_FAILED).expect_err("unknown option \"sleep\"");
}

#[test]
fn run_prepared_gives_the_pod_its_names_when_it_runs() {
    let rkt = rkt_with_image();
    let prepare = ["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "./app.aci"];
    let uuid = rkt.run(prepare).expect_code(0).out();
    let flags = ["--dns=192.0.2.1", "--dns-search=a.example", "--dns-opt=ndots:2", "--dns-domain=b.example"];

    rkt.run([&["run-prepared"], &flags[..], &[uuid.trim()]].concat()).expect_code(0);

    let file = only_pod(&rkt, "run").join("stage1/rootfs/etc/rkt-resolv.conf");
    let text = fs::read_to_string(file).expect("stage0 wrote it");
    for line in ["nameserver 192.0.2.1", "search a.example", "options ndots:2", "domain b.example"] {
        assert!(text.lines().any(|found| found == line), "no {line} in {text}");
    }
}

#[test]
fn where_overlays_are_impossible_trees_are_copied() {
    let rkt = rkt_with_image();
    let data = rkt.path("old-disk");
    fs::create_dir(&data).expect("a directory");
    // Overlays need the types of files in directories, which this file system does not keep there.
    let script = "truncate -s 64M disk && mke2fs -q -t ext4 -O ^filetype disk && \
                  mount --make-private -o loop disk \"$0\" && exec \"$@\"";
    let run = rkt.command(publisher::run_arguments(&["--dir=old-disk", "./app.aci"]));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&data);
    command.arg(run.get_program()).args(run.get_args()).current_dir(rkt.directory());

    let output = command::run(&mut command, limit(60)).expect_code(0);

    output.expect_err("disabling overlay support: \"").expect_out("stub: pod is up");
}
