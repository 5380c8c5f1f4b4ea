//! `rkt attach`, and what apps' input and output are to be connected with.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use rkt_tests::command::limit;
use rkt_tests::rkt::RKT_FAILED;
use rkt_tests::stub_stage1::Stub;
use serde_json::{Value, json};

use crate::held_pod::{directory, exited, note, release, rkt, rkt_with, start};
use crate::publisher;

const STREAMS: [&str; 5] = ["./app.aci", "--stdin=stream", "--stdout=stream", "--stderr", "stream"];

#[test]
fn stdio_flags_become_annotations_of_the_app_before_them() {
    let rkt = publisher::rkt_with_image();
    let words = "prepare --insecure-options=image --stage1-path=stub.aci \
        ./app.aci --name=streams --stdin=stream --stdout=log --stderr=null \
        ./app.aci --name=tty --stdin=tty --stdout=tty --stderr=tty \
        ./app.aci --name=quiet --stdin=null --stdout=null --stderr=stream \
        ./app.aci --name=set --annotation=coreos.com/rkt/stage2/stdin=stream --stdin=null --stdout=stream --stderr=log \
        ./app.aci --name=plain";

    let uuid = rkt.run(words.split_whitespace()).expect_code(0).out();

    let manifest = rkt.run(["cat-manifest", uuid.trim()]).expect_code(0).out();
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let annotation = |stream: &str, mode: &str| json!({ "name": format!("coreos.com/rkt/stage2/{stream}"), "value": mode });
    let all = |stdin, stdout, stderr| {
        json!([annotation("stdin", stdin), annotation("stdout", stdout), annotation("stderr", stderr)])
    };
    assert_eq!(manifest["apps"][0]["annotations"], all("stream", "log", "null"));
    assert_eq!(manifest["apps"][1]["annotations"], all("tty", "tty", "tty"));
    assert_eq!(manifest["apps"][2]["annotations"], all("null", "null", "stream"));
    assert_eq!(manifest["apps"][3]["annotations"], all("null", "stream", "log"));
    assert_eq!(manifest["apps"][4]["annotations"], Value::Null);
}

#[test]
fn stdio_modes_that_do_not_exist_are_refused() {
    let rkt = publisher::rkt_with_image();

    for (flag, modes) in [
        ("--stdin=log", "must be one of \"null\", \"stream\", \"tty\""),
        ("--stdout=file", "must be one of \"log\", \"null\", \"stream\", \"tty\""),
    ] {
        let output = rkt.run(publisher::run_arguments(&["./app.aci", flag]));
        output.expect_code(RKT_FAILED).expect_err(modes);
    }
    let early = rkt.run(publisher::run_arguments(&["--stderr=log", "./app.aci"]));
    early.expect_code(RKT_FAILED).expect_err("--stderr must follow an image");
}

#[test]
fn attach_runs_stage1s_program_in_place_of_rkt_with_an_environment_of_three() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &STREAMS);
    let pod_directory = directory(&rkt, &pod.uuid);
    let mut attach = rkt.command(["attach", &pod.uuid]);
    attach.env("PATH", "/bin:/usr/bin").env("SECRET", "x");

    rkt_tests::command::run(&mut attach, limit(60)).expect_code(0);

    let stage1 = pod_directory.join("stage1/rootfs");
    let environment = [
        "PATH=/bin:/usr/bin".to_owned(),
        format!("RKT_STAGE1_ENTERCMD={}", stage1.join("enter").display()),
        format!("RKT_STAGE1_ENTERPID={}", pod.process.pid()),
    ];
    let mut found = note(&rkt, &pod.uuid, "stub-app-attach-environment");
    found.sort();
    assert_eq!(found, environment);
    let arguments = ["--action=auto-attach", "--app=app", "--debug=false"];
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-attach-arguments"), arguments);
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-attach-directory"), [pod_directory.to_str().expect("UTF-8")]);
    let program = stage1.join("attach").display().to_string();
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-attach-program"), [program]);
    release(&rkt, pod);
}

#[test]
fn attach_passes_input_output_and_the_exit_code_through() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &STREAMS);
    let pod_directory = directory(&rkt, &pod.uuid);
    fs::write(pod_directory.join("stub-attach-echo"), "").expect("writing");
    let mut attach = rkt.command(["attach", "--mode=stdin,stdout", &pod.uuid]);
    let mut attach = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starting");

    attach.stdin.take().expect("it is piped").write_all(b"hello\n").expect("writing");
    let output = attach.wait_with_output().expect("waiting");

    assert!(output.status.success() && output.stdout == b"hello\n", "{output:?}");
    fs::remove_file(pod_directory.join("stub-attach-echo")).expect("removing");
    fs::write(pod_directory.join("stub-attach-code"), "7\n").expect("writing");
    rkt.run(["attach", &pod.uuid]).expect_code(7).expect_err("stub: attach failed");
    release(&rkt, pod);
}

#[test]
fn attach_tells_stage1_which_endpoints_were_chosen() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &STREAMS);
    let custom = |flags: [bool; 5]| {
        let names = ["tty-in", "tty-out", "stdin", "stdout", "stderr"];
        let mut arguments = vec!["--action=custom-attach".to_owned()];
        arguments.extend(names.iter().zip(flags).map(|(name, chosen)| format!("--{name}={chosen}")));
        arguments
    };
    let cases = [
        ("list", vec!["--action=list".to_owned()]),
        ("", vec!["--action=auto-attach".to_owned()]),
        ("auto", vec!["--action=auto-attach".to_owned()]),
        ("stdin,stderr", custom([false, false, true, false, true])),
        ("stdout", custom([false, false, false, true, false])),
        ("tty", custom([true, true, false, false, false])),
        ("tty-out", custom([false, true, false, false, false])),
        ("tty-in", custom([true, false, false, false, false])),
    ];

    for (mode, mut expected) in cases {
        rkt.run(["--debug", "attach", "--app=app", &format!("--mode={mode}"), &pod.uuid]).expect_code(0);
        expected.extend(["--app=app".to_owned(), "--debug=true".to_owned()]);
        assert_eq!(note(&rkt, &pod.uuid, "stub-app-attach-arguments"), expected, "{mode}");
    }
    for (mode, why) in [
        ("stdio", "attach: invalid attach mode: unknown endpoint \"stdio\""),
        (",", "mode must specify at least one endpoint to attach"),
        ("tty,stdin", "incompatible endpoints \"tty,stdin\", cannot simultaneously attach TTY and streams"),
    ] {
        rkt.run(["attach", "--mode", mode, &pod.uuid]).expect_code(RKT_FAILED).expect_err(why);
    }
    release(&rkt, pod);
}

#[test]
fn attach_wants_one_app_of_a_pod_that_runs() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci", "--name=one", "./app.aci", "--name=two"]);

    let unnamed = rkt.run(["attach", &pod.uuid]).expect_code(RKT_FAILED);
    let unknown = rkt.run(["attach", "--app=three", &pod.uuid]).expect_code(RKT_FAILED);
    rkt.run(["attach"]).expect_code(RKT_FAILED).expect_err("must provide exactly one UUID");
    rkt.run(["attach", "--app=two", &pod.uuid]).expect_code(0);

    unnamed.expect_err("attach: pod contains multiple apps:").expect_err("rkt attach --app= ...");
    unknown.expect_err("attach: unable to determine app name: app three is not present in pod");
    release(&rkt, pod);
    let uuid = exited(&rkt, &["./app.aci"]);
    let output = rkt.run(["attach", &uuid]).expect_code(RKT_FAILED);
    output.expect_err(&format!("attach: pod \"{uuid}\" isn't currently running"));
}

#[test]
fn attach_says_what_a_stage1_cannot_do() {
    for missing in ["attach", "enter"] {
        let rkt = rkt_with(&Stub::default().without(missing));
        let pod = start(&rkt, "uuid", &["./app.aci"]);

        let output = rkt.run(["attach", &pod.uuid]);

        output
            .expect_code(RKT_FAILED)
            .expect_err(&format!("attach: attach failed: entrypoint {missing:?} not found"));
        release(&rkt, pod);
    }
}
