//! Apps that misbehave: their pod ends as it should, and nothing else notices.

use std::path::Path;
use std::process::Command;

use rkt_tests::command::limit;
use rkt_tests::dist;
use serde_json::json;

use crate::pod::{INSPECT, Pod, fresh_path, pod_manifest, rkt, said, shell_app};

#[test]
fn a_signal_of_any_number_is_told_by_its_number() {
    let mut pod = Pod::start(&["example.com/busybox", "--", "-c", "echo ready; while :; do sleep 1; done"]);
    pod.wait_for("ready");

    for number in [1, 9, 13, 34, 64] {
        let script = format!("kill -{number} $$; sleep 5");
        let ended = pod.run(["enter", &pod.uuid, "/bin/sh", "-c", &script]);
        ended.expect_code(128 + number);
    }

    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish();
}

/// Signals that do not end a process that has not asked for them: SIGCHLD, SIGCONT, SIGURG and SIGWINCH, and those that stop it.
const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];

#[test]
fn an_apps_status_is_the_number_of_the_signal_that_killed_it_whichever_it_was() {
    // Those from 34 to 64 are all alike.
    let signals: Vec<i32> = (1..=34).chain([64]).filter(|signal| !HARMLESS.contains(signal)).collect();
    // All run before the first one dies, which ends the pod: only their own signals end them then. They wait in open(2) for the
    // conductor's end of a pipe, which stays open until they all have come past.
    let wait = "trap '' TERM; mkfifo /dev/shm/gate 2> /dev/null; : > /dev/shm/at-$AC_APP_NAME; : < /dev/shm/gate; \
                : > /dev/shm/past-$AC_APP_NAME;";
    let dying = signals.iter().map(|signal| {
        let script = match signal {
            // busybox's shell never dies of SIGQUIT, what it executes does.
            3 => format!("{wait} (sleep 1; kill -3 $$) & exec sleep 100000"),
            15 => format!("{wait} trap - TERM; kill -15 $$; sleep 100000"),
            _ => format!("{wait} kill -{signal} $$; sleep 100000"),
        };
        shell_app(&format!("signal-{signal}"), &script, &json!({}))
    });
    let all = signals.len();
    let until =
        |files: &str| format!("while set -- /dev/shm/{files}-*; [ $# -lt {all} ]; do sleep 0.5; done;");
    let last = format!("trap '' TERM; {} exec 3> /dev/shm/gate; {}", until("at"), until("past"));
    let apps: Vec<_> = dying.chain([shell_app("conductor", &last, &json!({}))]).collect();

    let mut pod = Pod::start(&[&pod_manifest(&apps)]);

    let code = pod.finish_within(limit(180)).code();
    let status = pod.status(&pod.uuid);
    for signal in &signals {
        let key = format!("app-signal-{signal}");
        let value = status.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
        assert_eq!(value, Some(signal.to_string()), "{status:?}");
    }
    assert!(signals.contains(&code), "{code}");
}

#[test]
fn an_app_that_closes_its_outputs_or_leaves_stubborn_children_harms_no_other() {
    let closing = shell_app("closing", "exec 0<&- 1>&- 2>&-; sleep 0.5; exit 0", &json!({}));
    let stubborn = shell_app("stubborn", "(trap '' TERM; sleep 100000) & exit 4", &json!({}));
    let patient =
        shell_app("patient", "trap 'echo ended; exit 0' TERM; while :; do sleep 0.05; done", &json!({}));
    let mut pod = Pod::start(&[&pod_manifest(&[closing, stubborn, patient])]);
    pod.wait_for("ended");

    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);

    let output = pod.finish_within(limit(30)).expect_code(4);
    assert_eq!(said(&output.stdout, "patient"), ["ended"], "{output:?}");
}

/// One entry of an initial RAM file system (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
fn entry(name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Vec<u8> {
    let fields =
        [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
    let header: String = fields.iter().map(|field| format!("{field:08X}")).collect();
    let mut bytes = format!("070701{header}{name}\0").into_bytes();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Our stage1 image with another program in the place of guest-init.
fn stage1_with_init(init: &[u8]) -> std::path::PathBuf {
    let directory = fresh_path("stage1");
    std::fs::create_dir(&directory).expect("making a directory");
    let tar = |arguments: &[&str], image: &Path| {
        let mut command = Command::new("tar");
        command.arg(arguments[0]).arg(image).arg("-C").arg(&directory).args(&arguments[1..]);
        assert!(command.status().expect("tar runs").success(), "{command:?}");
    };
    tar(&["-xzf"], &dist::file("stage1-kvm.aci"));
    let parts = [
        entry("dev", 0o040_755, (0, 0), &[]),
        entry("dev/null", 0o020_666, (1, 3), &[]),
        entry("init", 0o100_755, (0, 0), init),
        entry("TRAILER!!!", 0, (0, 0), &[]),
    ];
    std::fs::write(directory.join("rootfs/initramfs"), parts.concat()).expect("writing an initramfs");
    let manifest = directory.join("manifest");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["name"] = json!("example.com/hostile-stage1");
    std::fs::write(&manifest, json.to_string()).expect("writing a manifest");
    let image = fresh_path("hostile-stage1").with_extension("aci");
    tar(&["-czf", "manifest", "rootfs"], &image);
    image
}

#[test]
fn a_guest_that_talks_nonsense_ends_its_pod_and_no_other() {
    let mut neighbour = Pod::inspect(&["print-msg", "ready", "catch", "TERM", "await", "TERM"]);
    neighbour.wait_for("ready");
    let extracted = fresh_path("inspect");
    let arguments = ["image", "extract", "--rootfs-only", INSPECT];
    rkt().run([&arguments[..], &[extracted.to_str().expect("UTF-8")]].concat()).expect_code(0);
    let init = std::fs::read(extracted.join("inspect")).expect("the program");
    let flag = format!("--stage1-path={}", stage1_with_init(&init).display());

    let mut pod = Pod::start(&[&flag, INSPECT]);

    pod.finish_within(limit(60)).expect_code(254).expect_err("the guest sent a malformed message");
    pod.wait_for_state(&pod.uuid, "exited");
    pod.run(["rm", &pod.uuid]).expect_code(0);
    pod.expect_nothing_left();
    neighbour.run(["stop", &neighbour.uuid]).expect_code(0);
    neighbour.finish().expect_code(0);
}

#[test]
fn an_app_that_fills_its_disk_is_told_so_and_ends_by_itself() {
    let script = format!("mount -t tmpfs -o size=24m tmpfs {}/pods && \"$@\"", rkt().data().display());
    let fill = "cat /dev/zero > /big; echo full; rm /big && echo x > /small && cat /small";

    let mut pod = Pod::start_by_script(&script, &["example.com/busybox", "--", "-c", fill]);

    let output = pod.finish_within(limit(60)).expect_code(0).expect_err("No space left on device");
    assert_eq!(said(&output.stdout, "busybox"), ["full", "x"], "{output:?}");
}

#[test]
fn a_host_volume_that_disappears_is_an_error_to_the_app_and_to_nobody_else() {
    let directory = fresh_path("volume");
    std::fs::create_dir(&directory).expect("making a directory");
    std::fs::write(directory.join("file"), "there").expect("writing a file");
    let volume = format!("--volume=data,kind=host,source={}", directory.display());
    let script = "cat /data/file && echo; while cat /data/file > /dev/null 2>&1; do sleep 0.1; done; \
                  touch /data/new || echo gone; echo well";
    let flags = ["--mount=volume=data,target=/data", "--", "-c", script];
    let mut pod = Pod::start(&[&[&volume, "example.com/busybox"][..], &flags].concat());
    pod.wait_for("there");

    std::fs::remove_dir_all(&directory).expect("removing the volume");

    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "busybox"), ["there", "gone", "well"], "{output:?}");
}
