//! What an app may do and use, seen from inside it.

use crate::pod::{Pod, fresh_path, rkt, said};

/// An app of a pod: a shell of the busybox image that runs a script.
pub struct App {
    /// Its name.
    pub name: &'static str,
    /// User and group.
    pub user: u32,
    /// Its isolators, as JSON without the brackets.
    pub isolators: &'static str,
    /// What it does.
    pub script: &'static str,
}

/// A file with the manifest of a pod of `apps`.
pub fn manifest(apps: &[App]) -> std::path::PathBuf {
    let ids = rkt().run(["image", "list", "--full", "--no-legend", "--fields=id,name"]).expect_code(0);
    let images = ids.out();
    let image = images.lines().find(|line| line.contains("example.com/busybox")).expect("it was fetched");
    let id = image.split_whitespace().next().expect("an ID");
    let app = |App { name, user, isolators, script }: &App| {
        let script = serde_json::to_string(script).expect("a string");
        format!(
            r#"{{"name":"{name}","image":{{"name":"example.com/busybox","id":"{id}"}},"app":{{
                "exec":["/bin/sh","-c",{script}],"user":"{user}","group":"{user}","isolators":[{isolators}]}}}}"#
        )
    };
    let apps: Vec<String> = apps.iter().map(app).collect();
    let json = format!(r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{}]}}"#, apps.join(","));
    let path = fresh_path("manifest");
    std::fs::write(&path, json).expect("writing a manifest");
    path
}

/// Prints what the kernel holds the shell to.
const REPORT: &str = "grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status; cat /proc/self/oom_score_adj; \
                      cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat memory.max cpu.max cpu.weight";

/// rkt's fourteen default capabilities.
const DEFAULT: u64 = 0xa804_25fb;

fn report(capabilities: u64, no_new_privileges: u8, others: [&str; 4]) -> Vec<String> {
    let mut lines = vec![
        format!("CapEff:\t{capabilities:016x}"),
        format!("CapBnd:\t{capabilities:016x}"),
        format!("NoNewPrivs:\t{no_new_privileges}"),
    ];
    lines.extend(others.map(str::to_owned));
    lines
}

#[test]
fn an_app_has_rkts_default_capabilities_and_the_limits_it_was_given() {
    let flags = ["example.com/busybox", "--memory=64Mi", "--cpu=500m", "--", "-c", REPORT];

    let output = Pod::start_insecurely("image,paths", &flags).finish().expect_code(0);

    let expected = report(DEFAULT, 0, ["0", "67108864", "50000 100000", "100"]);
    assert_eq!(said(&output.stdout, "busybox"), expected, "{output:?}");
}

#[test]
fn every_app_of_a_pod_has_the_rights_and_limits_of_its_own_isolators() {
    let app = |name, isolators| App { name, user: 0, isolators, script: REPORT };
    let manifest = manifest(&[
        app(
            "kept",
            r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NET_ADMIN","CAP_SYS_TIME"]}},
               {"name":"os/linux/cpu-shares","value":262144}"#,
        ),
        app(
            "removed",
            r#"{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_CHOWN"]}},
               {"name":"os/linux/oom-score-adj","value":-500}"#,
        ),
        app("modest", r#"{"name":"os/linux/no-new-privileges","value":true}"#),
    ]);

    let flag = format!("--pod-manifest={}", manifest.display());
    let output = Pod::start_insecurely("image,paths", &[&flag]).finish().expect_code(0);

    let kept = report(1 << 12 | 1 << 25, 0, ["0", "max", "max 100000", "10000"]);
    assert_eq!(said(&output.stdout, "kept"), kept, "{output:?}");
    let removed = report(DEFAULT & !1, 0, ["-500", "max", "max 100000", "100"]);
    assert_eq!(said(&output.stdout, "removed"), removed);
    let modest = report(DEFAULT, 1, ["0", "max", "max 100000", "100"]);
    assert_eq!(said(&output.stdout, "modest"), modest);
}

#[test]
fn an_app_neither_sees_nor_writes_what_is_the_administrators() {
    // By root, whom no mode bits stop.
    let script = "stat -c '%A %n' /sys/fs /sys/module /proc/kallsyms; \
                  [ -z \"$(ls /sys/fs /sys/module | grep -v :)\" ] && echo empty; wc -c < /proc/kallsyms; \
                  for file in /proc/sys/kernel/core_pattern /sys/kernel/uevent_seqnum; do \
                      { echo x > $file; } 2> /dev/null || echo \"$file is safe\"; done; echo over";

    let output = Pod::start(&["example.com/busybox", "--", "-c", script]).finish().expect_code(0);

    let expected = [
        "d--------- /sys/fs",
        "d--------- /sys/module",
        "---------- /proc/kallsyms",
        "empty",
        "0",
        "/proc/sys/kernel/core_pattern is safe",
        "/sys/kernel/uevent_seqnum is safe",
        "over",
    ];
    assert_eq!(said(&output.stdout, "busybox"), expected, "{output:?}");
}

#[test]
fn an_app_without_capability_restriction_has_every_right_of_its_vm() {
    let command = ["example.com/busybox", "--", "-c", "mount -t tmpfs none /tmp && echo mounted"];

    let output = Pod::start_insecurely("image,capabilities,seccomp", &command).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "busybox"), ["mounted"]);
}

/// The capabilities of the thirteen apps, and who they run as.
const SETS: [(&str, u32, &str, u64); 13] = [
    ("default-root", 0, "", DEFAULT),
    ("default-user", 1000, "", DEFAULT),
    ("one", 0, r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_KILL"]}}"#, 1 << 5),
    ("first", 0, r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_CHOWN"]}}"#, 1),
    (
        "last",
        0,
        r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_CHECKPOINT_RESTORE"]}}"#,
        1 << 40,
    ),
    (
        "beyond-32",
        0,
        r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_SYSLOG","CAP_BPF"]}}"#,
        1 << 34 | 1 << 39,
    ),
    (
        "administrator",
        0,
        r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_SYS_ADMIN"]}}"#,
        1 << 21,
    ),
    (
        "admin-user",
        1000,
        r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_SYS_ADMIN"]}}"#,
        1 << 21,
    ),
    (
        "network",
        0,
        r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NET_ADMIN","CAP_NET_RAW"]}}"#,
        1 << 12 | 1 << 13,
    ),
    (
        "less",
        0,
        r#"{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_MKNOD"]}}"#,
        DEFAULT & !(1 << 27),
    ),
    (
        "less-user",
        65_534,
        r#"{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_SETUID","CAP_SETGID"]}}"#,
        DEFAULT & !(1 << 7 | 1 << 6),
    ),
    ("same", 0, r#"{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_SYS_ADMIN"]}}"#, DEFAULT),
    (
        "none",
        0,
        r#"{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_AUDIT_WRITE","CAP_CHOWN",
            "CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_KILL","CAP_MKNOD","CAP_NET_RAW",
            "CAP_NET_BIND_SERVICE","CAP_SETUID","CAP_SETGID","CAP_SETPCAP","CAP_SETFCAP","CAP_SYS_CHROOT"]}}"#,
        0,
    ),
];

#[test]
fn thirteen_apps_of_a_pod_have_exactly_their_thirteen_capability_sets_and_so_have_commands_in_them() {
    let script = "grep ^Cap /proc/self/status";
    let held = "grep ^Cap /proc/self/status; echo over; exec sleep 1000";
    let app = |(name, user, isolators, _): &(&'static str, u32, &'static str, u64)| App {
        name,
        user: *user,
        isolators,
        script: if *name == "network" { held } else { script },
    };
    let manifest = manifest(&SETS.map(|set| app(&set)));
    let flag = format!("--pod-manifest={}", manifest.display());

    let mut pod = Pod::start(&[&flag]);
    pod.wait_for("over");
    let entered: Vec<String> = ["network", "less-user"]
        .map(|app| {
            let name = format!("--app={app}");
            pod.run(["enter", &name, &pod.uuid, "sh", "-c", script]).expect_code(0).out()
        })
        .into();
    pod.run(["stop", &pod.uuid]).expect_code(0);
    let output = pod.finish();

    for (name, user, _, bounding) in SETS {
        let effective = if user == 0 { bounding } else { 0 };
        let expected = [
            "CapInh:\t0000000000000000".to_owned(),
            format!("CapPrm:\t{effective:016x}"),
            format!("CapEff:\t{effective:016x}"),
            format!("CapBnd:\t{bounding:016x}"),
            "CapAmb:\t0000000000000000".to_owned(),
        ];
        let mut said = said(&output.stdout, name);
        said.retain(|line| line != "over");
        assert_eq!(said, expected, "{name}: {output:?}");
        match name {
            "network" => assert_eq!(entered[0].lines().collect::<Vec<_>>(), expected),
            "less-user" => assert_eq!(entered[1].lines().collect::<Vec<_>>(), expected),
            _ => {}
        }
    }
}

#[test]
fn an_app_that_forks_without_end_keeps_neither_its_neighbour_nor_commands_nor_stop_from_working() {
    let bomb = "sh -c 'while :; do sleep 1000 & done' 2> /dev/null; echo full; exec sleep 1000";
    let manifest = manifest(&[
        App { name: "bomb", user: 0, isolators: "", script: bomb },
        App { name: "neighbour", user: 0, isolators: "", script: "exec sleep 1000" },
    ]);
    let flag = format!("--pod-manifest={}", manifest.display());

    let mut pod = Pod::start(&[&flag]);
    pod.wait_for("full");
    let forks = "for i in 1 2 3; do ls / > /dev/null || exit 1; done; echo worked";
    let beside = pod.run(["enter", "--app=neighbour", &pod.uuid, "sh", "-c", forks]);
    let inside = pod.run(["enter", "--app=bomb", &pod.uuid, "sh", "-c", "echo inside"]);

    assert_eq!(
        (beside.expect_code(0).out().trim(), inside.expect_code(0).out().trim()),
        ("worked", "inside")
    );
    pod.run(["stop", &pod.uuid]).expect_code(0);
    pod.finish();
    pod.run(["rm", &pod.uuid]).expect_code(0);
    pod.expect_nothing_left();
}

#[test]
fn isolators_that_cannot_be_end_rkt_run_before_anything_is_started_and_are_named() {
    let long = format!(r#"{{"set":["{}"]}}"#, "a".repeat(100_000));
    for (isolators, expected) in [
        (vec![("resource/memory", r#"{"limit":"0"}"#)], "isolator resource/memory: invalid value"),
        (vec![("resource/memory", r#"{"limit":"-1Gi"}"#)], "isolator resource/memory: invalid value"),
        (vec![("resource/memory", r#"{"limit":"NaN"}"#)], "isolator resource/memory: invalid value"),
        (vec![("resource/cpu", r#"{"limit":"0"}"#)], "isolator resource/cpu: invalid value"),
        (vec![("os/linux/cpu-shares", "1")], "isolator os/linux/cpu-shares: invalid value 1"),
        (vec![("os/linux/oom-score-adj", "2000")], "isolator os/linux/oom-score-adj: invalid value 2000"),
        (vec![("os/linux/capabilities-retain-set", &long)], "unknown capability \"aaaa"),
        (
            vec![("os/linux/seccomp-retain-set", r#"{"set":["read"],"errno":"EFLY"}"#)],
            "isolator os/linux/seccomp-retain-set: unknown errno \"EFLY\"",
        ),
        (
            vec![("os/linux/seccomp-retain-set", &long), ("os/linux/seccomp-remove-set", &long)],
            "too many seccomp isolators specified",
        ),
    ] {
        let isolators: Vec<String> =
            isolators.iter().map(|(name, value)| format!(r#"{{"name":"{name}","value":{value}}}"#)).collect();
        let isolators = isolators.join(",").leak();
        let manifest = manifest(&[App { name: "greedy", user: 0, isolators, script: "true" }]);
        let flag = format!("--pod-manifest={}", manifest.display());

        let output = rkt().run(["--insecure-options=image", "run", "--net=none", &flag]).expect_code(254);

        assert!(output.err().contains("app \"greedy\""), "{output:?}");
        assert!(output.err().contains(expected), "{expected}: {output:?}");
        assert!(output.err().len() < 2000, "{output:?}");
    }
}

#[test]
fn an_app_reaches_neither_pid_1_nor_the_host_nor_the_machines_memory() {
    let shell = "echo x > /tmp/x; for try in 'cat /proc/1/root/etc/hostname' 'ls /proc/1/root/run' 'cat /proc/1/environ' \
                     'dd if=/proc/1/mem of=/dev/null bs=1 count=1' 'readlink /proc/1/exe' \
                     'mknod /tmp/mem c 1 1' 'cat /tmp/mem' 'mknod /tmp/port c 1 4' 'cat /tmp/port' \
                     'chroot /proc/1/root /bin/sh' 'insmod /tmp/x' 'kill -9 1' \
                     'dd if=/tmp/x of=/proc/sysrq-trigger' 'dd if=/tmp/x of=/proc/sys/kernel/core_pattern' \
                     'dd if=/tmp/x of=/proc/sys/kernel/modprobe' 'mkdir /sys/fs/cgroup/mine'; do \
                     $try > /dev/null 2>&1; echo \"$try: $?\"; done";
    let steps = ["vsock", "2", "1024", "vsock", "2", "1", "vsock", "1", "1024", "vsock", "0", "1024"];
    let shell = ["example.com/busybox", "--", "-c", shell, "---", crate::pod::INSPECT, "--"];

    let output = Pod::start(&[&shell[..], &steps].concat()).finish().expect_code(0);

    let tries = said(&output.stdout, "busybox");
    let succeeded: Vec<&str> =
        tries.iter().map(String::as_str).filter(|line| line.ends_with(": 0")).collect();
    // PID 1 takes no signal that it did not ask for; a node of a device that is not there is only a name.
    assert_eq!(
        succeeded,
        ["mknod /tmp/mem c 1 1: 0", "mknod /tmp/port c 1 4: 0", "kill -9 1: 0"],
        "{output:?}"
    );
    assert_eq!(tries.len(), 16, "{output:?}");
    let said_by_inspect = said(&output.stdout, "inspect");
    assert_eq!(said_by_inspect.len(), 4, "{output:?}");
    assert!(!said_by_inspect.iter().any(|line| line.ends_with("connected")), "{said_by_inspect:?}");
}
