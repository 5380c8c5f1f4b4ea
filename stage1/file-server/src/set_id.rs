//! Set-ID bits of files that are written to.
//!
//! Responsible for: keeping them where whoever writes may keep them, and clearing them where a request of FUSE's cannot ask for it. Must not
//! know: where files are. Follows inode(7) and `setattr_should_drop_suidgid` of Linux' fs/attr.c.
//!
//! In a program that is in a user name space of its own, Linux takes the bits away with every write, whatever its capabilities are: it asks
//! for CAP_FSETID in the first of all name spaces. So they are given back, which takes no more than the file's owner or CAP_FOWNER.
//! Requests are served one after the other, so the guest never sees a file without them.

use std::io;

use rustix::fs::{FileType, Mode};
use virtiofsd::filesystem::{Context, FileSystem, SetattrValid};
use virtiofsd::fuse::{Attr, SetattrIn};

use crate::numbers::{Inode, NumberedFs};

/// A mode as a write of somebody leaves it who may not keep set-ID bits.
fn after_write(mode: Mode) -> Mode {
    // Without the right to execute, the bit of the group was mandatory locking.
    let group = if mode.contains(Mode::XGRP) { Mode::SGID } else { Mode::empty() };
    mode - Mode::SUID - group
}

/// The mode of a file that it could lose with a write.
pub(crate) fn mode_at_stake(attr: &Attr) -> Option<Mode> {
    let mode = Mode::from_raw_mode(attr.mode);
    let is_file = FileType::from_raw_mode(attr.mode) == FileType::RegularFile;
    (is_file && after_write(mode) != mode).then_some(mode)
}

impl NumberedFs {
    /// Changes what is in a file, for somebody who `keeps` its set-ID bits. Returns the file's attributes, too, if these were given back.
    pub(crate) fn keeping_set_id<T>(
        &self,
        ctx: Context,
        inode: Inode,
        keeps: bool,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, Option<Attr>)> {
        let before = if keeps && self.may_have_set_id(inode) {
            mode_at_stake(&self.inner.getattr(ctx, inode, None)?.0)
        } else {
            None
        };
        let changed = change();
        // What was written is written. Bits that cannot be given back are rights that the file has no more.
        let kept = before.and_then(|mode| self.give_back(ctx, inode, mode).ok().flatten());
        Ok((changed?, kept))
    }

    fn give_back(&self, ctx: Context, inode: Inode, mode: Mode) -> io::Result<Option<Attr>> {
        let (attr, _) = self.inner.getattr(ctx, inode, None)?;
        // Any other mode is what somebody on the host has given the file meanwhile.
        if Mode::from_raw_mode(attr.mode) != after_write(mode) {
            return Ok(None);
        }
        self.set_mode(ctx, inode, mode).map(Some)
    }

    /// Takes away what a write of somebody takes away who may not keep it.
    pub(crate) fn clear_set_id(&self, ctx: Context, inode: Inode) -> io::Result<()> {
        let (attr, _) = self.inner.getattr(ctx, inode, None)?;
        match mode_at_stake(&attr) {
            Some(mode) => self.set_mode(ctx, inode, after_write(mode)).map(drop),
            None => Ok(()),
        }
    }

    fn set_mode(&self, ctx: Context, inode: Inode, mode: Mode) -> io::Result<Attr> {
        let change = SetattrIn { mode: mode.bits(), ..SetattrIn::default() };
        Ok(self.inner.setattr(ctx, inode, change, None, SetattrValid::MODE)?.0)
    }
}
