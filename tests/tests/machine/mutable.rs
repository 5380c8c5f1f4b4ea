//! Mutable pods: apps that are added to a running virtual machine, started, stopped and removed.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use rkt_tests::command::{Finished, Stream, limit};

use rkt_tests::terminal::Terminal;

use crate::pod::{INSPECT, Pod, brief, fresh_path, inspect_with, rkt, said};

const BUSYBOX: &str = "example.com/busybox";

/// `rkt app VERB UUID …`.
#[track_caller]
fn app(pod: &Pod, verb: &str, rest: &[&str]) -> Finished {
    rkt().run([&["app", verb, &pod.uuid], rest].concat())
}

/// `rkt app exec`. What follows the pod is the command's.
#[track_caller]
fn exec(pod: &Pod, name: &str, command: &[&str]) -> Finished {
    rkt().run([&["app", "exec", &format!("--app={name}"), &pod.uuid], command].concat())
}

/// Adds an app that runs a shell script.
#[track_caller]
fn add(pod: &Pod, name: &str, flags: &[&str], script: &str) {
    let name = format!("--name={name}");
    app(pod, "add", &[&[BUSYBOX, &name], flags, &["--", "-c", script]].concat()).expect_code(0);
}

/// The value of a line of `rkt app status`.
#[track_caller]
fn status(pod: &Pod, name: &str, key: &str) -> String {
    let status = app(pod, "status", &[&format!("--app={name}")]).expect_code(0).out();
    let value = status.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
    value.unwrap_or_else(|| panic!("no {key} in {status}")).to_owned()
}

#[track_caller]
fn wait_for_exit(pod: &Pod, name: &str) {
    let until = std::time::Instant::now() + brief();
    while status(pod, name, "state") != "exited" {
        assert!(std::time::Instant::now() < until, "app {name} does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn apps_come_and_go_while_the_pod_runs() {
    let mut pod = Pod::sandbox();

    // An app that fails ends nothing but itself.
    let own = "--mnt-volume=name=own,kind=empty,target=/own";
    let script = "echo once more >> /runs; mkdir -p /own/run; echo run $(wc -l < /runs); exit 3";
    add(&pod, "fails", &[own], script);
    exec(&pod, "fails", &["true"]).expect_code(254).expect_err("has not been started");
    app(&pod, "start", &["--app=fails"]).expect_code(0);
    pod.wait_for("run 1");
    wait_for_exit(&pod, "fails");
    assert_eq!(status(&pod, "fails", "exit_code"), "3");

    // Another one runs beside it, can be entered, and the first one is started again: its files are still there.
    add(&pod, "stays", &[], "trap 'echo told to end; exit 0' TERM; echo here; while :; do sleep 0.1; done");
    app(&pod, "start", &["--app=stays"]).expect_code(0);
    pod.wait_for("here");
    let entered = exec(&pod, "stays", &["sh", "-c", "echo $AC_APP_NAME; exit 5"]).expect_code(5);
    assert_eq!(entered.out(), "stays\n");
    app(&pod, "start", &["--app=fails"]).expect_code(0);
    pod.wait_for("run 2");
    wait_for_exit(&pod, "fails");
    app(&pod, "start", &["--app=stays"]).expect_code(254).expect_err("running already");

    // What cannot be executed is an answer, not the pod's end.
    app(&pod, "add", &[BUSYBOX, "--name=missing", "--exec=/no/such/program"]).expect_code(0);
    app(&pod, "start", &["--app=missing"]).expect_code(254).expect_err("/no/such/program");
    assert_eq!(status(&pod, "missing", "state"), "created");

    app(&pod, "stop", &["--app=stays"]).expect_code(0);
    pod.wait_for("told to end");
    assert_eq!(status(&pod, "stays", "state"), "exited");
    app(&pod, "stop", &["--app=stays"]).expect_err("app \"stays\" is not running");
    let list = app(&pod, "list", &["--no-legend"]).expect_code(0).out();
    let words: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words.len(), 3, "{list}");
    assert!(words.contains(&vec!["stays", "exited"]), "{list}");

    // A removed app leaves nothing, and another one of its name starts with the files of its image.
    app(&pod, "rm", &["--app=fails"]).expect_code(0);
    assert!(!app(&pod, "list", &["--no-legend"]).out().contains("fails"));
    let volumes = fs::read_dir(rkt().data().join("pods/run").join(&pod.uuid).join("sharedVolumes"))
        .expect("the pod's volumes");
    assert_eq!(volumes.count(), 0, "the app's own volume went with it");
    let server = pod.file_server();
    let root = fs::read_dir(format!("/proc/{server}/root/apps")).expect("the shared tree");
    let mut names: Vec<String> =
        root.map(|entry| entry.expect("reading").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["missing", "stays"]);
    add(&pod, "fails", &[own], "test -e /runs -o -e /own/run && echo old files; echo fresh");
    app(&pod, "start", &["--app=fails"]).expect_code(0);
    pod.wait_for("fresh");
    wait_for_exit(&pod, "fails");

    let logs = rkt().run(["logs", "--app=fails", &pod.uuid]).expect_code(0).out();
    rkt().run(["stop", &pod.uuid]).expect_code(0);
    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "fails"), ["run 1", "run 2", "fresh"]);
    assert!(logs.contains("run 1") && logs.contains("run 2"), "{logs}");
    rkt().run(["rm", &pod.uuid]).expect_code(0);
    pod.expect_nothing_left();
}

#[test]
fn added_apps_share_volumes_and_are_killed_alone() {
    let mut pod = Pod::sandbox();
    let directory = fresh_path("volume");
    fs::create_dir(&directory).expect("creating");
    fs::write(directory.join("greeting"), "from the host").expect("writing");
    let host = format!("--mnt-volume=name=host,kind=host,source={},target=/host", directory.display());
    let writer = "cat /host/greeting; echo; echo written > /host/answer; exec sleep 100000";
    add(&pod, "writer", &[&host], writer);
    add(
        &pod,
        "reader",
        &[&host],
        "cat /host/answer; while ! grep again /host/greeting; do sleep 0.2; done; exec sleep 1000",
    );
    app(&pod, "start", &["--app=writer"]).expect_code(0);
    pod.wait_for("from the host");
    app(&pod, "start", &["--app=reader"]).expect_code(0);
    pod.wait_for("written");
    // The guest trusts its caches for a second, although the pod had no volume of the host when it booted.
    fs::write(directory.join("greeting"), "from the host again").expect("writing");
    pod.running().wait_for(Stream::Out, "from the host again", limit(30));
    assert_eq!(fs::read_to_string(directory.join("answer")).expect("the app's file"), "written\n");

    app(&pod, "rm", &["--app=writer"]).expect_code(0);
    assert_eq!(status(&pod, "reader", "state"), "running");
    app(&pod, "add", &[BUSYBOX, "--name=reader"]).expect_code(254);
    app(&pod, "stop", &["--app=writer"]).expect_code(254).expect_err("nonexistent app");

    // Whoever is killed with apps in it leaves what every pod leaves.
    pod.running().send(Signal::SIGKILL);
    pod.finish().expect_code(128 + 9);
    rkt().run(["rm", &pod.uuid]).expect_code(0);
    pod.expect_nothing_left();
}

/// A client of both of an app's streams.
struct Client(Child);

impl Client {
    fn attach(pod: &Pod, app: &str) -> Self {
        let app = format!("--app={app}");
        let mut command = rkt().command(["attach", &app, "--mode=stdin,stdout", &pod.uuid]);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("rkt runs"))
    }

    /// Says a line, and waits until the app has repeated it.
    #[track_caller]
    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().expect("piped"), "{line}").expect("rkt reads");
        let output = self.0.stdout.as_mut().expect("piped");
        let (mut text, mut byte) = (String::new(), [0]);
        while !text.contains(&format!("said {line}\n")) {
            assert_eq!(output.read(&mut byte).expect("reading"), 1, "only {text:?}");
            text.push(char::from(byte[0]));
        }
    }

    /// Has nothing more to say.
    #[track_caller]
    fn finish(mut self) {
        drop(self.0.stdin.take());
        assert_eq!(self.0.wait().expect("waiting").code(), Some(0));
    }
}

/// The streams and texts of a log in Kubernetes' format.
fn kubernetes_log(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("the app's log");
    text.lines().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect()
}

const ANNOTATION: &str = "--annotation=coreos.com/rkt/experiment";

#[test]
fn added_apps_of_two_images_share_a_volume_are_attached_to_and_logged_for_kubernetes() {
    let logs = fresh_path("logs");
    fs::create_dir(&logs).expect("creating");
    let mode = format!("{ANNOTATION}/logmode=k8s-plain");
    let mut pod = Pod::sandbox_with(&[&mode, &format!("{ANNOTATION}/kubernetes-log-dir={}", logs.display())]);
    let log = |name: &str| format!("{ANNOTATION}/kubernetes-log-path={name}");
    let shared = "--mnt-volume=name=shared,kind=empty,target=/shared";

    // Apps of two images, with one empty volume between them.
    let talk = "echo hello > /shared/word; echo ready; while read line; do echo said $line; done; echo bye";
    add(&pod, "talker", &[shared, "--stdin=stream", "--stdout=stream", &log("talker.log")], talk);
    let steps = ["--", "await-file", "/shared/word", "read-file", "/shared/word", "print-err", "over"];
    let reader = [INSPECT, "--name=reader", shared, "--stdout=log", &log("reader.log")];
    app(&pod, "add", &[&reader[..], &steps].concat()).expect_code(0);
    for name in ["talker", "reader"] {
        app(&pod, "start", &[&format!("--app={name}")]).expect_code(0);
    }
    pod.wait_for("ready");
    pod.wait_for("hello");

    // Attached to an added app, and to the same one when it runs again.
    let mut client = Client::attach(&pod, "talker");
    client.say("one");
    client.finish();
    wait_for_exit(&pod, "talker");
    app(&pod, "start", &["--app=talker"]).expect_code(0);
    let mut client = Client::attach(&pod, "talker");
    client.say("two");
    client.finish();
    wait_for_exit(&pod, "talker");
    wait_for_exit(&pod, "reader");
    let once =
        |line: &str| ["stdout ready".to_owned(), format!("stdout said {line}"), "stdout bye".to_owned()];
    assert_eq!(kubernetes_log(&logs.join("talker.log")), [once("one"), once("two")].concat());
    assert_eq!(kubernetes_log(&logs.join("reader.log")), ["stdout hello", "stderr over"]);

    // A terminal has the size of whoever is attached, in every run of its app.
    let tty = ["--stdin=tty", "--stdout=tty", "--stderr=tty"];
    add(&pod, "shell", &tty, "exec /bin/sh -i");
    for (rows, columns) in [(40, 100), (50, 132)] {
        app(&pod, "start", &["--app=shell"]).expect_code(0);
        let mut terminal = Terminal::start(rkt().command(["attach", "--app=shell", &pod.uuid]));
        terminal.resize(rows, columns);
        terminal.type_line("");
        terminal.wait_for("#", 1);
        terminal.type_line("echo size $(stty size), $((40 + 2))");
        terminal.wait_for(&format!("size {rows} {columns}, 42"), 1);
        terminal.type_line("exit 3");
        assert_eq!(terminal.finish().0, 0);
        wait_for_exit(&pod, "shell");
        assert_eq!(status(&pod, "shell", "exit_code"), "3");
    }

    // Whoever adds an app that is too large for the machine learns so.
    let large = app(&pod, "add", &[BUSYBOX, "--name=large", "--memory=64Gi"]).expect_code(0);
    large.expect_err(
        "warning: app \"large\" may use 65536 MiB of memory, but the pod's machine has only 512 MiB",
    );
    rkt().run(["stop", &pod.uuid]).expect_code(0);
    pod.finish().expect_code(0);
}

#[test]
fn what_keeps_an_added_app_from_starting_is_told_to_whoever_starts_it() {
    let mut pod = Pod::sandbox();
    let directory = fresh_path("volume");
    fs::create_dir(&directory).expect("creating");
    std::os::unix::fs::symlink("loop", directory.join("loop")).expect("linking");
    // Any program of the machine's that needs a loader.
    fs::copy("/bin/cat", directory.join("dynamic")).expect("copying");
    fs::copy("/bin/cat", directory.join("script")).expect("copying");
    fs::write(directory.join("script"), "#!/no/such/interpreter -x\n").expect("writing");
    let host = |name: &str, source: &str, target: &str| {
        let source = directory.join(source);
        format!("--mnt-volume=name={name},kind=host,source={},target={target}", source.display())
    };
    let empty = |target: &str| format!("--mnt-volume=name=empty,kind=empty,target={target}");
    let exec = |path: &str| format!("--exec={path}");
    let cases = [
        (
            vec![host("program", "dynamic", "/dynamic"), exec("/dynamic")],
            "\"/dynamic\": its ELF interpreter (dynamic loader) \"/lib64/ld-linux-x86-64.so.2\" is missing",
        ),
        (
            vec![host("program", "script", "/script"), exec("/script")],
            "\"/script\": its script interpreter \"/no/such/interpreter\" is missing",
        ),
        (
            vec![empty("/usr/bin/busybox")],
            "the volume for \"/usr/bin/busybox\" is a directory, and the app has a file there",
        ),
        (
            vec![host("file", "script", "/root")],
            "the volume for \"/root\" is a file, and the app has a directory there",
        ),
        (
            vec![host("links", "", "/links"), empty("/links/loop/below")],
            "\"/links/loop/below\" in the app's root: Too many levels of symbolic links",
        ),
        (
            vec![empty("/usr/bin/busybox/below")],
            "\"/usr/bin/busybox/below\" in the app's root: Not a directory",
        ),
    ];

    for (number, (flags, reason)) in cases.iter().enumerate() {
        let name = format!("app-{number}");
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        app(&pod, "add", &[&[BUSYBOX, &format!("--name={name}")], &flags[..]].concat()).expect_code(0);
        app(&pod, "start", &[&format!("--app={name}")]).expect_code(254).expect_err(reason);
        pod.running().wait_for(Stream::Err, &format!("app \"{name}\" cannot be started: "), brief());
    }

    let fifo = directory.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let refused = app(&pod, "add", &[BUSYBOX, "--name=late", &host("fifo", "fifo", "/fifo")]);
    refused.expect_code(254).expect_err("it is a FIFO of the host");
    add(&pod, "late", &[], "echo well");
    app(&pod, "start", &["--app=late"]).expect_code(0);
    pod.wait_for("well");
    rkt().run(["stop", &pod.uuid]).expect_code(0);
    pod.finish().expect_code(0);
}

#[test]
fn a_volume_that_only_a_docker_image_declares_starts_with_what_the_image_holds() {
    let declares = |manifest: &mut serde_json::Value| {
        manifest["annotations"] =
            serde_json::json!([{ "name": "appc.io/docker/repository", "value": "library/db" }]);
        manifest["app"]["mountPoints"] = serde_json::json!([{ "name": "data", "path": "/data" }]);
    };
    let image = inspect_with("example.com/db", declares, |root| {
        root.directory("rootfs/data", 0o750).file("rootfs/data/word", 0o640, b"from the image\n")
    });
    let image = image.to_str().expect("UTF-8");
    let steps = [
        "stat-file",
        "/data",
        "stat-file",
        "/data/word",
        "read-file",
        "/data/word",
        "write-file",
        "/data/own",
        "x",
    ];
    let expected = ["mode=40750 uid=0 gid=0", "mode=100640 uid=0 gid=0", "from the image", "wrote /data/own"];
    let note = "initializing implicit volume with data contained at the mount point \"data\"";

    let mut pod = Pod::start_insecurely("image", &[&[image, "--"], &steps[..]].concat());
    let output = pod.finish().expect_code(0).expect_err(note);
    assert_eq!(said(&output.stdout, "db"), expected);

    let mut pod = Pod::sandbox();
    app(&pod, "add", &[&[image, "--insecure-options=image", "--name=later", "--"], &steps[..]].concat())
        .expect_code(0);
    app(&pod, "start", &["--app=later"]).expect_code(0);
    wait_for_exit(&pod, "later");
    assert_eq!(status(&pod, "later", "exit_code"), "0");
    rkt().run(["stop", &pod.uuid]).expect_code(0);
    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "later"), expected);
}
