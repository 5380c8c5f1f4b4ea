//! A user name space in which everybody has the number that he has outside.
//!
//! Responsible for: moving the calling process, which has one thread, into a new one. Must not know: why. Follows user_namespaces(7).
//!
//! Its capabilities go on to hold for files, whose owners are all known there, and for nothing else of the host's: the kernel asks for
//! those in the user name space of what they are about. Only a process that stays behind may say who is who in there.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::wait::waitpid;
use nix::unistd::ForkResult;
use rustix::fs::{CWD, Mode, OFlags};

use super::walls;

/// Users and groups of a user name space, as files of /proc/PID.
const MAPS: [&str; 2] = ["uid_map", "gid_map"];

/// Of a map: the kernel takes no more lines than 340 (user_namespaces(7)) of three numbers each, and no more bytes than a page.
const MAP_BYTES: usize = 4096;

/// How a process got on.
#[derive(Debug)]
pub enum Moved {
    /// It is in the new name space, with every capability.
    In,
    /// This host makes none. The process is where it was.
    Stayed(io::Error),
}

/// What /proc says of the calling process: to be opened while there is a /proc.
pub fn own_entry() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, "/proc/self", flags, Mode::empty())?)
}

/// Moves the calling process, whose entry in /proc this is. `Err` if it is neither here nor there.
pub fn enter(own: &OwnedFd) -> io::Result<Moved> {
    let maps = match MAPS.map(|name| read(own, name).map(|map| same_numbers(&map))) {
        [Ok(users), Ok(groups)] => [users, groups],
        [Err(error), _] | [_, Err(error)] => return Ok(Moved::Stayed(error)),
    };
    let (mut told, teller) = io::pipe()?;
    let (mut heard, hearer) = io::pipe()?;
    // SAFETY: the process has one thread, so that the child finds no lock held by one that does not exist in it.
    let child = match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            drop(teller);
            let written = told.read_exact(&mut [0]).and_then(|()| write(own, &maps));
            // If it fails, the end of this process says so.
            let _ = written.and_then(|()| (&hearer).write_all(&[0]));
            // SAFETY: `_exit` takes any status and does not return.
            unsafe { libc::_exit(0) }
        }
    };
    drop((told, hearer));
    let left = walls::leave_user_namespace();
    if left.is_ok() {
        (&teller).write_all(&[0])?;
    }
    drop(teller);
    let written = heard.read_exact(&mut [0]);
    // Whoever started rkt may have the kernel wait for children.
    let _ = waitpid(child, None);
    match (left, written) {
        (Err(error), _) => Ok(Moved::Stayed(error)),
        (Ok(()), Ok(())) => Ok(Moved::In),
        (Ok(()), Err(_)) => Err(io::Error::other("the numbers of users and groups could not be set")),
    }
}

fn read(own: &OwnedFd, name: &str) -> io::Result<String> {
    let file = rustix::fs::openat(own.as_fd(), name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0; MAP_BYTES];
    let count = rustix::io::read(file, &mut bytes)?;
    let text = std::str::from_utf8(bytes.get(..count).unwrap_or_default());
    text.map(str::to_owned).map_err(|_| ErrorKind::InvalidData.into())
}

fn write(own: &OwnedFd, maps: &[String; 2]) -> io::Result<()> {
    for (name, map) in MAPS.into_iter().zip(maps) {
        let file = rustix::fs::openat(own.as_fd(), name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The kernel takes a map as a whole or not at all.
        rustix::io::write(file, map.as_bytes())?;
    }
    Ok(())
}

/// The map that gives everybody in a map (lines of a first number inside, a first one outside, and how many) the number inside again.
pub(super) fn same_numbers(map: &str) -> String {
    let mut same = String::new();
    for line in map.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some(first), Some(_), Some(count)) = (words.next(), words.next(), words.next()) {
            same += &format!("{first} {first} {count}\n");
        }
    }
    same
}
