//! The control groups of a pod's processes: where they are, what they limit, and what is said where there are none. Each test is a claim of
//! docs/threat-model.md or docs/machine.md.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rkt_tests::command::{Finished, limit};
use rkt_tests::leaks;
use rustix::fs::XattrFlags;
use serde_json::{Value, json};

use crate::pod::{INSPECT, Pod, pod_manifest, rkt, shell_app};

const MIB: u64 = 1 << 20;

/// The groups of the second version, which the machine has.
const ROOT: &str = "/sys/fs/cgroup";

/// What the app says that stays.
const STAYING: [&str; 5] = ["--", "print-msg", "ready", "sleep", "100000"];

/// The group of a process, in the second version.
#[track_caller]
fn group_of(pid: Pid) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process runs");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).expect("the second version");
    Path::new(ROOT).join(path)
}

/// The group with the limits of all of the pod's processes.
#[track_caller]
pub fn of_pod(pod: &Pod) -> PathBuf {
    group_of(pod.vmm()).parent().expect("it has one").to_owned()
}

#[track_caller]
pub fn read(group: &Path, file: &str) -> String {
    fs::read_to_string(group.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
}

#[test]
fn a_pods_processes_are_in_groups_with_the_limits_of_its_isolators_which_go_when_it_ends() {
    let isolators = ["--memory=600Mi", "--cpu=500m", "--cpu-shares=512"];
    let mut pod = Pod::start(&[&[INSPECT], &isolators[..], &STAYING].concat());
    pod.wait_for("ready");
    let group = of_pod(&pod);
    let name = format!("machine-rkt\\x2d{}.scope", pod.uuid.replace('-', "\\x2d"));

    assert_eq!(group, Path::new(ROOT).join(&name));
    assert_eq!(group_of(pod.vmm()), group.join("processes"));
    assert_eq!(group_of(pod.file_server()), group.join("processes"));
    let supervisor = pod.running().pid();
    assert_eq!(group_of(supervisor), group_of(Pid::this()), "the supervisor is where rkt was started");
    // 600 MiB and rkt's 128 are the guest's; page tables, helpers, and as much again for files.
    let high = (728 * MIB + 728 * MIB / 64 + 64 * MIB + 728 * MIB) / 4096 * 4096;
    let max = (728 * MIB + 728 * MIB / 64 + 64 * MIB + 728 * MIB + 64 * MIB) / 4096 * 4096;
    assert_eq!(read(&group, "memory.high"), high.to_string());
    assert_eq!(read(&group, "memory.max"), max.to_string());
    assert_eq!(read(&group, "pids.max"), "1025");
    assert_eq!(read(&group, "cpu.max"), "100000 100000");
    assert_eq!(read(&group, "cpu.weight"), "59");

    let status = pod.run(["status", "--format=json", &pod.uuid]).expect_code(0).out();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let charged = status["memory"]["cgroup"].as_u64().expect("bytes");
    assert!((10 * MIB..max).contains(&charged), "{status}");
    let metrics = pod.run(["status", "--metrics", &pod.uuid]).expect_code(0).out();
    let limit = format!("rkt_pod_memory_cgroup_limit_bytes{{pod=\"{}\"}} ", pod.uuid);
    assert!(metrics.contains(&limit) && metrics.contains("rkt_pod_memory_cgroup_bytes{"), "{metrics}");
    let written = fs::read_to_string(rkt().data().join("pods/run").join(&pod.uuid).join("subcgroup"))
        .expect("it is there");
    assert_eq!(written, name);

    pod.run(["stop", &pod.uuid]).expect_code(0);
    pod.finish();
    assert_eq!(leaks::cgroups_of(&pod.uuid), Vec::<String>::new());
}

#[test]
fn a_pods_disks_are_limited_and_if_it_needs_more_memory_than_it_may_have_it_says_so() {
    let limit_of =
        |name: &str, limit: &str| json!({ "name": name, "value": { "default": true, "limit": limit } });
    let disks = [limit_of("resource/block-bandwidth", "20M"), limit_of("resource/block-iops", "500")];
    let app = shell_app("web", "echo ready; sleep 100000", &json!({ "isolators": disks }));
    let mut pod = Pod::start(&[&pod_manifest(&[app])]);
    pod.wait_for("ready");
    let group = of_pod(&pod);
    let limits = read(&group, "io.max");
    assert!(limits.ends_with(" rbps=20000000 wbps=20000000 riops=500 wiops=500"), "{limits:?}");

    // Less than the guest takes already, which is what a limit comes down to that was reached.
    fs::write(group.join("memory.max"), (8 * MIB).to_string()).expect("writing");

    let output = pod.finish_within(limit(60)).expect_code(254);
    output.expect_err("the pod was killed for want of memory: it may take 1160 MiB of this host's");
    assert_eq!(leaks::cgroups_of(&pod.uuid), Vec::<String>::new());
}

fn started_by(script: &str, arguments: &[&str]) -> Finished {
    Pod::start_by_script(script, arguments).finish()
}

#[test]
fn a_host_without_control_groups_is_warned_of_and_refused_on_strict_terms() {
    let read_only = |command: &str| {
        let script = format!("mount --bind {ROOT} {ROOT} && mount -o remount,bind,ro {ROOT} && {command}");
        started_by(&script, &[INSPECT, "--", "exit", "3"])
    };

    let warning = "warning: this host lacks a control group for memory and a control group for processes: the pod is confined without";
    read_only("\"$@\"").expect_code(3).expect_err(warning);
    read_only("RKT_HYPERVISOR_JAIL=strict \"$@\"")
        .expect_code(254)
        .expect_err("cannot confine the pod: a control group for memory failed");
}

#[test]
fn a_service_that_may_make_groups_has_its_pods_below_its_own() {
    let unit = format!("{ROOT}/delegated-{}.service", std::process::id());
    // As systemd makes it of `Delegate=yes` and `DelegateSubgroup=main`.
    fs::create_dir_all(format!("{unit}/main")).expect("making groups");
    rustix::fs::setxattr(&unit, "trusted.delegate", b"1", XattrFlags::empty()).expect("marking one");
    let script = format!("echo $$ > {unit}/main/cgroup.procs && exec \"$@\"");
    let mut pod = Pod::start_by_script(&script, &[&[INSPECT], &STAYING[..]].concat());
    pod.wait_for("ready");

    let group = of_pod(&pod);

    assert_eq!(group.parent(), Some(Path::new(&unit)));
    assert_eq!(read(&group, "pids.max"), (1024 + vcpus()).to_string());
    // In the mount name space of the script, where `rkt stop` does not see its files.
    pod.running().send(Signal::SIGTERM);
    pod.finish();
    assert_eq!(leaks::cgroups_of(&pod.uuid), Vec::<String>::new());
    fs::remove_dir(format!("{unit}/main")).expect("nobody is in it");
    fs::remove_dir(&unit).expect("it is empty");
}

/// Of a machine without limits: the host's.
fn vcpus() -> usize {
    std::thread::available_parallelism().expect("a number").get().min(32)
}
