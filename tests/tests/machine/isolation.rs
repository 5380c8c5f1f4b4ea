//! What an app may do and use, seen from inside it.

use crate::pod::{Pod, fresh_path, rkt, said};

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
    let ids = rkt().run(["image", "list", "--full", "--no-legend", "--fields=id,name"]).expect_code(0);
    let id = ids
        .out()
        .lines()
        .find(|line| line.contains("example.com/busybox"))
        .expect("it was fetched")
        .to_owned();
    let id = id.split_whitespace().next().expect("an ID");
    let app = |name: &str, isolators: &str| {
        let command = serde_json::to_string(REPORT).expect("a string");
        format!(
            r#"{{"name":"{name}","image":{{"name":"example.com/busybox","id":"{id}"}},"app":{{
                "exec":["/bin/sh","-c",{command}],"user":"0","group":"0","isolators":[{isolators}]}}}}"#
        )
    };
    let apps = [
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
    ];
    let manifest = fresh_path("manifest");
    let json = format!(r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{}]}}"#, apps.join(","));
    std::fs::write(&manifest, json).expect("writing a manifest");

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

    let output = Pod::start_insecurely("image,capabilities", &command).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "busybox"), ["mounted"]);
}
