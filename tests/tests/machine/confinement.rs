//! What a tenant would hold who has taken over the VMM or the file server: read from outside, in /proc, while a pod
//! runs. Each test is a claim of docs/threat-model.md.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::stat::makedev;
use nix::unistd::Pid;

use rkt_tests::command;

use crate::pod::{INSPECT, Pod, brief, fresh_path, open_files};

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
        users.len() == 1 && users.iter().all(|user| (0x7800_0000..0x7ffe_0000).contains(user)),
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

/// The first of the numbers that a pod's users have on the host.
#[track_caller]
fn first_user(server: Pid) -> u32 {
    let map = fs::read_to_string(format!("/proc/{server}/uid_map")).expect("the process runs");
    let words: Vec<u32> =
        map.split_whitespace().take(3).map(|word| word.parse().expect("a number")).collect();
    let [0, first, 65_536] = words[..] else { panic!("{map}") };
    assert!((0x7000_0000..0x7800_0000).contains(&first), "{map}");
    first
}

#[test]
fn the_file_server_is_root_of_users_that_are_nobody_of_the_host() {
    let pod = staying();
    let server = pod.file_server();

    let of = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/user")).expect("a name space");
    assert_ne!(of(server), of(Pid::this()), "it is the host's");
    assert_ne!(of(server), of(pod.vmm()), "it is the VMM's");
    let root = first_user(server).to_string();
    for ids in ["Uid", "Gid"] {
        let ids = status(server, ids);
        assert!(ids.split_whitespace().all(|id| id == root), "{ids}, not {root}");
    }
    assert_eq!(status(server, "Groups"), "");
    let maps = ["uid_map", "gid_map"].map(|map| fs::read_to_string(format!("/proc/{server}/{map}")));
    let [users, groups] = maps.map(|map| map.expect("the process runs"));
    assert_eq!(users, groups);
}

#[test]
fn files_of_a_pods_users_have_its_numbers_while_it_runs_and_the_hosts_on_the_disk() {
    let volume = fresh_path("volume");
    fs::create_dir(&volume).expect("creating");
    fs::write(volume.join("of-1000"), "").expect("writing");
    chown(volume.join("of-1000"), Some(1000), Some(100)).expect("changing the owner");
    fs::write(volume.join("of-many"), "").expect("writing");
    chown(volume.join("of-many"), Some(1_400_000), Some(1_400_001)).expect("changing the owner");
    let make = "busybox stat -c %n=%u:%g /v/of-1000 /v/of-many /bin/busybox; \
                for f in /v/new /new; do echo x > $f; busybox chown 7:8 $f; done; \
                busybox cp /bin/busybox /suid; busybox chown 9:9 /suid; busybox chmod 6755 /suid; \
                echo made; sleep 100000";
    let source = format!("--volume=v,kind=host,source={}", volume.display());
    let mut pod =
        Pod::start(&[source.as_str(), "example.com/busybox", "--mount=volume=v,target=/v", "--", "-c", make]);
    for owners in ["/v/of-1000=1000:100", "/v/of-many=1400000:1400001", "/bin/busybox=0:0", "made"] {
        pod.wait_for(owners);
    }

    let owner = |path: &Path| {
        let file = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (file.uid(), file.gid(), file.mode() & 0o7777)
    };
    assert_eq!(owner(&volume.join("new")), (7, 8, 0o644));
    let first = first_user(pod.file_server());
    let directory = pod.data().join("pods/run").join(&pod.uuid);
    let root = directory.join("stage1/rootfs/opt/stage2/busybox/rootfs");
    assert_eq!(owner(&root.join("new")), (first + 7, first + 8, 0o644));
    assert_eq!(owner(&root.join("suid")), (first + 9, first + 9, 0o6755));
    let tree = fs::read_to_string(directory.join("appsinfo/busybox/treeStoreID")).expect("an overlay");
    let upper = directory.join("overlay").join(tree).join("upper/busybox");
    assert_eq!(owner(&upper.join("new")), (7, 8, 0o644));
    assert_eq!(owner(&upper.join("suid")), (9, 9, 0o6755));
    pod.running().send(Signal::SIGTERM);
    let finished = pod.finish();
    assert!(!finished.err().contains("users of its own"), "{}", finished.err());
    let image = fresh_path("image").with_extension("aci");
    pod.run(["export", &pod.uuid, image.to_str().expect("UTF-8")]).expect_code(0);
    let mut list = Command::new("tar");
    let list =
        command::run(list.arg("--numeric-owner").arg("-tvf").arg(&image), brief()).expect_code(0).out();
    for (name, owners) in [("rootfs/new", "7/8"), ("rootfs/suid", "9/9"), ("rootfs/bin", "0/0")] {
        let line = list.lines().find(|line| {
            line.split_whitespace().nth(5).is_some_and(|it| it.trim_start_matches("./") == name)
        });
        assert!(line.is_some_and(|line| line.contains(owners)), "{name}: {list}");
    }
}

#[test]
fn a_volume_that_cannot_have_the_pods_users_is_told_of_and_refused_on_strict_terms() {
    // No file system of files lets its owners be mapped less than this one.
    let source = "--volume=v,kind=host,source=/sys/kernel/debug,readOnly=true";
    let run = |script: &str| {
        let arguments = [source, INSPECT, "--mount=volume=v,target=/v", "--", "exit", "3"];
        let mut pod = Pod::start_by_script(script, &arguments);
        pod.finish()
    };

    run("\"$@\"").expect_code(3).expect_err(
        "warning: this host lacks users of its own for files of volume \"v\" (Invalid argument (os error 22)): the pod is",
    );
    run("RKT_HYPERVISOR_JAIL=strict \"$@\"").expect_code(254).expect_err(
        "files of volume \"v\" cannot have users of the pod's own on this host: Invalid argument",
    );
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
        // proc(5), mountinfo: what is mounted in a peer or a master is mounted here, too.
        assert!(!line.contains(" shared:") && !line.contains(" master:"), "not alone: {line}");
    }
}

#[test]
fn neither_process_holds_kvm_and_files_at_once() {
    let pod = staying();

    let kvm = |pid| open_files(pid).iter().any(|target| target.contains("kvm"));

    assert!(kvm(pod.vmm()) && !kvm(pod.file_server()));
}
