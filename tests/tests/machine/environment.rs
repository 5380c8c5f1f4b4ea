//! What an app finds when it starts: who it is, where it is, what its environment and root file system hold.

use serde_json::json;

use crate::pod::{INSPECT, Pod, fresh_path, pod_manifest, rkt, said, shell_app};

/// What an inspect app says when run with the flags.
#[track_caller]
fn answers(flags: &[&str], steps: &[&str]) -> Vec<String> {
    let mut pod = Pod::start(&[&[INSPECT], flags, &["--"], steps].concat());
    let output = pod.finish().expect_code(0);
    said(&output.stdout, "inspect")
}

#[test]
fn an_app_runs_as_the_user_and_group_it_was_given() {
    let by_number = ["--user=1234", "--group=4321", "--supplementary-gids=7,8"];
    // The kernel behind a user namespace is the pod's own: everybody may have one.
    let steps = ["print-user", "make-user-namespace"];
    assert_eq!(answers(&by_number, &steps), ["uid=1234 gid=4321 groups=[7, 8]", "user namespace made"]);
    let by_name = ["--user=tester", "--group=tester"];
    assert_eq!(answers(&by_name, &["print-user"])[0].split(" groups").next(), Some("uid=1000 gid=1000"));
    let by_file = ["--user=/owned", "--group=/owned"];
    assert_eq!(answers(&by_file, &["print-user"])[0].split(" groups").next(), Some("uid=1234 gid=4321"));
}

#[test]
fn an_unknown_user_is_refused_by_name() {
    let mut pod = Pod::start(&[INSPECT, "--user=nobody-at-all"]);

    pod.finish().expect_code(254).expect_err("nobody-at-all");
}

#[test]
fn an_app_starts_in_its_working_directory() {
    assert_eq!(answers(&[], &["print-cwd"]), ["cwd=/"]);
    assert_eq!(answers(&["--working-dir=/data"], &["print-cwd"]), ["cwd=/data"]);
}

#[test]
fn an_app_sees_the_environment_it_was_given_and_the_defaults() {
    let flags = ["--environment=COLOUR=blue and green"];
    let steps = ["COLOUR", "AC_APP_NAME", "HOME", "PATH"].map(|name| ["print-env", name]).concat();

    let said = answers(&flags, &steps);

    assert_eq!(said[0], "COLOUR=blue and green");
    assert_eq!(said[1], "AC_APP_NAME=inspect");
    assert!(!said[2].ends_with("(unset)") && said[3].contains("/bin"), "{said:?}");
}

#[test]
fn the_callers_environment_stays_outside() {
    let mut pod =
        Pod::start_with_env("RKT_TEST_SECRET", "secret", &[INSPECT, "--", "print-env", "RKT_TEST_SECRET"]);

    let output = pod.finish().expect_code(0);

    assert_eq!(said(&output.stdout, "inspect"), ["RKT_TEST_SECRET=(unset)"]);
}

#[test]
fn the_host_name_is_the_pods_uuid_or_the_one_asked_for() {
    let mut pod = Pod::inspect(&["print-hostname"]);
    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "inspect"), [format!("hostname=rkt-{}", pod.uuid)]);

    let mut pod = Pod::start(&["--hostname=lighthouse", INSPECT, "--", "print-hostname"]);
    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "inspect"), ["hostname=lighthouse"]);
}

#[test]
fn arguments_reach_the_app_as_they_were_given() {
    let odd = "a \"quoted\" $HOME %n \\ 'word' é";

    assert_eq!(answers(&[], &["print-msg", odd]), [odd]);
}

#[test]
fn variables_override_each_other_in_rkts_order() {
    let file = fresh_path("variables");
    std::fs::write(&file, "B=file\nC=file\nD=file\n").expect("writing a file");
    let from_file = format!("--set-env-file={}", file.display());
    let image = shell_app(
        "web",
        "env | grep '^[A-F]=\\|^AC_APP\\|^HOME\\|^SHELL\\|^USER\\|^LOGNAME'",
        &json!({
            "environment": [
                { "name": "A", "value": "image" }, { "name": "B", "value": "image" }, { "name": "HOME", "value": "/home" },
                { "name": "AC_APP_NAME", "value": "image" },
            ],
        }),
    );
    // A pod manifest takes no flags for apps; the shell prints its own variables otherwise.
    Pod::start(&[&pod_manifest(&[image])])
        .finish()
        .expect_code(0)
        .expect_out("AC_APP_NAME=web")
        .expect_out("A=image");
    let names = ["A", "B", "C", "D", "E", "HOME", "SHELL", "USER", "LOGNAME", "AC_APP_NAME"];
    let steps = names.map(|name| ["print-env", name]).concat();
    let flags = ["--inherit-env", &from_file, "--set-env=D=explicit", INSPECT];
    let of_app = ["--environment=A=app", "--environment=B=app", "--environment=AC_APP_NAME=app", "--"];

    let mut pod = Pod::start_with_envs(
        &[("A", "caller"), ("E", "caller"), ("HOME", "/caller"), ("SHELL", "/caller")],
        &[&flags[..], &of_app, &steps].concat(),
    );

    let output = pod.finish().expect_code(0);
    let expected = ["A=app", "B=file", "C=file", "D=explicit", "E=caller", "HOME=/caller", "SHELL=/caller"];
    let said = said(&output.stdout, "inspect");
    assert_eq!(said[..7], expected, "{output:?}");
    assert_eq!(said[9], "AC_APP_NAME=inspect");
}

#[test]
fn what_cannot_be_executed_is_named_with_the_reason() {
    // One pod each: what cannot be started ends it.
    let expect = |flag: &str, path: &str, why: &str| {
        Pod::start(&[INSPECT, flag]).finish().expect_code(254).expect_err(path).expect_err(why);
    };
    expect("--exec=/no/such/program", "/no/such/program", "No such file");
    expect("--exec=/not-executable", "/not-executable", "it is not executable");
    expect("--exec=/data", "/data", "it is a directory");
    expect("--working-dir=/no/such/directory", "/no/such/directory", "working directory");
}

#[test]
fn a_root_file_system_is_writable_unless_it_was_asked_to_be_read_only() {
    let writing = ["write-file", "/data/new", "text", "read-file", "/data/new"];
    assert_eq!(answers(&[], &writing), ["wrote /data/new", "text"]);

    let mut pod = Pod::start(&[&[INSPECT, "--readonly-rootfs=true", "--"], &writing[..]].concat());
    pod.finish().expect_code(120).expect_err("Read-only file system");
}

#[test]
fn files_keep_their_owner_and_mode() {
    assert_eq!(answers(&[], &["stat-file", "/owned"]), ["mode=40700 uid=1234 gid=4321"]);
}

#[test]
fn apps_share_the_loopback_of_their_pod() {
    let server = [INSPECT, "--name=server", "--", "serve", "4000", "hello over the loopback", "---"];
    let client = [INSPECT, "--name=client", "--", "connect", "4000"];

    let output = Pod::start(&[&server[..], &client[..]].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "client"), ["server says hello over the loopback"]);
}

#[test]
fn pods_do_not_share_a_loopback() {
    let mut first = Pod::inspect(&["print-msg", "ready", "serve", "4001", "private"]);
    first.wait_for("ready");

    let script = "busybox nc -w 2 127.0.0.1 4001 </dev/null; echo code $?";
    let output = Pod::start(&["example.com/busybox", "--", "-c", script]).finish().expect_code(0);

    assert_ne!(said(&output.stdout, "busybox").last().map(String::as_str), Some("code 0"));
}

#[test]
fn each_app_has_a_root_file_system_of_its_own() {
    let first = [INSPECT, "--name=first", "--", "write-file", "/data/mine", "x", "---"];
    let second = [INSPECT, "--name=second", "--", "sleep", "3", "list", "/data"];

    let output = Pod::start(&[&first[..], &second[..]].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "second"), [""]);
}

#[test]
fn what_an_app_changed_is_not_in_the_next_pod() {
    Pod::inspect(&["write-file", "/data/leftover", "x"]).finish().expect_code(0);

    assert_eq!(answers(&[], &["list", "/data"]), [""]);
    assert!(rkt().data().exists());
}

#[test]
fn of_several_apps_the_one_that_cannot_be_started_is_named() {
    let good = shell_app("good", "sleep 100000", &json!({}));
    let bad = shell_app("bad", "", &json!({ "exec": ["/no/such/program"] }));

    let output = Pod::start(&[&pod_manifest(&[good, bad])]).finish();

    output.expect_code(254).expect_err("app \"bad\" cannot be started: cannot execute \"/no/such/program\"");
}
