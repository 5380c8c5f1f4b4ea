//! Who a pod's users and groups are on the host.
//!
//! Responsible for: the numbers that a pod has for itself, and user name spaces in which its users have their own. Must not know: files,
//! which process is whom. Follows user_namespaces(7), systemd's UIDS-GIDS.md.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::wait::waitpid;
use nix::unistd::ForkResult;
use uuid::Uuid;

use crate::jail;

/// Numbers of the host that pods use and nobody else does: systemd's list has them as unused up to 2^31, but for a few at their end; shadow's,
/// container managers' and dynamic users' end below.
const OF_PODS: Range<u32> = 0x7000_0000..0x8000_0000;

/// Users of a pod that have numbers of its own: as many as programs with 16-bit numbers know, and as rkt's `--private-users` gives.
const COUNT: u32 = 0x1_0000;

/// Where they begin: in the first half of those of pods.
const RANGES: u32 = 0x0800;

/// The first of those users of the host that are processes without files, in the second half; and how many there are before systemd's.
const FIRST_USER: u32 = OF_PODS.start + RANGES * COUNT;
const USERS: u32 = 0x07fe_0000;

/// The user and group of the host that a pod's processes are, those that need no file. Two pods may have the same one, by a chance of
/// one in a hundred million; nothing but this wall depends on their having different ones.
pub fn user_of(pod: Uuid) -> u32 {
    FIRST_USER + pod.as_u128() as u32 % USERS
}

/// What numbers the users and groups have on the host to whom a pod's files belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// The first 65,536 have numbers from this one on, which nobody else of the host has. Higher ones are the host's, which
    /// gives them to people of large directories, so that their volumes stay theirs.
    OfThePod(u32),
    /// Everybody has the host's.
    OfTheHost,
}

impl Numbers {
    /// Those of a pod. Two pods may have the same ones, by a chance of one in two thousand: then a file server that got out of
    /// its own walls and into another's would find itself at home.
    pub fn of(pod: Uuid) -> Self {
        Self::OfThePod(OF_PODS.start + (pod.as_u128() as u32 % RANGES) * COUNT)
    }

    /// The number on the host of one of the pod's users or groups. `None`: there is nobody.
    pub fn on_host(self, number: u32) -> Option<u32> {
        match self {
            Self::OfTheHost => Some(number),
            Self::OfThePod(first) if number < COUNT => Some(first + number),
            Self::OfThePod(_) => (!OF_PODS.contains(&number) && number != u32::MAX).then_some(number),
        }
    }

    /// A map of a user name space (lines of a first number inside, a first one outside, and how many), where `own` is that of the name space
    /// that it is made in.
    pub(crate) fn map(self, own: &str) -> String {
        match self {
            Self::OfThePod(first) => {
                let below = OF_PODS.start - COUNT;
                // Without the last number, which means nobody.
                let above = u32::MAX - OF_PODS.end;
                format!(
                    "0 {first} {COUNT}\n{COUNT} {COUNT} {below}\n{end} {end} {above}\n",
                    end = OF_PODS.end
                )
            }
            Self::OfTheHost => {
                let words = own.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
                let same = |line: Vec<&str>| match line[..] {
                    [first, _, count] => format!("{first} {first} {count}\n"),
                    _ => String::new(),
                };
                words.map(same).collect()
            }
        }
    }
}

/// A user name space without a process.
#[derive(Debug)]
pub struct Users {
    numbers: Numbers,
    namespace: OwnedFd,
}

impl Users {
    /// Makes one. Fails where the kernel makes none, or not with these numbers.
    ///
    /// Must be called while the process has one thread, or in a test.
    pub fn make(numbers: Numbers) -> io::Result<Self> {
        let maps = ["uid_map", "gid_map"];
        let [users, groups] = maps.map(|map| fs::read_to_string(format!("/proc/self/{map}")));
        let texts = [numbers.map(&users?), numbers.map(&groups?)];
        let (mut ready, left) = io::pipe()?;
        let (held, holder) = io::pipe()?;
        // SAFETY: the child makes system calls and nothing else, so it needs no lock that a thread might have held.
        let child = match unsafe { nix::unistd::fork() }? {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                drop(holder);
                hold(&left, &held);
                // SAFETY: `_exit` takes any status and does not return.
                unsafe { libc::_exit(0) }
            }
        };
        drop(left);
        let made = ready.read_exact(&mut [0]).and_then(|()| {
            for (map, text) in maps.into_iter().zip(&texts) {
                // The kernel takes a map as a whole or not at all.
                File::options()
                    .write(true)
                    .open(format!("/proc/{child}/{map}"))?
                    .write_all(text.as_bytes())?;
            }
            Ok(File::open(format!("/proc/{child}/ns/user"))?.into())
        });
        // In tests, a child that another thread has forked holds the other end of its pipe, too.
        let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
        drop(holder);
        // Whoever started rkt may have the kernel wait for children.
        let _ = waitpid(child, None);
        Ok(Self { numbers, namespace: made? })
    }

    /// Who has which number.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// A second handle.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { numbers: self.numbers, namespace: self.namespace.try_clone()? })
    }
}

impl AsFd for Users {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Keeps a new user name space there for as long as somebody has the other end of `held`, and says on `left` that there is one.
fn hold(mut left: &io::PipeWriter, mut held: &io::PipeReader) {
    if jail::leave_user_namespace().is_ok() {
        // Whoever waits sees that nothing comes.
        let _ = left.write_all(&[0]).and_then(|()| held.read(&mut [0]).map(drop));
    }
}
