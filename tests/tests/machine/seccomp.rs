//! Which system calls an app may make, seen from inside it. 128 + 31 is what a shell says of a program that SIGSYS killed.

use crate::isolation::{App, manifest};
use crate::pod::{Pod, said};

const STATE: &str = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr '\\n\\t' '  '; echo; ";

#[test]
fn apps_of_a_pod_have_the_default_filter_or_their_own() {
    let script = |rest: &str| -> &'static str { format!("{STATE}{rest}").leak() };
    let app = |name, user, isolators, rest| App { name, user, isolators, script: script(rest) };
    let manifest = manifest(&[
        app(
            "default",
            0,
            "",
            "mount -t tmpfs none /tmp; echo mount $?; umount /tmp; echo umount $?; unshare -m true; echo unshare $?; \
             swapon /bin/sh; echo swapon $?; chroot / /bin/busybox true; echo chroot $?; \
             (ls /; date; id; mkdir /a; mv /a /b; sleep 0; mkfifo /p; ifconfig lo) > /dev/null && echo well",
        ),
        app("user", 1000, "", "mount -t tmpfs none /tmp; echo mount $?"),
        app(
            "retain",
            0,
            r#"{"name":"os/linux/seccomp-retain-set",
                "value":{"set":["@rkt/default-whitelist"],"errno":"ENETDOWN"}}"#,
            "mount -t tmpfs none /tmp 2>&1; true",
        ),
        app(
            "remove",
            0,
            r#"{"name":"os/linux/seccomp-remove-set","value":{"set":["mkdir","mkdirat"],"errno":"EXDEV"}}"#,
            "mkdir /x 2>&1; mount -t tmpfs none /tmp 2> /dev/null; echo mount $?",
        ),
        app(
            "group",
            0,
            r#"{"name":"os/linux/seccomp-remove-set","value":{"set":["@systemd/network-io"]}}"#,
            "ifconfig lo; echo ifconfig $?; mkdir /x && echo made",
        ),
        app(
            "all",
            0,
            r#"{"name":"os/linux/seccomp-retain-set","value":{"set":["@appc.io/all"]}}"#,
            "echo all",
        ),
        app(
            "hog",
            0,
            r#"{"name":"resource/memory","value":{"limit":"32Mi"}}"#,
            "sh -c 'x=12345678; while :; do x=$x$x; done'; echo filled $?; cat /proc/self/limits | tr -s ' '",
        ),
    ]);
    let flag = format!("--pod-manifest={}", manifest.display());

    let output = Pod::start(&[&flag]).finish().expect_code(0);

    let expect = |app: &str, lines: &[&str]| {
        let said: Vec<String> = said(&output.stdout, app).iter().map(|line| line.trim().to_owned()).collect();
        assert_eq!(said, lines, "{app}: {output:?}");
    };
    let filtered = "NoNewPrivs: 0 Seccomp: 2";
    let killed = ["mount 159", "umount 159", "unshare 159", "swapon 159"];
    expect("default", &[&[filtered], &killed[..], &["chroot 0", "well"]].concat());
    expect("user", &["NoNewPrivs: 1 Seccomp: 2", "mount 159"]);
    expect("retain", &[filtered, "mount: mounting none on /tmp failed: Network is down"]);
    let refused = "mkdir: can't create directory '/x': Invalid cross-device link";
    expect("remove", &[filtered, refused, "mount 1"]);
    expect("group", &[filtered, "ifconfig 159", "made"]);
    expect("all", &["NoNewPrivs: 0 Seccomp: 0", "all"]);
    let limits = [
        "Limit Soft Limit Hard Limit Units",
        "Max cpu time unlimited unlimited seconds",
        "Max file size unlimited unlimited bytes",
        "Max data size unlimited unlimited bytes",
        "Max stack size 8388608 unlimited bytes",
        "Max core file size 0 unlimited bytes",
        "Max resident set unlimited unlimited bytes",
        "Max processes unlimited unlimited processes",
        "Max open files 1024 524288 files",
        "Max locked memory 8388608 8388608 bytes",
        "Max address space unlimited unlimited bytes",
        "Max file locks unlimited unlimited locks",
        "Max pending signals 8192 8192 signals",
        "Max msgqueue size 819200 819200 bytes",
        "Max nice priority 0 0",
        "Max realtime priority 0 0",
        "Max realtime timeout unlimited unlimited us",
    ];
    expect("hog", &[&[filtered, "filled 137"], &limits[..]].concat());
}

#[test]
fn an_app_killed_by_its_filter_is_reported_as_such_and_commands_in_apps_have_the_filter_too() {
    let filter = "--seccomp=mode=remove,mkdir,mkdirat";
    let held =
        ["example.com/busybox", filter, "--", "-c", "while ! [ -e /go ]; do sleep 1; done; exec mkdir /x"];

    let mut pod = Pod::start(&held);
    let entered = |pod: &Pod, command: &str| pod.run(["enter", &pod.uuid, "sh", "-c", command]);
    let inside = entered(&pod, "mkdir /y; echo mkdir $?; touch /ok && echo touched");
    let missing = pod.run(["enter", &pod.uuid, "/nowhere"]).expect_code(254);
    entered(&pod, "touch /go").expect_code(0);
    let output = pod.finish().expect_code(31);

    assert_eq!(inside.expect_code(0).out().lines().collect::<Vec<_>>(), ["mkdir 159", "touched"]);
    assert!(missing.err().contains("cannot execute \"/nowhere\""), "{missing:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let sentence =
        "app \"busybox\" was killed by SIGSYS: it made a system call that its seccomp filter forbids";
    assert!(said.contains(sentence), "{output:?}");
}

#[test]
fn a_pod_without_seccomp_lets_its_apps_call_what_they_like() {
    let script = "grep Seccomp: /proc/self/status; unshare -U true && echo unshared";
    let command = ["example.com/busybox", "--seccomp=mode=retain,read", "--", "-c", script];

    let output = Pod::start_insecurely("image,seccomp", &command).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "busybox"), ["Seccomp:\t0", "unshared"], "{output:?}");
}
