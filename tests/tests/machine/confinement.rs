//! What a tenant would hold who has taken over the VMM or the file server: read from outside, in /proc, while a pod
//! runs. Each test is a claim of docs/threat-model.md.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::makedev;
use nix::unistd::Pid;

use crate::pod::{INSPECT, Pod, fresh_path, open_files};

/// Name spaces that neither process shares with the host.
const OWN_NAMESPACES: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];

/// The file server's capabilities, as the bits of capabilities(7): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID,
/// SETFCAP.
const FILE_SERVER_CAPABILITIES: u64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 31;

/// The same of who makes its device nodes: DAC_OVERRIDE, FSETID, SETGID, MKNOD.
const MAKER_CAPABILITIES: u64 = 1 << 1 | 1 << 4 | 1 << 6 | 1 << 27;

/// A pod that says `ready` and stays.
fn staying() -> Pod {
    let mut pod = Pod::inspect(&["print-msg", "ready", "sleep", "100000"]);
    pod.wait_for("ready");
    pod
}

/// A field of `/proc/PID/status`.
#[track_caller]
fn status(pid: Pid, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}

#[track_caller]
fn capabilities(pid: Pid, set: &str) -> u64 {
    u64::from_str_radix(&status(pid, set), 16).expect("a hexadecimal number")
}

#[track_caller]
fn expect_own_namespaces(pid: Pid) {
    for name in OWN_NAMESPACES {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a name space");
        assert_ne!(of(&pid.to_string()), of("self"), "the {name} name space is the host's");
    }
}

/// Every thread of the process has a filter of system calls (proc(5)).
#[track_caller]
fn expect_filters(pid: Pid) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    for thread in threads.flatten() {
        let name = thread.file_name().into_string().expect("a number");
        assert_eq!(status(Pid::from_raw(name.parse().expect("a number")), "Seccomp"), "2", "thread {name}");
    }
}

fn root_of(pid: Pid) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/root/")).expect("the process runs");
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_vmm_has_no_capability_and_can_gain_none() {
    let pod = staying();
    let vmm = pod.vmm();

    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(capabilities(vmm, set), 0, "{set}");
    }
    assert_eq!(status(vmm, "NoNewPrivs"), "1");
    expect_filters(vmm);
}

#[test]
fn the_vmm_is_a_user_of_its_own_and_alone() {
    let pod = staying();
    let vmm = pod.vmm();

    let users = status(vmm, "Uid");
    let users: BTreeSet<u32> = users.split_whitespace().map(|user| user.parse().expect("a number")).collect();
    assert!(
        users.len() == 1 && users.iter().all(|user| (0x7000_0000..0x7fff_ffff).contains(user)),
        "{users:?}"
    );
    assert_eq!(status(vmm, "Groups"), "");
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).expect("a name space");
    assert_ne!(of(&vmm.to_string()), of("self"), "the user name space is the host's");
    assert!(status(vmm, "NSpid").ends_with("\t1"), "it is not the first of its PID name space");
    assert!(status(pod.file_server(), "NSpid").ends_with("\t1"), "the file server is not");
}

#[test]
fn a_host_that_lacks_a_wall_is_warned_of_and_refused_on_strict_terms() {
    let without = |command: &str| {
        let script = format!(
            "limit=/proc/sys/user/max_user_namespaces; old=$(cat $limit); echo 0 > $limit; {command}; code=$?; \
             echo $old > $limit; exit $code"
        );
        let mut pod = Pod::start_by_script(&script, &[INSPECT, "--", "exit", "3"]);
        pod.finish()
    };

    without("\"$@\"").expect_code(3).expect_err("warning: this host lacks a user name space");
    without("RKT_HYPERVISOR_JAIL=strict \"$@\"").expect_code(254).expect_err("a user name space failed");
}

#[test]
fn the_vmm_sees_no_file_and_no_network_of_the_host() {
    let pod = staying();
    let vmm = pod.vmm();

    expect_own_namespaces(vmm);
    assert_eq!(root_of(vmm), BTreeSet::new());
    let links = fs::read_to_string(format!("/proc/{vmm}/net/dev")).expect("the process runs");
    let links: Vec<&str> = links.lines().skip(2).filter_map(|line| line.split(':').next()).collect();
    assert_eq!(links.iter().map(|link| link.trim()).collect::<Vec<_>>(), ["lo"]);
}

#[test]
fn the_vmm_holds_no_directory_and_no_file_but_what_the_machine_is_made_of() {
    let pod = staying();

    for target in open_files(pod.vmm()).iter().filter(|target| target.starts_with('/')) {
        let allowed = ["/dev/kvm", "/dev/null", "/vmlinux", "/initramfs", "guest-memory"];
        assert!(allowed.iter().any(|name| target.contains(name)), "the VMM has {target} open");
    }
}

#[test]
fn the_file_server_has_a_named_list_of_capabilities_and_can_gain_no_other() {
    let pod = staying();
    let server = pod.file_server();

    for set in ["CapPrm", "CapBnd"] {
        assert_eq!(capabilities(server, set), FILE_SERVER_CAPABILITIES, "{set}");
    }
    assert_eq!(capabilities(server, "CapInh") | capabilities(server, "CapAmb"), 0);
    assert_eq!(status(server, "NoNewPrivs"), "1");
    expect_filters(server);
}

#[test]
fn the_file_server_is_in_a_user_name_space_of_its_own_where_everybody_has_the_hosts_number() {
    let pod = staying();
    let server = pod.file_server();

    let of = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/user")).expect("a name space");
    assert_ne!(of(server), of(Pid::this()), "it is the host's");
    assert_ne!(of(server), of(pod.vmm()), "it is the VMM's");
    for map in ["uid_map", "gid_map"] {
        let read = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/{map}")).expect("the process runs");
        assert_eq!(read(server), read(Pid::this()), "{map}");
    }
    assert!(status(server, "Uid").split_whitespace().all(|user| user == "0"));
}

#[test]
fn device_nodes_of_a_pod_are_made_by_a_process_of_its_own_and_are_what_was_asked_for() {
    let volume = fresh_path("volume");
    fs::create_dir(&volume).expect("creating");
    let make = "umask 027; mkdir -m 2775 /v/d; busybox chgrp 4321 /v/d; \
                mknod /v/c c 259 70000 && mknod /v/d/b b 7 8 && mknod /root-null c 1 3 && mkfifo /v/p; \
                echo made; sleep 100000";
    let source = format!("--volume=v,kind=host,source={}", volume.display());
    let mut pod =
        Pod::start(&[source.as_str(), "example.com/busybox", "--mount=volume=v,target=/v", "--", "-c", make]);
    pod.wait_for("made");

    let node = |path: &str| fs::symlink_metadata(volume.join(path)).expect("it was made");
    let (character, block) = (node("c"), node("d/b"));
    assert!(character.file_type().is_char_device() && block.file_type().is_block_device());
    assert_eq!(character.rdev(), makedev(259, 70_000));
    assert_eq!(block.rdev(), makedev(7, 8));
    assert_eq!((character.uid(), character.gid(), character.mode() & 0o7777), (0, 0, 0o640));
    assert_eq!((block.uid(), block.gid(), block.mode() & 0o7777), (0, 4321, 0o640));
    assert!(node("p").file_type().is_fifo());

    let helpers = pod.helpers();
    let known = [pod.vmm(), pod.file_server()];
    let makers: Vec<Pid> = helpers.iter().map(|(pid, _)| *pid).filter(|pid| !known.contains(pid)).collect();
    let [maker] = makers[..] else { panic!("{helpers:?}") };
    for set in ["CapPrm", "CapBnd"] {
        assert_eq!(capabilities(maker, set), MAKER_CAPABILITIES, "{set}");
    }
    assert_eq!(status(maker, "NoNewPrivs"), "1");
    expect_filters(maker);
    expect_own_namespaces(maker);
    assert_eq!(root_of(maker), BTreeSet::new());
    let groups = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process runs");
    assert_eq!(groups(maker), groups(pod.file_server()), "its control groups are not the pod's");
    pod.running().send(Signal::SIGTERM);
    pod.finish();
    assert!(!Path::new(&format!("/proc/{maker}")).exists(), "it is left behind");
}

#[test]
fn the_file_server_sees_the_pods_tree_and_nothing_else() {
    let pod = staying();
    let server = pod.file_server();

    expect_own_namespaces(server);
    let root: Vec<String> = root_of(server).into_iter().collect();
    assert_eq!(root, ["apps", "volumes"]);
    let mounts = fs::read_to_string(format!("/proc/{server}/mountinfo")).expect("the process runs");
    for line in mounts.lines() {
        let options = line.split(' ').nth(5).unwrap_or_default();
        for option in ["nodev", "nosuid", "noexec"] {
            assert!(options.split(',').any(|one| one == option), "not {option}: {line}");
        }
    }
}

#[test]
fn neither_process_holds_kvm_and_files_at_once() {
    let pod = staying();

    let kvm = |pid| open_files(pid).iter().any(|target| target.contains("kvm"));

    assert!(kvm(pod.vmm()) && !kvm(pod.file_server()));
}
