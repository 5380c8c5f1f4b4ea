//! `rkt app …` when something is wrong: with what was asked for, with stage1, with the disk, or with rkt itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{Stream, limit};
use rkt_tests::leaks;
use rkt_tests::random::Random;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::stub_stage1::Stub;

use crate::app_commands::{OTHER, app_status, apps, manifest, sandbox, sandbox_arguments, states, traces};
use crate::held_pod::{directory, exited, note, release, rkt, rkt_with, start};
use crate::publisher::NAME;

const NOTHING: [&str; 0] = [];

/// Makes the stub's entrypoint `app/NAME` fail, or not any more.
fn fails(rkt: &TestRkt, uuid: &str, name: &str, code: Option<u8>) {
    let file = directory(rkt, uuid).join(format!("stub-{name}-code"));
    match code {
        Some(code) => fs::write(file, format!("{code}\n")).expect("writing"),
        None => fs::remove_file(file).expect("removing"),
    }
}

/// The disk as it is without the mark of whoever looks.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).expect("listing").flatten() {
            if entry.file_type().expect("a kind").is_dir() {
                waiting.push(entry.path());
            }
            found.push(entry.path().display().to_string());
        }
    }
    found.retain(|path| !path.contains("/stub-"));
    found.sort();
    found
}

#[test]
fn an_app_is_added_to_nothing_but_a_mutable_pod_that_is_up() {
    let mut rkt = rkt();
    let immutable = start(&rkt, "immutable", &["./app.aci"]);
    let add = |uuid: &str| rkt.run(["app", "add", uuid, NAME, "--name=b"]).expect_code(RKT_FAILED);

    add(&immutable.uuid).expect_err("add: error adding app to pod: immutable pod");
    for (command, doing) in [("start", "starting"), ("stop", "stopping"), ("rm", "removing")] {
        let output = rkt.run(["app", command, &immutable.uuid, "--app=app"]).expect_code(RKT_FAILED);
        output.expect_err(&format!("{command}: error {doing} app: immutable pod"));
    }
    assert_eq!(states(&rkt, &immutable.uuid), ["app running"]);
    add("ffffffff").expect_err("add: problem retrieving pod: no matches found");
    release(&rkt, immutable);
    let ended = rkt.uuid("immutable");
    add(&ended).expect_err(&format!("add: pod \"{ended}\" isn't currently running"));
    rkt.run(["app", "start", &ended, "--app=app"])
        .expect_code(RKT_FAILED)
        .expect_err("isn't currently running");
    let stopped = rkt.run(["app", "stop", &ended, "--app=app"]).expect_code(0);
    assert_eq!(stopped.out(), format!("pod \"{ended}\" is already stopped\n"));
    fs::write(rkt.path("hold"), "").expect("writing");
    fs::write(rkt.path("ready-hold"), "").expect("writing");
    let ready = rkt.path("ready-hold");
    rkt.set_env("STUB_READY_HOLD", &ready);
    let mut process = rkt.start(sandbox_arguments(&["--uuid-file-save=uuid"]));
    let uuid = rkt.wait_for_uuid(&mut process, &rkt.path("uuid"));
    rkt.wait_for_state(&uuid, "running");
    let early = rkt.run(["app", "add", &uuid, NAME]).expect_code(RKT_FAILED);
    early.expect_err(&format!("add: supervisor for pod \"{uuid}\" is not yet ready"));
    fs::remove_file(ready).expect("removing");
    process.wait_for(Stream::Out, "stub: pod is up", limit(60));
    rkt.run(["app", "add", &uuid, NAME]).expect_code(0);
    fs::remove_file(rkt.path("hold")).expect("removing");
    process.finish(limit(60)).expect_code(0);
}

#[test]
fn an_app_that_cannot_be_is_refused_before_anything_is_changed() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    rkt.run(["app", "add", &pod.uuid, NAME, "--name=a"]).expect_code(0);
    let before = files(&directory(&rkt, &pod.uuid));
    let mut plain = aci::manifest("example.com/plain");
    plain.as_object_mut().expect("an object").remove("app");
    Aci::new(&plain).write(&rkt.path("plain.aci"));
    rkt.run(["fetch", "--insecure-options=image", "./plain.aci"]).expect_code(0);
    let unfetched = "sha512-0000000000000000000000000000000000000000000000000000000000000000";
    let words: [(&[&str], &str); 15] = [
        (&[], "add: must provide the pod UUID and an IMAGEID"),
        (&[&pod.uuid], "add: must provide the pod UUID and an IMAGEID"),
        (&[&pod.uuid, NAME, OTHER], "add: must give only one app"),
        (&[&pod.uuid, NAME, "--name=a"], "add: error adding app to pod: error: multiple apps with name a"),
        (&[&pod.uuid, NAME, "--name=a-created"], "their status files would be the same"),
        (&[&pod.uuid, "example.com/unknown"], "add: error finding image \"example.com/unknown\""),
        (&[&pod.uuid, unfetched], "add: error finding image"),
        (&[&pod.uuid, "example.com/plain"], "has no app section and --exec argument is not provided"),
        (
            &[&pod.uuid, NAME, "--mount=volume=v,target=/v"],
            "dangling mount point \"/v\": volume \"v\" not found",
        ),
        (
            &[&pod.uuid, NAME, "--mnt-volume=name=v,kind=host,source=/does/not/exist,target=/v"],
            "/does/not/exist",
        ),
        (
            &[&pod.uuid, "example.com/stub-stage1", "--exec=/x"],
            "the image of the pod's stage1 cannot be one of its apps",
        ),
        (&[&pod.uuid, NAME, "--signature=x"], "unknown flag: --signature"),
        (&[&pod.uuid, NAME, "--volume=v,kind=empty"], "unknown flag: --volume"),
        (&["--name=x", &pod.uuid, NAME], "--name must follow an image"),
        (&[&pod.uuid, NAME, "--mnt-volume=name=v,target=/v"], "unrecognized volume kind"),
    ];

    for (words, why) in words {
        rkt.run([&["app", "add"], words].concat()).expect_code(RKT_FAILED).expect_err(why);
    }
    let run = ["run", "--stage1-path=stub.aci", "./app.aci", "--mnt-volume=name=v,kind=empty,target=/v"];
    rkt.run(run).expect_code(RKT_FAILED).expect_err("unknown flag: --mnt-volume");
    for (words, why) in [
        (vec!["app", "start"], "must provide the pod UUID"),
        (vec!["app", "start", &pod.uuid], "must provide the app to start"),
        (vec!["app", "stop", &pod.uuid], "must provide the app to stop"),
        (vec!["app", "rm", &pod.uuid], "must provide the app to remove"),
        (vec!["app", "rm", &pod.uuid, "--app=A B"], "invalid app name"),
    ] {
        rkt.run(words).expect_code(RKT_FAILED).expect_err(why);
    }
    assert_eq!(files(&directory(&rkt, &pod.uuid)), before);
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-add-arguments")[2], "--app=a");
    release(&rkt, pod);
}

#[test]
fn a_stage1_that_cannot_add_apps_says_so_before_anything_is_changed() {
    for (missing, why) in
        [("app/add", "entrypoint \"app/add\" not found"), ("enter", "entrypoint \"enter\" not found")]
    {
        let rkt = rkt_with(&Stub::default().without(missing));
        let pod = sandbox(&rkt, &[]);

        let output = rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(RKT_FAILED);

        output.expect_err(&format!("add: error adding app to pod: {why}"));
        assert_eq!((apps(&rkt, &pod.uuid).len(), traces(&rkt, &pod.uuid, "app").len()), (0, 0));
        release(&rkt, pod);
    }
}

#[test]
fn an_app_that_stage1_does_not_take_leaves_no_trace_and_stage1_has_the_last_word() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    rkt.run(["app", "add", &pod.uuid, NAME, "--name=neighbour"]).expect_code(0);
    let before = files(&directory(&rkt, &pod.uuid));
    fails(&rkt, &pod.uuid, "add", Some(3));

    let output = rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(RKT_FAILED);

    assert_eq!(
        output.err().lines().filter(|line| !line.contains("group \"rkt\"")).collect::<Vec<_>>(),
        ["stub: add failed", "add: error adding app to pod: exit status 3"]
    );
    assert_eq!(note(&rkt, &pod.uuid, "stub-app-rm-arguments"), ["--debug=false", "--app=app"]);
    assert_eq!(files(&directory(&rkt, &pod.uuid)), before);
    assert_eq!(apps(&rkt, &pod.uuid), ["neighbour"]);
    fails(&rkt, &pod.uuid, "add", None);
    rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(0);
    release(&rkt, pod);
}

#[test]
fn an_app_that_stage1_neither_takes_nor_gives_up_can_be_removed_later() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    fails(&rkt, &pod.uuid, "add", Some(3));
    fails(&rkt, &pod.uuid, "rm", Some(4));

    let output = rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(RKT_FAILED);

    output.expect_err("add: error undoing what was done: exit status 4").expect_err("exit status 3");
    assert_eq!(states(&rkt, &pod.uuid), ["app unknown"]);
    let start = rkt.run(["app", "start", &pod.uuid, "--app=app"]).expect_code(RKT_FAILED);
    start.expect_err("app \"app\" is being added or removed, or was not to the end");
    rkt.run(["app", "rm", &pod.uuid, "--app=app"])
        .expect_code(RKT_FAILED)
        .expect_err("error removing app: exit status 4");
    fails(&rkt, &pod.uuid, "rm", None);
    fails(&rkt, &pod.uuid, "add", None);
    rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(0);
    assert_eq!(states(&rkt, &pod.uuid), ["app created"]);
    rkt.run(["app", "rm", &pod.uuid, "--app=app"]).expect_code(0);
    assert_eq!(traces(&rkt, &pod.uuid, "app"), NOTHING);
    release(&rkt, pod);
}

#[test]
fn an_app_that_stage1_does_not_start_is_what_it_was() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    let app = |command: &str| rkt.run(["app", command, &pod.uuid, "--app=app"]);
    rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(0);
    fails(&rkt, &pod.uuid, "start", Some(9));
    let created = app_status(&rkt, &pod.uuid, "app");

    app("start")
        .expect_code(RKT_FAILED)
        .expect_err("stub: start failed")
        .expect_err("start: error starting app: exit status 9");

    assert_eq!(app_status(&rkt, &pod.uuid, "app"), created);
    fails(&rkt, &pod.uuid, "start", None);
    app("start").expect_code(0);
    app("stop").expect_code(0);
    let exited = app_status(&rkt, &pod.uuid, "app");
    fails(&rkt, &pod.uuid, "start", Some(5));
    app("start").expect_code(RKT_FAILED).expect_err("app \"app\" is unknown to stage1");
    assert_eq!(app_status(&rkt, &pod.uuid, "app"), exited);
    fails(&rkt, &pod.uuid, "start", None);
    app("start").expect_code(0);
    let running = app_status(&rkt, &pod.uuid, "app");
    app("start").expect_code(0);
    assert_eq!(app_status(&rkt, &pod.uuid, "app"), running, "it was started before");
    fails(&rkt, &pod.uuid, "stop", Some(1));
    app("stop").expect_code(RKT_FAILED).expect_err("stop: error stopping app: exit status 1");
    app("rm").expect_code(RKT_FAILED).expect_err("rm: error removing app: exit status 1");
    assert_eq!(states(&rkt, &pod.uuid), ["app running"]);
    release(&rkt, pod);
}

#[test]
fn what_stage1_says_is_shown_when_it_fails_or_with_debug_only() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);

    let quiet = rkt.run(["app", "add", &pod.uuid, NAME]).expect_code(0);
    let debug = rkt.run(["--debug", "app", "start", &pod.uuid, "--app=app"]).expect_code(0);

    assert!(!quiet.err().contains("stub: "), "{quiet:?}");
    assert_eq!((quiet.out(), debug.out()), (String::new(), String::new()));
    debug.expect_err("stub: start app");
    release(&rkt, pod);
}

#[test]
fn eight_apps_added_at_once_are_all_there() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    let names: Vec<String> = (1..=8).map(|number| format!("--name=app-{number}")).collect();

    let adds: Vec<_> = names.iter().map(|name| rkt.start(["app", "add", &pod.uuid, NAME, name])).collect();
    adds.into_iter().for_each(|add| drop(add.finish(limit(60)).expect_code(0)));

    let mut found = apps(&rkt, &pod.uuid);
    found.sort();
    let expected: Vec<_> = (1..=8).map(|number| format!("app-{number}")).collect();
    assert_eq!(found, expected);
    let rms: Vec<_> =
        expected.iter().map(|name| rkt.start(["app", "rm", &pod.uuid, "--app", name])).collect();
    rms.into_iter().for_each(|rm| drop(rm.finish(limit(60)).expect_code(0)));
    assert_eq!((apps(&rkt, &pod.uuid).len(), traces(&rkt, &pod.uuid, "app").len()), (0, 0));
    release(&rkt, pod);
}

#[test]
fn of_eight_that_add_the_same_app_one_succeeds() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);

    let adds: Vec<_> = (0..8).map(|_| rkt.start(["app", "add", &pod.uuid, NAME])).collect();
    let outcomes: Vec<_> = adds.into_iter().map(|add| add.finish(limit(60))).collect();

    assert_eq!(outcomes.iter().filter(|outcome| outcome.code() == 0).count(), 1, "{outcomes:?}");
    let refused =
        outcomes.iter().filter(|outcome| outcome.err().contains("error: multiple apps with name app"));
    assert_eq!(refused.count(), 7);
    assert_eq!(states(&rkt, &pod.uuid), ["app created"]);
    release(&rkt, pod);
}

#[test]
fn stage1s_program_that_outlives_a_killed_rkt_is_waited_for() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    let hold = directory(&rkt, &pod.uuid).join("stub-add-hold");
    fs::write(&hold, "").expect("writing");
    let add = rkt.start(["app", "add", &pod.uuid, NAME]);
    let noted = directory(&rkt, &pod.uuid).join("stub-app-add-program");
    while !fs::read_to_string(&noted).is_ok_and(|text| text.ends_with('\n')) {
        std::thread::sleep(Duration::from_millis(20));
    }
    add.send(Signal::SIGKILL);
    add.finish(limit(60)).expect_code(128 + 9);
    assert_eq!(states(&rkt, &pod.uuid), ["app unknown"]);
    let mut again = rkt.start(["app", "add", &pod.uuid, NAME]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!again.has_ended(), "it did not wait: {}", again.so_far(Stream::Err));

    fs::remove_file(hold).expect("removing");

    again.finish(limit(60)).expect_code(0);
    assert_eq!(states(&rkt, &pod.uuid), ["app created"]);
    release(&rkt, pod);
}

#[test]
fn an_app_that_fills_the_disk_leaves_no_trace() {
    let rkt = rkt();
    let (kind, data) = (Some("tmpfs"), rkt.data());
    let room = |mebibytes: u32, flags| {
        let options = format!("size={mebibytes}m,mode=0755");
        mount(kind, &data, kind, flags, Some(options.as_str())).expect("mounting");
    };
    room(64, MsFlags::empty());
    let pod = sandbox(&rkt, &["--no-overlay"]);
    Aci::new(&aci::manifest("example.com/large"))
        .file("rootfs/app", 0o755, &Random::new().bytes(12 << 20))
        .write(&rkt.path("large.aci"));
    rkt.run(["fetch", "--insecure-options=image", "./large.aci"]).expect_code(0);
    let before = files(&directory(&rkt, &pod.uuid));
    room(30, MsFlags::MS_REMOUNT);

    let output = rkt.run(["app", "add", &pod.uuid, "example.com/large"]).expect_code(RKT_FAILED);

    output.expect_err("add: error adding app to pod: ").expect_err("No space left on device");
    assert_eq!(files(&directory(&rkt, &pod.uuid)), before);
    assert_eq!(apps(&rkt, &pod.uuid), NOTHING);
    room(64, MsFlags::MS_REMOUNT);
    rkt.run(["app", "add", &pod.uuid, "example.com/large"]).expect_code(0);
    release(&rkt, pod);
}

#[test]
fn a_manifest_that_nobody_would_read_any_more_is_not_written() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    let note = format!("--user-annotation=text={}", "x".repeat(120_000));
    let add = |number: u32| rkt.run(["app", "add", &pod.uuid, NAME, &format!("--name=app-{number}"), &note]);
    let mut added = 0;

    let refused = loop {
        let output = add(added);
        if output.code() != 0 {
            break output;
        }
        added += 1;
        assert!(added < 20, "there is no limit");
    };

    refused.expect_code(RKT_FAILED).expect_err("too many apps");
    assert_eq!(apps(&rkt, &pod.uuid).len(), added as usize);
    assert_eq!(traces(&rkt, &pod.uuid, &format!("app-{added}")), NOTHING);
    release(&rkt, pod);
}

#[test]
fn an_app_of_an_exited_pod_is_removed_without_stage1_also_after_a_reboot() {
    for reboot in [false, true] {
        let rkt = rkt();
        let pod = sandbox(&rkt, &[]);
        let uuid = pod.uuid.clone();
        rkt.run(["app", "add", &uuid, NAME]).expect_code(0);
        rkt.run(["app", "add", &uuid, NAME, "--name=kept"]).expect_code(0);
        rkt.run(["app", "start", &uuid, "--app=app"]).expect_code(0);
        release(&rkt, pod);
        assert_eq!(states(&rkt, &uuid), ["app exited", "kept exited"]);
        if reboot {
            leaks::unmount_below(&rkt.data());
        }

        rkt.run(["app", "rm", &uuid, "--app=app"]).expect_code(0);

        assert_eq!(apps(&rkt, &uuid), ["kept"]);
        assert_eq!(traces(&rkt, &uuid, "app").into_iter().filter(|path| !path.contains("kept")).count(), 0);
        assert!(!directory(&rkt, &uuid).join("stub-app-rm-arguments").exists());
        let output = rkt.run(["app", "rm", &uuid, "--app=app"]).expect_code(RKT_FAILED);
        output.expect_err("rm: error removing app: error: nonexistent app \"app\"");
        rkt.run(["export", &uuid, "kept.aci"]).expect_code(0);
        rkt.run(["app", "rm", &uuid, "--app=kept"]).expect_code(0);
        rkt.run(["list", "--format=json"]).expect_code(0).expect_out(&uuid);
        rkt.run(["export", &uuid, "none.aci"]).expect_code(RKT_FAILED).expect_err("pod contains zero apps");
        rkt.run(["rm", &uuid]).expect_code(0);
        rkt.expect_nothing_left();
    }
}

#[test]
fn two_apps_of_one_image_do_not_share_their_end() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    for name in ["--name=one", "--name=two"] {
        rkt.run(["app", "add", &pod.uuid, NAME, name]).expect_code(0);
    }
    let root = directory(&rkt, &pod.uuid).join("stage1/rootfs/opt/stage2");
    fs::write(root.join("one/rootfs/written"), "by one").expect("writing");
    fs::write(root.join("two/rootfs/written"), "by two").expect("writing");

    rkt.run(["app", "rm", &pod.uuid, "--app=one"]).expect_code(0);
    rkt.run(["app", "add", &pod.uuid, NAME, "--name=one"]).expect_code(0);

    assert_eq!(fs::read_to_string(root.join("two/rootfs/written")).expect("reading"), "by two");
    assert!(!root.join("one/rootfs/written").exists(), "a new app has what an old one wrote");
    release(&rkt, pod);
}

#[test]
fn lists_and_stores_know_the_apps_of_a_sandbox() {
    let rkt = rkt();
    let pod = sandbox(&rkt, &[]);
    rkt.run(["app", "add", &pod.uuid, NAME, "--name=one"]).expect_code(0);
    rkt.run(["app", "add", &pod.uuid, OTHER, "--name=two"]).expect_code(0);
    rkt.run(["app", "start", &pod.uuid, "--app=two"]).expect_code(0);

    let listed = rkt.run(["list", "--no-legend"]).expect_code(0).out();
    let json = rkt.run(["list", "--format=json"]).expect_code(0).out();

    assert!(listed.contains("one") && listed.contains(OTHER), "{listed}");
    assert!(json.contains(r#""name":"one","state":"created""#), "{json}");
    assert!(json.contains(r#""name":"two","state":"running""#), "{json}");
    assert_eq!(manifest(&rkt, &pod.uuid)["apps"].as_array().map(Vec::len), Some(2));
    let gc = rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);
    assert!(!gc.err().contains("removed treestore"), "{gc:?}");
    rkt.run(["image", "list"]).expect_code(0).expect_out(NAME).expect_out(OTHER);
    rkt.run(["app", "rm", &pod.uuid, "--app=one"]).expect_code(0);
    rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0).expect_err("removed treestore");
    release(&rkt, pod);
    let uuid = exited(&rkt, &["./app.aci"]);
    assert_eq!(states(&rkt, &uuid), ["app exited"]);
}
