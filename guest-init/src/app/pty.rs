//! A terminal: PID 1's side of it, and how a process gets the other.
//!
//! Responsible for: opening a pair, its size, who is in its foreground, making it a process's controlling terminal. Must
//! not know: what is typed. Follows pty(7), ioctl_tty(2) and the kernel's Documentation/filesystems/devpts.rst.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use guest_api::WindowSize;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions, Winsize};

use super::root_dir::RootDir;

/// Makes terminals; every app's /dev/pts is the same file system.
pub const MULTIPLEXER: &str = "/dev/pts/ptmx";

/// The controlling side.
#[derive(Debug)]
pub struct Terminal {
    controller: OwnedFd,
    /// While somebody has the users' side open, a process may close its own and open it again without its output ending.
    user_side: Option<OwnedFd>,
}

/// The users' side, for the process that will have it.
#[derive(Debug)]
pub struct UserSide {
    name: PathBuf,
    device: OwnedFd,
}

impl Terminal {
    /// A new pair from the file system that `multiplexer` belongs to.
    pub fn open(multiplexer: &str, size: WindowSize) -> Result<(Self, UserSide), Errno> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let controller = rustix::fs::open(multiplexer, flags, Mode::empty())?;
        rustix::pty::unlockpt(&controller)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let device = rustix::pty::ioctl_tiocgptpeer(&controller, flags)?;
        let name = rustix::pty::ptsname(&controller, Vec::new())?;
        let terminal = Self { controller, user_side: Some(rustix::io::fcntl_dupfd_cloexec(&device, 0)?) };
        terminal.resize(size)?;
        terminal.erase_whole_characters()?;
        Ok((terminal, UserSide { name: PathBuf::from(OsStr::from_bytes(name.as_bytes())), device }))
    }

    /// Gives the terminal a size; its foreground processes get SIGWINCH.
    pub fn resize(&self, size: WindowSize) -> Result<(), Errno> {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.controller, size)
    }

    /// The process group that reads what is typed, if there is one.
    pub fn foreground(&self) -> Option<i32> {
        rustix::termios::tcgetpgrp(&self.controller).ok().map(|group| group.as_raw_nonzero().get())
    }

    /// Another handle on the controlling side.
    pub fn controller(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.controller, 0)
    }

    /// Its process has ended: the output ends with the last descendant that has the terminal open.
    pub fn leave_to_descendants(&mut self) {
        self.user_side = None;
    }

    /// What is typed is UTF-8: the erase key deletes characters, not bytes.
    fn erase_whole_characters(&self) -> Result<(), Errno> {
        let mut modes = rustix::termios::tcgetattr(&self.controller)?;
        modes.input_modes |= InputModes::IUTF8;
        rustix::termios::tcsetattr(&self.controller, OptionalActions::Now, &modes)
    }
}

impl UserSide {
    /// Makes this the controlling terminal of the calling process, which leads a session without one and sees `root`.
    pub fn take(&self, root: &RootDir) -> Result<OwnedFd, Errno> {
        let terminal = self.borrow(root)?;
        rustix::process::ioctl_tiocsctty(&terminal)?;
        Ok(terminal)
    }

    /// Opens it without making it anybody's controlling terminal.
    pub fn borrow(&self, root: &RootDir) -> Result<OwnedFd, Errno> {
        match self.open_by_name(root) {
            Some(terminal) => Ok(terminal),
            None => rustix::io::fcntl_dupfd_cloexec(&self.device, 0),
        }
    }

    /// Opened by its path, it is what ttyname(3) looks for; an app may have put something else there.
    pub(super) fn open_by_name(&self, root: &RootDir) -> Option<OwnedFd> {
        let ours = rustix::fs::fstat(&self.device).ok()?;
        let there = root.stat(Path::new(&self.name)).ok()?;
        if (there.st_rdev, there.st_ino, there.st_dev) != (ours.st_rdev, ours.st_ino, ours.st_dev) {
            return None;
        }
        root.open_at(&self.name, OFlags::RDWR | OFlags::NOCTTY).ok()
    }
}

impl AsFd for UserSide {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.device.as_fd()
    }
}
