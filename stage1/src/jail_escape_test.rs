//! What a tenant can do who has taken over one of the pod's processes: each test is in its place, behind all walls but the filter of
//! system calls, so that no wall stands only because another one does; the last tests are behind the filters alone.
//!
//! Walls take the right to mount, so for anybody but root there is nothing to see here.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Command;

use filters::Filter;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::jail::{Confined, Demand, Jail, Terms};
use super::plan::SharePlan;
use super::process::{Company, End, Place, report_refused_calls, spawn};
use super::shares::{self, Shares};
use super::users::Numbers;
use super::volumes::{SharedVolume, VolumeSource};
use super::{device_nodes, file_server, port_forwarder, vmm_process};

const TERMS: Terms = Terms { demand: Demand::WhatTheHostHas, user: 0x7800_1234 };

/// Of the pod that is lost.
const NUMBERS: Numbers = Numbers::OfThePod(OWNER);
const OWNER: u32 = 0x7001_0000;

/// What a victim on the same host has, and what a hostile process knows about it.
struct Host {
    directory: tempfile::TempDir,
    _listener: TcpListener,
    loopback: std::net::SocketAddr,
    _abstract_socket: UnixListener,
    abstract_name: String,
    victim: std::process::Child,
}

impl Host {
    fn new() -> Self {
        // A disk: owners of files of a tmpfs can be mapped since Linux 6.3 only.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::write(directory.path().join("secret"), "of another pod").unwrap();
        fs::create_dir(directory.path().join("volume")).unwrap();
        if is_root() {
            make_null(directory.path().join("volume/null").to_str().unwrap()).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let abstract_name = format!("rkt-test-{}", directory.path().display());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Self {
            loopback: listener.local_addr().unwrap(),
            _listener: listener,
            _abstract_socket: UnixListener::bind_addr(&address).unwrap(),
            abstract_name,
            victim: Command::new("sleep").arg("1000").spawn().unwrap(),
            directory,
        }
    }

    fn victim(&self) -> Pid {
        Pid::from_raw(self.victim.id() as i32).unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn shares(&self) -> Shares {
        let source = VolumeSource::Host { path: self.path("volume").into(), recursive: true };
        let volume = SharedVolume { name: "v".into(), source, read_only: false };
        let plan =
            SharePlan { apps: Vec::new(), volumes: vec![volume], may_grow: false, later_volumes: Vec::new() };
        shares::collect(&plan, NUMBERS, Demand::Everything).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn make_null(path: &str) -> io::Result<()> {
    let (character, null) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    Ok(rustix::fs::mknodat(rustix::fs::CWD, path, character, 0o666.into(), null)?)
}

/// Something that has to fail.
type Attempt = (&'static str, io::Result<()>);

fn syscall(number: libc::c_long, arguments: [usize; 5]) -> io::Result<()> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: a call that is to fail; those with pointers are passed ones to constants, or none.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Of no file: `struct file_handle` with its size and type.
const HANDLE: [u32; 4] = [8, 1, 0, 0];

/// Of calls whose arguments are wrong: it is enough to be allowed to make them.
fn permitted(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// What nobody may do, wherever he is.
fn attempts_of_anybody(host: &Host) -> Vec<Attempt> {
    let victim = host.victim();
    let number = victim.as_raw_nonzero().get() as usize;
    let unshared = |flags| {
        // SAFETY: none of the flags invalidates a descriptor.
        unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
    };
    let mut attempts = vec![
        ("read a file of the host", File::open("/etc/passwd").map(drop)),
        ("read a file of another pod", File::open(host.path("secret")).map(drop)),
        ("find it by going up", File::open("../../../../../../etc/passwd").map(drop)),
        ("see processes", fs::read_dir("/proc").map(drop)),
        ("see devices", fs::read_dir("/dev").map(drop)),
        ("write to its root", fs::write("/file", "")),
        ("signal another process", rustix::process::test_kill_process(victim).map_err(Into::into)),
        (
            "signal the supervisor",
            syscall(libc::SYS_kill, [std::os::unix::process::parent_id().max(2) as usize, 0, 0, 0, 0]),
        ),
        ("trace another process", syscall(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, number, 0, 0, 0])),
        (
            "name another process",
            rustix::process::pidfd_open(victim, rustix::process::PidfdFlags::empty())
                .map(drop)
                .map_err(Into::into),
        ),
        ("start a program", syscall(libc::SYS_execve, [c"/proc/self/exe".as_ptr().addr(), 0, 0, 0, 0])),
        ("mount", syscall(libc::SYS_fsopen, [c"tmpfs".as_ptr().addr(), 0, 0, 0, 0])),
        ("unmount", syscall(libc::SYS_umount2, [c"/".as_ptr().addr(), libc::MNT_DETACH as usize, 0, 0, 0])),
        ("change its root", syscall(libc::SYS_chroot, [c"/".as_ptr().addr(), 0, 0, 0, 0])),
        ("have a mount name space", unshared(UnshareFlags::NEWNS)),
        ("have a network name space", unshared(UnshareFlags::NEWNET)),
        ("open a file by its handle", {
            let here = libc::AT_FDCWD as usize;
            let handle = HANDLE.as_ptr().addr();
            permitted(syscall(libc::SYS_open_by_handle_at, [here, handle, 0, 0, 0]))
        }),
        ("load a module", permitted(syscall(libc::SYS_init_module, [0, 0, 0, 0, 0]))),
        ("change the host's name", rustix::system::sethostname(b"mine").map_err(Into::into)),
        ("change the clock", {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
            permitted(rustix::time::clock_settime(rustix::time::ClockId::Realtime, now).map_err(Into::into))
        }),
        (
            "have a raw socket",
            syscall(libc::SYS_socket, [libc::AF_PACKET as usize, libc::SOCK_RAW as usize, 0, 0, 0]),
        ),
        ("gain every capability", {
            let all = rustix::thread::CapabilitySet::all();
            let sets = rustix::thread::CapabilitySets { effective: all, permitted: all, inheritable: all };
            rustix::thread::set_capabilities(None, sets).map_err(Into::into)
        }),
    ];
    // What it was not given was closed; the report is the last that it has.
    let open =
        (3..64).filter(|number| syscall(libc::SYS_fcntl, [*number, libc::F_GETFD as usize, 0, 0, 0]).is_ok());
    attempts.push((
        "hold a descriptor of the host's",
        if open.count() > 2 { Ok(()) } else { Err(io::ErrorKind::Other.into()) },
    ));
    attempts
}

/// What only those may do whose business it is.
fn attempts_at_networks(host: &Host) -> Vec<Attempt> {
    let address = SocketAddr::from_abstract_name(&host.abstract_name).unwrap();
    vec![
        ("reach the host's loopback", TcpStream::connect(host.loopback).map(drop)),
        ("reach an abstract socket of the host", UnixStream::connect_addr(&address).map(drop)),
    ]
}

fn succeeded(attempts: Vec<Attempt>) -> Vec<String> {
    attempts.into_iter().filter(|(_, result)| result.is_ok()).map(|(what, _)| what.to_owned()).collect()
}

/// Runs in the place of one of the pod's processes, and returns what it managed to do.
fn done_in<C>(keep: &[RawFd], confine: C, work: impl FnOnce() -> Vec<Attempt>) -> Vec<String>
where
    C: FnOnce() -> Result<Jail<Confined>, String>,
{
    let child = spawn("probe", Company::Nobody, keep, || match confine() {
        Ok(_) => succeeded(work()),
        Err(error) => vec![error],
    });
    match child.unwrap().wait().unwrap() {
        End::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

/// Runs in the place of a file server that has these descriptors besides its shares, and returns what came of it.
fn in_file_server<R>(host: &Host, further: &[RawFd], work: impl FnOnce() -> R) -> R
where
    R: Serialize + DeserializeOwned + std::fmt::Debug,
{
    let shares = host.shares();
    let keep = [&shares.descriptors(), further].concat();
    let child = spawn("probe", Company::Nobody, &keep, || {
        let _confined = file_server::confine(shares, TERMS).unwrap();
        work()
    });
    match child.unwrap().wait::<R>().unwrap() {
        End::Done(result) => result,
        other => panic!("{other:?}"),
    }
}

/// Of this kernel; 0 without any (landlock(7), LANDLOCK_CREATE_RULESET_VERSION).
fn landlock_version() -> i64 {
    // SAFETY: asks for a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, 1usize) }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn in_vmm() -> Result<Jail<Confined>, String> {
    vmm_process::confine(TERMS).map_err(|error| error.to_string())
}

#[test]
fn a_lost_vmm_reaches_no_file_process_or_network_of_the_host() {
    if !is_root() {
        return;
    }
    let host = Host::new();

    let done = done_in(&[], in_vmm, || {
        let mut attempts = attempts_of_anybody(&host);
        attempts.extend(attempts_at_networks(&host));
        attempts.extend([
            ("be root", rustix::thread::set_thread_uid(rustix::thread::Uid::ROOT).map_err(io::Error::from)),
            (
                "be another pod's user",
                syscall(libc::SYS_setresuid, [0x7800_0001, 0x7800_0001, 0x7800_0001, 0, 0]),
            ),
            ("write to a file", {
                let file = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::empty()).unwrap();
                // The limit's signal would end the attempt, and with it the probe.
                // SAFETY: the disposition of this child.
                unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
                rustix::io::write(&file, b"x").map(drop).map_err(io::Error::from)
            }),
        ]);
        attempts
    });

    assert_eq!(done, Vec::<String>::new());
}

#[test]
fn a_lost_port_forwarder_reaches_no_file_or_process_of_the_host_nor_ports_but_the_pods() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let confine = || port_forwarder::confine(TERMS, vec![1]).map_err(|error| error.to_string());

    // Nothing else is between it and the host's network.
    let (tcp, abstract_sockets) = (landlock_version() >= 4, landlock_version() >= 6);
    let done = done_in(&[], confine, || {
        let mut attempts = attempts_of_anybody(&host);
        let networks = attempts_at_networks(&host).into_iter().zip([tcp, abstract_sockets]);
        attempts.extend(networks.filter_map(|(attempt, walled)| walled.then_some(attempt)));
        attempts
    });

    assert_eq!(done, Vec::<String>::new());
}

#[test]
fn a_lost_file_server_reaches_its_shares_and_nothing_else() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let shares = host.shares();
    let keep = shares.descriptors();
    let confine = || file_server::confine(shares, TERMS).map(|(jail, _)| jail);

    let done = done_in(&keep, confine, || {
        let mut attempts = attempts_of_anybody(&host);
        attempts.extend(attempts_at_networks(&host));
        // Its business, or everything above would prove nothing.
        fs::write("volumes/v/file", "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", "volumes/v/link").unwrap();
        fs::set_permissions("volumes/v/file", fs::Permissions::from_mode(0o755)).unwrap();
        attempts.extend([
            ("go up from a share", File::open("volumes/v/../../../secret").map(drop)),
            ("follow a link of the guest's out", File::open("volumes/v/link").map(drop)),
            ("open a device", File::open("volumes/v/null").map(drop)),
            ("make a device", make_null("volumes/v/another")),
            (
                "make a directory's mount its own",
                syscall(libc::SYS_mount, [0, c"/volumes/v".as_ptr().addr(), 0, libc::MS_REMOUNT as usize, 0]),
            ),
            ("raise a limit", {
                let core = rustix::process::Rlimit { current: Some(1), maximum: Some(1) };
                rustix::process::setrlimit(rustix::process::Resource::Core, core).map_err(io::Error::from)
            }),
            (
                "run a program from a share",
                syscall(libc::SYS_execve, [c"/volumes/v/file".as_ptr().addr(), 0, 0, 0, 0]),
            ),
            ("make a directory beside the shares", fs::create_dir("volumes/w")),
        ]);
        attempts
    });

    assert_eq!(done, Vec::<String>::new());
    assert!(fs::exists(host.path("volume/file")).unwrap());
}

#[test]
fn a_lost_maker_of_device_nodes_reaches_no_file_process_or_network_of_the_host() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let confine = || device_nodes::confine(NUMBERS, TERMS).map_err(|error| error.to_string());

    let done = done_in(&[], confine, || {
        let mut attempts = attempts_of_anybody(&host);
        attempts.extend(attempts_at_networks(&host));
        attempts.extend([
            ("make a device where it has no directory", make_null("/null")),
            ("be somebody else", syscall(libc::SYS_setresuid, [1, 1, 1, 0, 0])),
        ]);
        attempts
    });

    assert_eq!(done, Vec::<String>::new());
}

#[test]
fn a_file_server_is_root_of_the_pods_users_and_nobody_of_the_host() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let shares = host.shares();
    // What there is to see is in /proc, which it does not see itself.
    let (mut seen, mut ready) = (io::pipe().unwrap(), io::pipe().unwrap());
    let keep = [shares.descriptors(), vec![seen.0.as_raw_fd(), ready.1.as_raw_fd()]].concat();

    let child = spawn("probe", Company::Nobody, &keep, || {
        let confined = file_server::confine(shares, TERMS).map(drop);
        io::Write::write_all(&mut ready.1, b"x").unwrap();
        io::Read::read_exact(&mut seen.0, &mut [0]).unwrap();
        confined
    })
    .unwrap();
    io::Read::read_exact(&mut ready.0, &mut [0]).unwrap();
    let of = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    let status = of("status");
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (users, groups) = (of("uid_map"), of("gid_map"));
    let (space, here) = (namespace(&child.id().to_string()), namespace("self"));
    io::Write::write_all(&mut seen.1, b"x").unwrap();
    let end = child.wait::<Result<(), String>>().unwrap();

    assert_eq!(end, End::Done(Ok(())));
    assert_ne!(space, here);
    for map in [users, groups] {
        let first: Vec<&str> = map.lines().next().unwrap().split_ascii_whitespace().collect();
        assert_eq!(first, ["0", &OWNER.to_string(), "65536"], "{map}");
    }
    for ids in [field("Uid:"), field("Gid:")] {
        assert!(ids.split_ascii_whitespace().all(|id| id == OWNER.to_string()), "{ids}");
    }
    assert_eq!(field("Groups:"), "");
    assert_eq!(u64::from_str_radix(&field("CapPrm:"), 16).unwrap(), file_server::CAPABILITIES.bits());
}

/// What an escape through a descriptor of the host's would be worth: it has one of a directory beside its shares.
#[test]
fn a_lost_file_server_has_no_right_to_files_that_are_not_in_its_shares() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    // It may go there: what it may do there is the question.
    fs::set_permissions(host.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(host.path("secret"), private.clone()).unwrap();
    for user in ["volume/nobody", "nobody"] {
        fs::write(host.path(user), "theirs").unwrap();
        fs::set_permissions(host.path(user), private.clone()).unwrap();
        std::os::unix::fs::chown(host.path(user), Some(1000), Some(1000)).unwrap();
    }
    let outside = File::open(host.directory.path()).unwrap();

    let opened = in_file_server(&host, &[outside.as_raw_fd()], || {
        let open = |path: &str, flags| {
            let opened = rustix::fs::openat(&outside, path, flags, 0o644.into());
            opened.map(drop).map_err(rustix::io::Errno::raw_os_error)
        };
        use rustix::fs::OFlags;
        // Its business, or what follows would prove nothing.
        fs::read("volumes/v/nobody").unwrap();
        [
            open("secret", OFlags::RDONLY),
            open("nobody", OFlags::RDONLY),
            open("volume/nobody", OFlags::RDWR),
            open("new", OFlags::CREATE | OFlags::WRONLY),
        ]
    });

    assert_eq!(opened, [Err(libc::EACCES); 4]);
}

#[test]
fn what_a_file_server_makes_belongs_on_the_host_to_whom_it_belongs_in_the_pod() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    const WHOSE: [(u32, u32); 4] = [(0, 0), (1000, 100), (65_535, 65_534), (1_400_000, 1_400_001)];

    let nobody = in_file_server(&host, &[], || {
        for (user, group) in WHOSE {
            let path = format!("volumes/v/of-{user}");
            fs::write(&path, "").unwrap();
            std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
        }
        let nobody = std::os::unix::fs::chown("volumes/v/of-0", Some(OWNER), None);
        nobody.map_err(|error| error.raw_os_error())
    });

    assert_eq!(nobody, Err(Some(libc::EINVAL)));
    for (user, group) in WHOSE {
        let stat = rustix::fs::lstat(host.path(&format!("volume/of-{user}"))).unwrap();
        assert_eq!((stat.st_uid, stat.st_gid), (user, group));
    }
}

#[test]
fn file_capabilities_that_a_file_server_writes_are_those_that_the_host_reads() {
    use rustix::fs::{CWD, OFlags, XattrFlags, getxattr, openat, setxattr};
    if !is_root() {
        return;
    }
    const NAME: &str = "security.capability";
    // Version 2, effective; CAP_NET_BIND_SERVICE (linux/capability.h).
    const VALUE: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let host = Host::new();

    let read = in_file_server(&host, &[], || {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        openat(CWD, "volumes/v/program", flags, 0o755.into()).unwrap();
        setxattr("volumes/v/program", NAME, &VALUE, XattrFlags::empty()).unwrap();
        let mut read = vec![0; 64];
        let count = getxattr("volumes/v/program", NAME, &mut read[..]).unwrap();
        read.truncate(count);
        read
    });

    let mut on_host = [0; 64];
    let count = getxattr(host.path("volume/program"), NAME, &mut on_host[..]).unwrap();
    assert_eq!(read, VALUE);
    assert_eq!(on_host[..count], VALUE);
}

#[test]
fn access_control_lists_that_a_file_server_writes_name_on_the_host_whom_they_name_in_the_pod() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    if !is_root() {
        return;
    }
    const NAME: &str = "system.posix_acl_access";
    // linux/posix_acl_xattr.h: version 2; owner rw-, user 1000 r--, group r--, mask r--, others ---.
    const ENTRIES: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in ENTRIES {
        value.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    let host = Host::new();

    let read = in_file_server(&host, &[], || {
        fs::write("volumes/v/file", "").unwrap();
        setxattr("volumes/v/file", NAME, &value, XattrFlags::empty()).unwrap();
        // As large as the list: see `acl` of the crate file-server.
        let mut read = vec![0; value.len()];
        let count = getxattr("volumes/v/file", NAME, &mut read[..]).unwrap();
        read.truncate(count);
        read
    });

    let mut on_host = [0; 64];
    let count = getxattr(host.path("volume/file"), NAME, &mut on_host[..]).unwrap();
    assert_eq!(on_host[..count], value);
    assert_eq!(read, value);
}

#[test]
fn a_file_server_that_makes_a_device_node_has_it_made() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let shares = host.shares();
    let (mut nodes, asking) = device_nodes::prepare(NUMBERS, TERMS, Place::default()).unwrap();
    let keep = [shares.descriptors(), vec![asking.as_raw_fd()]].concat();

    let child = spawn("probe", Company::Nobody, &keep, move || {
        let (jail, _) = file_server::confine(shares, TERMS).unwrap();
        report_refused_calls().unwrap();
        device_nodes::ask(asking);
        jail.filter(&filters::FILE_SERVER).unwrap();
        let (flags, mode) = (rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
        let volume = rustix::fs::openat(rustix::fs::CWD, "volumes/v", flags, mode).unwrap();
        let make = |name: &str| {
            let (character, null) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
            let made = rustix::fs::mknodat(&volume, name, character, 0o666.into(), null);
            made.map_err(rustix::io::Errno::raw_os_error)
        };
        let made = [make("made"), make("made"), make("../made"), make(".."), make("")];
        // Closing takes a further call in a build with debug assertions.
        std::mem::forget(volume);
        made
    })
    .unwrap();
    let wanted = nodes.descriptor().unwrap().try_clone_to_owned().unwrap();
    let mut wanted = [rustix::event::PollFd::new(&wanted, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut wanted, None).unwrap();
    assert_eq!(nodes.tend(), None);
    let made = match child.wait::<[Result<(), i32>; 5]>().unwrap() {
        End::Done(made) => made,
        other => panic!("{other:?}"),
    };

    let stat = rustix::fs::lstat(host.path("volume/made")).unwrap();
    assert_eq!((stat.st_rdev, stat.st_uid, stat.st_gid), (rustix::fs::makedev(1, 3), 0, 0));
    let exists = Err(libc::EEXIST);
    assert_eq!(made, [Ok(()), exists, Err(libc::EINVAL), exists, Err(libc::ENOENT)]);
}

/// Every number, the present ones and some of the future.
const CALLS: std::ops::Range<u32> = 0..500;

/// What the kernel's own trampolines of uprobes call. It answers anybody else with SIGILL, before any filter.
const TRAMPOLINES: [u32; 2] = [335, 336];

/// In a process of its own for each call, since a refused one ends it. Only that the call was refused is of interest, so all arguments
/// are such as no call takes.
#[track_caller]
fn expect_all_others_refused(filter: &'static Filter) {
    let listed = |call: u32| filter.rules.iter().any(|rule| rule.call == i64::from(call));
    for call in CALLS.filter(|call| !listed(*call) && !TRAMPOLINES.contains(call)) {
        let child = spawn("probe", Company::Host, &[], || {
            rustix::thread::set_no_new_privs(true).unwrap();
            report_refused_calls().unwrap();
            filter.apply().unwrap();
            let _ = syscall(call.into(), [usize::MAX; 5]);
        });

        match child.unwrap().wait::<()>().unwrap() {
            End::Refused(refusal) => assert_eq!(refusal.call, call, "{}", filter.name),
            other => panic!("{} does not refuse {call}: {other:?}", filter.name),
        }
    }
}

#[test]
fn a_virtual_cpus_thread_makes_no_call_that_is_not_on_its_list() {
    expect_all_others_refused(&filters::VCPU);
}

#[test]
fn the_device_thread_makes_no_call_that_is_not_on_its_list() {
    expect_all_others_refused(&filters::DEVICES);
}

#[test]
fn the_file_server_makes_no_call_that_is_not_on_its_list() {
    expect_all_others_refused(&filters::FILE_SERVER);
}

#[test]
fn the_maker_of_device_nodes_makes_no_call_that_is_not_on_its_list() {
    expect_all_others_refused(&filters::DEVICE_NODES);
}

#[test]
fn the_port_forwarder_makes_no_call_that_is_not_on_its_list() {
    expect_all_others_refused(&filters::PORT_FORWARDER);
}
