//! `rkt enter`: which app, which command, and what stage1 is told.

use std::fs;
use std::time::Duration;

use rkt_tests::command::{Stream, limit};
use rkt_tests::rkt::RKT_FAILED;
use rkt_tests::stub_stage1::Stub;

use crate::held_pod::{directory, exited, note, release, rkt, rkt_with, start};

const TWO_APPS: [&str; 4] = ["./app.aci", "--name=one", "./app.aci", "--name=two"];

#[test]
fn enter_runs_stage1s_program_from_the_tree_store_with_the_command_word_for_word() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);

    rkt.run(["enter", &pod.uuid, "ls", "-l", "a b", "--app=x", "", "--", "--debug"]).expect_code(0);

    let pid = format!("--pid={}", pod.process.pid());
    let expected = [&pid, "--appname=app", "--", "ls", "-l", "a b", "--app=x", "", "--", "--debug"];
    assert_eq!(note(&rkt, &pod.uuid, "stub-enter-arguments"), expected);
    let pod_directory = directory(&rkt, &pod.uuid);
    assert_eq!(note(&rkt, &pod.uuid, "stub-enter-directory"), [pod_directory.to_str().expect("UTF-8")]);
    let tree = fs::read_to_string(pod_directory.join("stage1TreeStoreID")).expect("rkt wrote it");
    let program = rkt.data().join("cas/tree").join(tree).join("rootfs/enter");
    assert_eq!(note(&rkt, &pod.uuid, "stub-enter-program"), [program.to_str().expect("UTF-8")]);
    release(&rkt, pod);
}

#[test]
fn enter_assumes_a_shell_and_ends_with_the_commands_code() {
    let mut rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);
    rkt.set_env("STUB_ENTER_CODE", "7");

    let output = rkt.run(["enter", &pod.uuid[..8]]);

    output.expect_code(7).expect_err("enter: no command specified, assuming \"/bin/bash\"");
    assert_eq!(note(&rkt, &pod.uuid, "stub-enter-arguments").last().map(String::as_str), Some("/bin/bash"));
    release(&rkt, pod);
}

#[test]
fn enter_replaces_rkt_so_that_signals_and_output_are_the_commands() {
    let mut rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);
    rkt.set_env("STUB_ENTER_EXEC", "1");

    let output = rkt.run(["enter", &pod.uuid, "/bin/sh", "-c", "echo out; echo err >&2; kill -TERM $$"]);

    assert_eq!((output.out().as_str(), output.err().as_str()), ("out\n", "err\n"));
    output.expect_code(128 + 15);
    release(&rkt, pod);
}

#[test]
fn enter_wants_a_name_where_there_are_several_apps() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &TWO_APPS);

    let unnamed = rkt.run(["enter", &pod.uuid, "ls"]).expect_code(RKT_FAILED);
    let unknown = rkt.run(["enter", "--app=three", &pod.uuid, "ls"]).expect_code(RKT_FAILED);
    let impossible = rkt.run(["enter", "--app=T T", &pod.uuid, "ls"]).expect_code(RKT_FAILED);
    rkt.run(["enter", "--app", "two", &pod.uuid, "ls"]).expect_code(0);

    let expected = "enter: pod contains multiple apps:\nenter: \tone\nenter: \ttwo\n\
        enter: unable to determine app name: specify app using \"rkt enter --app= ...\"\n";
    assert_eq!(unnamed.err(), expected);
    unknown.expect_err("enter: unable to determine app name: app three is not present in pod");
    impossible.expect_err("enter: unable to determine app name: ");
    assert_eq!(note(&rkt, &pod.uuid, "stub-enter-arguments")[1..], ["--appname=two", "--", "ls"]);
    release(&rkt, pod);
}

#[test]
fn enter_refuses_a_pod_that_does_not_run_and_one_that_is_not_there() {
    let rkt = rkt();
    let uuid = exited(&rkt, &["./app.aci"]);

    let ended = rkt.run(["enter", &uuid, "ls"]);
    let missing = rkt.run(["enter", "ffffffff", "ls"]);

    ended.expect_code(RKT_FAILED).expect_err(&format!("enter: pod \"{uuid}\" isn't currently running"));
    missing.expect_code(RKT_FAILED).expect_err("problem retrieving pod: no matches found for \"ffffffff\"");
}

#[test]
fn enter_names_the_single_child_of_a_stage1_that_gives_its_parent() {
    let mut rkt = rkt();
    rkt.set_env("STUB_PPID", "1");
    let pod = start(&rkt, "uuid", &["./app.aci"]);

    rkt.run(["enter", &pod.uuid, "ls"]).expect_code(0);

    let arguments = note(&rkt, &pod.uuid, "stub-enter-arguments");
    let child: i32 = arguments[0].strip_prefix("--pid=").expect("a pid").parse().expect("a number");
    let parent = fs::read_to_string(directory(&rkt, &pod.uuid).join("ppid")).expect("the stub wrote it");
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).expect("it runs");
    assert_eq!(stat.split(' ').nth(3), Some(parent.trim()));
    release(&rkt, pod);
}

#[test]
fn enter_waits_until_stage1_has_said_which_process_it_is_but_not_for_a_pod_that_ends() {
    let mut rkt = rkt();
    let pid_hold = rkt.path("pid-hold");
    fs::write(&pid_hold, "").expect("writing");
    rkt.set_env("STUB_PID_HOLD", &pid_hold);
    let save = "--uuid-file-save=uuid";
    let mut process = rkt.start(crate::publisher::run_arguments(&[save, "./app.aci"]));
    let uuid = rkt.wait_for_uuid(&mut process, &rkt.path("uuid"));
    rkt.wait_for_state(&uuid, "running");
    let mut early = rkt.start(["enter", &uuid, "ls"]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!early.has_ended(), "enter did not wait: {}", early.so_far(Stream::Err));

    fs::remove_file(&pid_hold).expect("removing");
    early.finish(limit(60)).expect_code(0);

    fs::remove_file(rkt.path("hold")).expect("removing");
    process.finish(limit(60)).expect_code(0);
}

#[test]
fn enter_says_what_a_stage1_cannot_do() {
    let rkt = rkt_with(&Stub::default().without("enter"));
    let pod = start(&rkt, "uuid", &["./app.aci"]);

    let output = rkt.run(["enter", &pod.uuid, "ls"]);

    output.expect_code(RKT_FAILED).expect_err("enter: enter failed: entrypoint \"enter\" not found");
    release(&rkt, pod);
}

#[test]
fn enter_wants_a_pod_and_knows_its_flags() {
    let rkt = rkt();

    rkt.run(["enter"]).expect_code(RKT_FAILED).expect_err("USAGE");
    rkt.run(["enter", "--frobnicate", "x"]).expect_code(RKT_FAILED).expect_err("unknown flag: --frobnicate");
}
