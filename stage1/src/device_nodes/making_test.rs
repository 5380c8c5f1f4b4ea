//! The process as it is in a pod, behind all its walls, and somebody who asks it for nodes.
//!
//! It takes root to make nodes, and mounts to put them in, so for anybody else there is nothing to see here.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::asking::exchange;
use super::request::Request;
use super::{DeviceNodes, State, confine, prepare};
use crate::jail::{self, Demand, Depth, Terms};
use crate::process::{Company, End, Place, report_refused_calls, spawn};
use crate::users::Numbers;

const TERMS: Terms = Terms { demand: Demand::WhatTheHostHas, user: 0x7800_1234 };

/// Of a pod without numbers of its own: who makes nodes in directories with maps is tried with the file server.
const NUMBERS: Numbers = Numbers::OfTheHost;

const NULL: Request<'_> =
    Request { mode: libc::S_IFCHR | 0o666, device: 0x103, umask: 0o027, group: 77, name: b"null" };

/// One that is asked, and where its nodes go.
struct Fixture {
    nodes: DeviceNodes,
    asking: OwnedFd,
    tree: OwnedFd,
}

impl Fixture {
    /// None for whoever is not root.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let (nodes, asking) = prepare(NUMBERS, TERMS, Place::default()).unwrap();
        // As every mount in a file server's tree, nobody can open a device in it.
        Some(Self { nodes, asking, tree: jail::empty_tree().unwrap() })
    }

    /// Sends what may be no request, with as many descriptors.
    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        rustix::net::sendmsg(&self.asking, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
            .unwrap();
    }

    /// What it answers to what was sent; the process is started for the first.
    fn answer(&mut self) -> i32 {
        self.tend();
        let mut answer = [0; 4];
        let mut nothing = RecvAncillaryBuffer::default();
        let mut parts = [IoSliceMut::new(&mut answer)];
        let heard = rustix::net::recvmsg(&self.asking, &mut parts, &mut nothing, RecvFlags::empty()).unwrap();
        if heard.bytes == 0 {
            wait(self.nodes.descriptor().unwrap());
            panic!("{:?}", self.nodes.tend());
        }
        i32::from_le_bytes(answer)
    }

    fn tend(&mut self) {
        assert_eq!(self.nodes.tend(), None);
    }

    /// Asks as the file server does.
    fn make(&mut self, request: &Request<'_>, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        self.send(request.encode().unwrap().bytes(), &[directory]);
        match self.answer() {
            0 => Ok(()),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }
}

#[test]
fn node_is_made_with_type_numbers_owner_and_mode_that_were_asked_for() {
    let Some(mut fixture) = Fixture::new() else { return };
    let tree = fixture.tree.try_clone().unwrap();
    let number = rustix::fs::makedev(259, 70_000);
    let block =
        Request { mode: libc::S_IFBLK | 0o640, device: number as u32, umask: 0, name: b"disk", ..NULL };

    fixture.make(&NULL, tree.as_fd()).unwrap();
    fixture.make(&block, tree.as_fd()).unwrap();

    let null = rustix::fs::statat(&tree, "null", AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!(FileType::from_raw_mode(null.st_mode), FileType::CharacterDevice);
    assert_eq!((null.st_rdev, null.st_uid, null.st_gid), (rustix::fs::makedev(1, 3), 0, 77));
    assert_eq!(Mode::from_raw_mode(null.st_mode).bits(), 0o640);
    let disk = rustix::fs::statat(&tree, "disk", AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!(FileType::from_raw_mode(disk.st_mode), FileType::BlockDevice);
    assert_eq!((disk.st_rdev, disk.st_uid, disk.st_gid), (number, 0, 77));
    assert_eq!(fixture.make(&NULL, tree.as_fd()), Err(Errno::EXIST));
}

#[test]
fn directory_is_believed_in_only_if_nobody_can_open_a_device_there() {
    let Some(mut fixture) = Fixture::new() else { return };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let of_the_host = rustix::fs::open("/", flags, Mode::empty()).unwrap();
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&fixture.tree, "file", flags, Mode::RUSR).unwrap();
    let pipe = std::io::pipe().unwrap().0;
    let read_only = jail::empty_tree().unwrap();
    jail::make_read_only(&read_only, Depth::Single).unwrap();

    assert_eq!(fixture.make(&NULL, of_the_host.as_fd()), Err(Errno::PERM));
    assert_eq!(fixture.make(&NULL, file.as_fd()), Err(Errno::NOTDIR));
    assert!(fixture.make(&NULL, pipe.as_fd()).is_err());
    assert_eq!(fixture.make(&NULL, read_only.as_fd()), Err(Errno::ROFS));
    assert!(!std::fs::exists("/null").unwrap());
}

#[test]
fn hostile_requests_are_refused_and_the_next_one_is_served() {
    let Some(mut fixture) = Fixture::new() else { return };
    let tree = fixture.tree.try_clone().unwrap();
    let good = NULL.encode().unwrap();

    for name in [&b""[..], b".", b"..", b"/null", b"a/null", b"null\0"] {
        assert!(fixture.make(&Request { name, ..NULL }, tree.as_fd()).is_err(), "{name:?}");
    }
    for mode in [libc::S_IFREG, libc::S_IFDIR, libc::S_IFIFO, libc::S_IFSOCK, 0] {
        assert_eq!(fixture.make(&Request { mode, ..NULL }, tree.as_fd()), Err(Errno::PERM), "{mode:o}");
    }
    fixture.send(good.bytes(), &[]);
    assert_eq!(fixture.answer(), Errno::BADF.raw_os_error());
    fixture.send(&[b'x'; 4096], &[tree.as_fd()]);
    assert_ne!(fixture.answer(), 0);
    fixture.send(b"x", &[tree.as_fd()]);
    assert_ne!(fixture.answer(), 0);
    // More than it takes; the rest is closed by the kernel.
    fixture.send(good.bytes(), &[tree.as_fd(), fixture.asking.as_fd()]);
    assert_eq!(fixture.answer(), 0);

    let second = Request { name: b"second", ..NULL };
    assert_eq!(fixture.make(&second, tree.as_fd()), Ok(()));
}

fn wait(descriptor: BorrowedFd<'_>) {
    let long = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut descriptors, Some(&long)).unwrap(), 1);
}

/// Whoever asks has gone, and there is nothing to be said about that.
#[track_caller]
fn expect_gone(nodes: &mut DeviceNodes) {
    wait(nodes.descriptor().unwrap());
    assert_eq!(nodes.tend(), None);
    assert!(nodes.descriptor().is_none());
}

#[test]
fn process_begins_with_the_first_request_and_ends_with_whoever_asks() {
    let Some(mut fixture) = Fixture::new() else { return };
    let tree = fixture.tree.try_clone().unwrap();
    fixture.tend();
    assert!(matches!(fixture.nodes.state, State::Waiting(_)));
    fixture.make(&NULL, tree.as_fd()).unwrap();
    assert!(matches!(fixture.nodes.state, State::Running(_)));

    let Fixture { mut nodes, asking, .. } = fixture;
    drop(asking);

    expect_gone(&mut nodes);
}

#[test]
fn nobody_who_never_asks_has_a_process() {
    let Some(fixture) = Fixture::new() else { return };
    let Fixture { mut nodes, asking, .. } = fixture;

    drop(asking);

    expect_gone(&mut nodes);
}

#[test]
fn killed_process_is_told_of_and_its_nodes_fail_as_devices_do() {
    let Some(mut fixture) = Fixture::new() else { return };
    let tree = fixture.tree.try_clone().unwrap();
    fixture.make(&NULL, tree.as_fd()).unwrap();

    fixture.nodes.kill().unwrap();

    wait(fixture.nodes.descriptor().unwrap());
    let said = fixture.nodes.tend().unwrap();
    assert!(said.contains("no more device nodes") && said.contains("signal 9"), "{said}");
    assert_eq!(exchange(&fixture.asking, &NULL, tree.as_fd()), Err(Errno::IO));
}

/// Whether a node is made by a process without one alternative of its filter.
fn is_superfluous(number: usize) -> bool {
    let fixture = Fixture::new().unwrap();
    let State::Waiting(socket) = fixture.nodes.state else { panic!("nobody has asked") };
    let child = spawn("test", Company::Host, &[socket.as_raw_fd()], move || {
        confine(NUMBERS, TERMS).unwrap();
        report_refused_calls().unwrap();
        filters::DEVICE_NODES.apply_without(number).unwrap();
        super::making::serve(&socket, NUMBERS).map_err(|error| error.to_string())
    });
    let second = Request { name: b"second", ..NULL };

    let made = [NULL, second].iter().all(|it| exchange(&fixture.asking, it, fixture.tree.as_fd()).is_ok());

    drop(fixture.asking);
    !matches!(child.unwrap().wait::<Result<(), String>>().unwrap(), End::Refused(_)) && made
}

#[test]
fn every_rule_of_the_filter_of_who_makes_device_nodes_is_needed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let alternatives = filters::DEVICE_NODES.alternatives().into_iter().enumerate();

    let superfluous = alternatives.filter(|(number, it)| !it.is_spare() && is_superfluous(*number));

    assert_eq!(superfluous.map(|(_, it)| it.rule.why).collect::<Vec<_>>(), [""; 0]);
}
