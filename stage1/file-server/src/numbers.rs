//! One file system out of many: inode numbers that stay apart, whatever host file system a file is on.
//!
//! Responsible for: telling the mounts of the shared tree apart and putting that into every inode number. Must not know: pods. Set-ID bits
//! are kept by `set_id`; all else is passed on to virtiofsd's file system.
//!
//! FUSE would rather make each mount a file system of its own in the guest (`FUSE_ATTR_SUBMOUNT`). But Linux gives those
//! neither ACLs nor `SB_NOSEC`, without which every write asks for file capabilities first; both are set in
//! fs/fuse/inode.c for the file system that was mounted by hand, and for no other.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::FileType;
use virtiofsd::filesystem::{
    Context, DirEntry, DirectoryIterator, Entry, Extensions, FileSystem, FsOptions, GetxattrReply,
    ListxattrReply, OpenOptions, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
};
use virtiofsd::fuse::{ATTR_SUBMOUNT, Attr, ROOT_ID, SetattrIn};
use virtiofsd::passthrough::PassthroughFs;
use virtiofsd::read_dir::ReadDir;
use virtiofsd::soft_idmap::Id;

use crate::Writers;
use crate::acl;
use crate::set_id;

pub(crate) type Inode = <PassthroughFs as FileSystem>::Inode;
type Handle = <PassthroughFs as FileSystem>::Handle;

/// Where a mount's number goes in an inode number: above what file systems use, below the bits by which overlayfs tells its
/// layers apart. Two files share a number only if the host's file systems use these bits themselves; the guest's kernel
/// tells files apart by FUSE's node numbers, so that it is programs comparing `st_ino` who could be led astray, not it.
const MOUNT_SHIFT: u32 = 48;

/// A mount of the shared tree, in the order in which the guest found them; 0 is the tree's own.
type Mount = u16;

/// What is remembered of an inode that the guest remembers.
#[derive(Clone, Copy, Debug)]
struct Known {
    mount: Mount,
    /// Its number on its own file system.
    number: u64,
    /// Whether its mount begins with it, and it can be opened.
    root: bool,
    /// How often the guest was told of it, less how often it forgot it.
    lookups: u64,
    /// Whether it had set-ID bits, other than a directory's, when the guest was last told of its attributes.
    set_id: bool,
}

impl Known {
    /// The guest is told of its attributes.
    fn told(&mut self, attr: &Attr) {
        self.set_id = set_id::mode_at_stake(attr).is_some();
    }
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Inode, Known>,
    /// By the directory that holds the mount point, and the mount point's name.
    mounts: HashMap<(Mount, u64, Vec<u8>), Mount>,
}

impl Table {
    fn of(&self, inode: Inode) -> (Mount, u64) {
        self.known.get(&inode).map_or((0, ROOT_ID), |known| (known.mount, known.number))
    }

    fn mount_at(&mut self, parent: Inode, name: &CStr) -> Mount {
        let (mount, number) = self.of(parent);
        let place = (mount, number, name.to_bytes().to_vec());
        if let Some(mount) = self.mounts.get(&place) {
            return *mount;
        }
        // As many mounts as there are numbers; more share the last one.
        let next = Mount::try_from(self.mounts.len() + 1).unwrap_or(Mount::MAX);
        if next < Mount::MAX {
            self.mounts.insert(place, next);
        }
        next
    }

    fn forget(&mut self, inode: Inode, count: u64) {
        if let Some(known) = self.known.get_mut(&inode) {
            known.lookups = known.lookups.saturating_sub(count);
            if known.lookups == 0 {
                self.known.remove(&inode);
            }
        }
    }
}

fn number_in(mount: Mount, number: u64) -> u64 {
    number ^ u64::from(mount) << MOUNT_SHIFT
}

/// virtiofsd's file system with inode numbers of our own.
pub(crate) struct NumberedFs {
    pub(crate) inner: PassthroughFs,
    writers: Writers,
    table: Mutex<Table>,
}

impl NumberedFs {
    pub(crate) fn new(inner: PassthroughFs, writers: Writers) -> Self {
        Self { inner, writers, table: Mutex::default() }
    }

    /// Closing a file tells something on network file systems only, and there only of what was written: the guest need not
    /// ask for it otherwise. Roots of apps are on none; volumes may be.
    fn without_flush(&self, options: OpenOptions, flags: u32) -> OpenOptions {
        let written = flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32;
        if written && self.writers == Writers::GuestAndHost {
            options
        } else {
            options | OpenOptions::NOFLUSH
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an inode that the guest is told of.
    fn entry(&self, parent: Inode, name: &CStr, mut entry: Entry) -> Entry {
        let mut table = self.table();
        let (parents, _) = table.of(parent);
        let file_type = FileType::from_raw_mode(entry.attr.mode);
        let is_directory = file_type == FileType::Directory;
        // The tree's own file system holds directories only; a file in it is one that is a mount.
        let begins_mount = entry.attr.flags & ATTR_SUBMOUNT != 0 || (parents == 0 && !is_directory);
        let mount = if begins_mount { table.mount_at(parent, name) } else { parents };
        entry.attr.flags &= !ATTR_SUBMOUNT;
        let root = begins_mount && (is_directory || file_type == FileType::RegularFile);
        let first = Known { mount, number: entry.attr.ino, root, lookups: 0, set_id: false };
        let known = table.known.entry(entry.inode).or_insert(first);
        known.lookups += 1;
        known.told(&entry.attr);
        entry.attr.ino = number_in(known.mount, entry.attr.ino);
        entry
    }

    fn attributes(&self, inode: Inode, mut attr: Attr) -> Attr {
        let mut table = self.table();
        if let Some(known) = table.known.get_mut(&inode) {
            known.told(&attr);
        }
        attr.ino = number_in(table.of(inode).0, attr.ino);
        attr
    }

    /// Whether a file may have set-ID bits: it has not if the guest knows that it has none, and nobody else could have set them.
    pub(crate) fn may_have_set_id(&self, inode: Inode) -> bool {
        self.writers == Writers::GuestAndHost
            || self.table().known.get(&inode).is_none_or(|known| known.set_id)
    }
}

/// A directory's entries with the numbers that lookups give.
pub(crate) struct NumberedDir {
    inner: ReadDir<Vec<u8>>,
    mount: Mount,
}

impl DirectoryIterator for NumberedDir {
    fn next(&mut self) -> Option<DirEntry<'_>> {
        let mount = self.mount;
        let entry = self.inner.next()?;
        Some(DirEntry { ino: number_in(mount, entry.ino), ..entry })
    }
}

impl FileSystem for NumberedFs {
    type Inode = Inode;
    type Handle = Handle;
    type DirIter = NumberedDir;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        self.inner.init(capable)
    }

    fn destroy(&self) {
        *self.table() = Table::default();
        self.inner.destroy();
    }

    fn lookup(&self, ctx: Context, parent: Inode, name: &CStr) -> io::Result<Entry> {
        Ok(self.entry(parent, name, self.inner.lookup(ctx, parent, name)?))
    }

    fn forget(&self, ctx: Context, inode: Inode, count: u64) {
        self.table().forget(inode, count);
        self.inner.forget(ctx, inode, count);
    }

    fn batch_forget(&self, ctx: Context, requests: Vec<(Inode, u64)>) {
        for (inode, count) in &requests {
            self.table().forget(*inode, *count);
        }
        self.inner.batch_forget(ctx, requests);
    }

    fn getattr(&self, ctx: Context, inode: Inode, handle: Option<Handle>) -> io::Result<(Attr, Duration)> {
        let (attr, timeout) = self.inner.getattr(ctx, inode, handle)?;
        Ok((self.attributes(inode, attr), timeout))
    }

    fn setattr(
        &self,
        ctx: Context,
        inode: Inode,
        attr: SetattrIn,
        handle: Option<Handle>,
        valid: SetattrValid,
    ) -> io::Result<(Attr, Duration)> {
        let set = || self.inner.setattr(ctx, inode, attr, handle, valid);
        let others = SetattrValid::MODE | SetattrValid::UID | SetattrValid::GID | SetattrValid::KILL_SUIDGID;
        let keeps = valid.contains(SetattrValid::SIZE) && !valid.intersects(others);
        let ((attr, timeout), kept) = self.keeping_set_id(ctx, inode, keeps, set)?;
        Ok((self.attributes(inode, kept.unwrap_or(attr)), timeout))
    }

    fn readlink(&self, ctx: Context, inode: Inode) -> io::Result<Vec<u8>> {
        self.inner.readlink(ctx, inode)
    }

    fn symlink(
        &self,
        ctx: Context,
        target: &CStr,
        parent: Inode,
        name: &CStr,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        Ok(self.entry(parent, name, self.inner.symlink(ctx, target, parent, name, extensions)?))
    }

    fn mknod(
        &self,
        ctx: Context,
        parent: Inode,
        name: &CStr,
        mode: u32,
        rdev: u32,
        umask: u32,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        let entry = self.inner.mknod(ctx, parent, name, mode, rdev, umask, extensions)?;
        Ok(self.entry(parent, name, entry))
    }

    fn mkdir(
        &self,
        ctx: Context,
        parent: Inode,
        name: &CStr,
        mode: u32,
        umask: u32,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        Ok(self.entry(parent, name, self.inner.mkdir(ctx, parent, name, mode, umask, extensions)?))
    }

    fn unlink(&self, ctx: Context, parent: Inode, name: &CStr) -> io::Result<()> {
        self.inner.unlink(ctx, parent, name)
    }

    fn rmdir(&self, ctx: Context, parent: Inode, name: &CStr) -> io::Result<()> {
        self.inner.rmdir(ctx, parent, name)
    }

    fn rename(
        &self,
        ctx: Context,
        from: Inode,
        old: &CStr,
        to: Inode,
        new: &CStr,
        flags: u32,
    ) -> io::Result<()> {
        self.inner.rename(ctx, from, old, to, new, flags)
    }

    fn link(&self, ctx: Context, inode: Inode, parent: Inode, name: &CStr) -> io::Result<Entry> {
        Ok(self.entry(parent, name, self.inner.link(ctx, inode, parent, name)?))
    }

    fn open(
        &self,
        ctx: Context,
        inode: Inode,
        kill: bool,
        flags: u32,
    ) -> io::Result<(Option<Handle>, OpenOptions)> {
        let keeps = !kill && flags & libc::O_TRUNC as u32 != 0;
        let open = || self.inner.open(ctx, inode, kill, flags);
        let ((handle, options), _) = self.keeping_set_id(ctx, inode, keeps, open)?;
        Ok((handle, self.without_flush(options, flags)))
    }

    fn create(
        &self,
        ctx: Context,
        parent: Inode,
        name: &CStr,
        mode: u32,
        kill: bool,
        flags: u32,
        umask: u32,
        extensions: Extensions,
    ) -> io::Result<(Entry, Option<Handle>, OpenOptions)> {
        let (entry, handle, options) =
            self.inner.create(ctx, parent, name, mode, kill, flags, umask, extensions)?;
        Ok((self.entry(parent, name, entry), handle, self.without_flush(options, flags)))
    }

    fn read<W: ZeroCopyWriter>(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        writer: W,
        size: u32,
        offset: u64,
        owner: Option<u64>,
        flags: u32,
    ) -> io::Result<usize> {
        self.inner.read(ctx, inode, handle, writer, size, offset, owner, flags)
    }

    fn write<R: ZeroCopyReader>(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        reader: R,
        size: u32,
        offset: u64,
        owner: Option<u64>,
        delayed: bool,
        kill: bool,
        flags: u32,
    ) -> io::Result<usize> {
        let write =
            || self.inner.write(ctx, inode, handle, reader, size, offset, owner, delayed, kill, flags);
        Ok(self.keeping_set_id(ctx, inode, !kill, write)?.0)
    }

    fn flush(&self, ctx: Context, inode: Inode, handle: Handle, owner: u64) -> io::Result<()> {
        self.inner.flush(ctx, inode, handle, owner)
    }

    fn fsync(&self, ctx: Context, inode: Inode, data: bool, handle: Handle) -> io::Result<()> {
        self.inner.fsync(ctx, inode, data, handle)
    }

    fn fallocate(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        mode: u32,
        offset: u64,
        length: u64,
    ) -> io::Result<()> {
        let allocate = || self.inner.fallocate(ctx, inode, handle, mode, offset, length);
        // The request has no flag for it, as a write has, and says whose it is in old guests only (before Linux 6.12).
        if ctx.uid.into_inner() == 0 {
            self.keeping_set_id(ctx, inode, true, allocate).map(drop)
        } else {
            allocate()?;
            self.clear_set_id(ctx, inode)
        }
    }

    fn release(
        &self,
        ctx: Context,
        inode: Inode,
        flags: u32,
        handle: Handle,
        flush: bool,
        unlock: bool,
        owner: Option<u64>,
    ) -> io::Result<()> {
        self.inner.release(ctx, inode, flags, handle, flush, unlock, owner)
    }

    fn statfs(&self, ctx: Context, inode: Inode) -> io::Result<libc::statvfs64> {
        self.inner.statfs(ctx, inode)
    }

    fn setxattr(
        &self,
        ctx: Context,
        inode: Inode,
        name: &CStr,
        value: &[u8],
        flags: u32,
        extra: SetxattrFlags,
    ) -> io::Result<()> {
        self.inner.setxattr(ctx, inode, name, value, flags, extra)
    }

    fn getxattr(&self, ctx: Context, inode: Inode, name: &CStr, size: u32) -> io::Result<GetxattrReply> {
        self.inner.getxattr(ctx, inode, name, acl::room_for(name, size))
    }

    fn listxattr(&self, ctx: Context, inode: Inode, size: u32) -> io::Result<ListxattrReply> {
        self.inner.listxattr(ctx, inode, size)
    }

    fn removexattr(&self, ctx: Context, inode: Inode, name: &CStr) -> io::Result<()> {
        self.inner.removexattr(ctx, inode, name)
    }

    fn opendir(&self, ctx: Context, inode: Inode, flags: u32) -> io::Result<(Option<Handle>, OpenOptions)> {
        self.inner.opendir(ctx, inode, flags)
    }

    fn readdir(
        &self,
        ctx: Context,
        inode: Inode,
        handle: Handle,
        size: u32,
        offset: u64,
    ) -> io::Result<NumberedDir> {
        let inner = self.inner.readdir(ctx, inode, handle, size, offset)?;
        Ok(NumberedDir { inner, mount: self.table().of(inode).0 })
    }

    fn fsyncdir(&self, ctx: Context, inode: Inode, data: bool, handle: Handle) -> io::Result<()> {
        self.inner.fsyncdir(ctx, inode, data, handle)
    }

    fn releasedir(&self, ctx: Context, inode: Inode, flags: u32, handle: Handle) -> io::Result<()> {
        self.inner.releasedir(ctx, inode, flags, handle)
    }

    fn access(&self, ctx: Context, inode: Inode, mask: u32) -> io::Result<()> {
        self.inner.access(ctx, inode, mask)
    }

    fn lseek(&self, ctx: Context, inode: Inode, handle: Handle, offset: u64, whence: u32) -> io::Result<u64> {
        self.inner.lseek(ctx, inode, handle, offset, whence)
    }

    fn copyfilerange(
        &self,
        ctx: Context,
        from: Inode,
        from_handle: Handle,
        from_offset: u64,
        to: Inode,
        to_handle: Handle,
        to_offset: u64,
        length: u64,
        flags: u64,
    ) -> io::Result<usize> {
        let copy = || {
            self.inner.copyfilerange(
                ctx,
                from,
                from_handle,
                from_offset,
                to,
                to_handle,
                to_offset,
                length,
                flags,
            )
        };
        Ok(self.keeping_set_id(ctx, to, true, copy)?.0)
    }

    /// The guest knows of one file system and asks for its root; all that are below it are meant.
    fn syncfs(&self, ctx: Context, inode: Inode) -> io::Result<()> {
        let roots: Vec<Inode> =
            self.table().known.iter().filter(|(_, known)| known.root).map(|(root, _)| *root).collect();
        let results: Vec<_> =
            roots.into_iter().chain([inode]).map(|root| self.inner.syncfs(ctx, root)).collect();
        results.into_iter().collect()
    }
}
