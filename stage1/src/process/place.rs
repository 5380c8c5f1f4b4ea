//! The control groups that a child begins in.
//!
//! Responsible for: forking into them. Must not know: which they are, and their limits. Follows clone(2), `CLONE_INTO_CGROUP`, and
//! cgroups(7).
//!
//! A process that is moved has the kernel wait until no process of the host forks or ends, which takes milliseconds. One that is
//! forked into a group of the second version, and one that moves itself within the first, are spared that.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use rustix::fs::{Mode, OFlags};

/// `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Groups of a child. None at all: it stays where its parent is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The directory of the group of the second version.
    pub unified: Option<Arc<OwnedFd>>,
    /// Files of groups of the first version, to which a thread writes that it enters.
    pub tasks: Vec<Arc<File>>,
}

impl Place {
    /// As fork(2). The child has still to [`enter`](Self::enter) with what is returned beside.
    ///
    /// # Safety
    /// As of `nix::unistd::fork`: the process has one thread.
    pub unsafe fn fork(&self) -> nix::Result<(ForkResult, Entered)> {
        // Tests have threads, and nobody but fork(2) as glibc has it keeps the allocator whole then.
        let unified = self.unified.as_ref().filter(|_| !cfg!(test));
        match unified.map(|group| clone_into(group)) {
            // An old kernel (before 5.7), or one that something keeps from it.
            None | Some(Err(_)) => {
                // SAFETY: the caller has seen to it.
                unsafe { nix::unistd::fork() }.map(|forked| (forked, Entered(false)))
            }
            Some(Ok(0)) => Ok((ForkResult::Child, Entered(true))),
            Some(Ok(child)) => Ok((ForkResult::Parent { child: Pid::from_raw(child) }, Entered(true))),
        }
    }

    /// Takes the calling process, a child that has one thread, into the groups that it is not in yet.
    pub fn enter(&self, entered: Entered) -> io::Result<()> {
        for tasks in &self.tasks {
            tasks.as_ref().write_all(b"0")?;
        }
        let Some(group) = self.unified.as_ref().filter(|_| !entered.0) else { return Ok(()) };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let processes = rustix::fs::openat(group, "cgroup.procs", flags, Mode::empty())?;
        File::from(processes).write_all(b"0")
    }
}

/// Whether a child began in its group of the second version.
#[derive(Clone, Copy, Debug)]
pub struct Entered(bool);

/// What fork(2) does, in another group. glibc's own records of the one thread stay those of the parent, its number for locks that know their
/// owner among them, of which nobody uses any.
fn clone_into(group: &OwnedFd) -> nix::Result<libc::pid_t> {
    let arguments = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.as_raw_fd() as u64,
    };
    // SAFETY: without shared memory the child has a copy of everything, its stack included, and goes on where the parent does.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    Errno::result(result).map(|pid| pid as libc::pid_t)
}
