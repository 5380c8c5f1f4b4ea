//! Writing a file system as an application container image.
//!
//! Responsible for: the same bytes for the same tree, whichever host writes them: entries by name, nothing but what the
//! tree says. Must not know: how the tree came to be. Follows appc-spec `spec/aci.md` and POSIX pax.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::FileType;
use tar::{EntryType, Header};

use super::StoreError;
use super::walk::{Found, read_all, walk, xattrs};

const BLOCK: usize = 512;
/// Zeros that end an archive.
const END_BYTES: usize = 2 * BLOCK;
/// Bytes of the name fields of a header; longer names go into a record.
const NAME_BYTES: usize = 100;
/// Largest number that the fields for owners hold, seven octal digits.
const MAX_OWNER: u64 = 0o7_777_777;
/// Largest number that the fields for size and time hold, eleven octal digits.
const MAX_NUMBER: u64 = 0o77_777_777_777;
/// Bytes moved at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// Writes an uncompressed image of this manifest and the files below `rootfs`. Holes are written as zeros; sockets,
/// which an archive cannot hold, are left out.
pub fn write_image(manifest_json: &[u8], rootfs: &Path, output: impl Write) -> Result<(), StoreError> {
    let root = File::open(rootfs).map_err(StoreError::file("open", rootfs))?;
    write_tree(manifest_json, root, IdShift::default(), output)
        .map_err(StoreError::file("write the files as an image of", rootfs))
}

/// The same of a directory that is open. Users and groups of the files are counted from the beginning of `owners`.
pub fn write_tree(manifest_json: &[u8], root: File, owners: IdShift, output: impl Write) -> io::Result<()> {
    let mut writer = Writer { output, owners, links: HashMap::new(), buffer: vec![0; BUFFER_BYTES] };
    writer.manifest(manifest_json)?;
    walk(root, &mut |found| writer.entry(found))?;
    writer.output.write_all(&[0; END_BYTES])?;
    writer.output.flush()
}

/// The range of a pod's user and group IDs on the host. The default is the host's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdShift {
    /// The host's ID of the pod's 0.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl IdShift {
    /// The pod's ID; one that is not in its range is the host's, whose number it keeps.
    fn undo(self, id: u32) -> u32 {
        id.checked_sub(self.first).filter(|inside| *inside < self.count).unwrap_or(id)
    }
}

struct Writer<W> {
    output: W,
    owners: IdShift,
    /// The first name of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn manifest(&mut self, json: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.header(header, b"manifest", b"", json.len() as u64, Records::default())?;
        self.output.write_all(json)?;
        self.pad(json.len() as u64)
    }

    fn entry(&mut self, found: &Found<'_>) -> io::Result<()> {
        let stat = &found.stat;
        let mut name = b"rootfs".to_vec();
        if !found.path.is_empty() {
            name.push(b'/');
            name.extend_from_slice(found.path);
        }
        let mut header = Header::new_ustar();
        header.set_mode(stat.st_mode & 0o7777);
        let mut records = Records::default();
        let (seconds, nanoseconds) = (stat.st_mtime, stat.st_mtime_nsec);
        records.time(&mut header, seconds, nanoseconds);
        let (user, group) = (self.owners.undo(stat.st_uid), self.owners.undo(stat.st_gid));
        records.owner(&mut header, user.into(), group.into());

        if !found.is_directory() && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let first = first.clone();
                header.set_entry_type(EntryType::Link);
                return self.header(header, &name, &first, 0, records);
            }
            self.links.insert((stat.st_dev, stat.st_ino), name.clone());
        }
        let device = |header: &mut Header| {
            header.set_device_major(rustix::fs::major(stat.st_rdev))?;
            header.set_device_minor(rustix::fs::minor(stat.st_rdev))
        };
        match found.kind() {
            FileType::RegularFile => {
                let file = found.open()?;
                records.xattrs(&file)?;
                return self.file(header, &name, &file, stat.st_size.unsigned_abs(), records);
            }
            FileType::Directory => {
                records.xattrs(&found.open()?)?;
                name.push(b'/');
                header.set_entry_type(EntryType::Directory);
            }
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                return self.header(header, &name, &found.link()?, 0, records);
            }
            FileType::Fifo => header.set_entry_type(EntryType::Fifo),
            FileType::CharacterDevice => {
                header.set_entry_type(EntryType::Char);
                device(&mut header)?;
            }
            FileType::BlockDevice => {
                header.set_entry_type(EntryType::Block);
                device(&mut header)?;
            }
            _ => return Ok(()),
        }
        self.header(header, &name, b"", 0, records)
    }

    fn file(
        &mut self,
        header: Header,
        name: &[u8],
        file: &File,
        size: u64,
        records: Records,
    ) -> io::Result<()> {
        self.header(header, name, b"", size, records)?;
        let mut written = 0;
        let output = &mut self.output;
        // What grows meanwhile is cut off: the header has been written.
        read_all(file.take(size), &mut self.buffer, |bytes| {
            written += bytes.len() as u64;
            output.write_all(bytes)
        })?;
        if written < size {
            return Err(io::Error::other("a file became shorter while it was read"));
        }
        self.pad(size)
    }

    /// Writes a header, before it the records it needs.
    fn header(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: &[u8],
        size: u64,
        mut records: Records,
    ) -> io::Result<()> {
        records.text(b"path", name);
        records.text(b"linkpath", link);
        if size > MAX_NUMBER {
            records.add(b"size", size.to_string().as_bytes());
        }
        header.set_size(if size > MAX_NUMBER { 0 } else { size });
        if !records.0.is_empty() {
            let mut before = Header::new_ustar();
            before.set_entry_type(EntryType::XHeader);
            before.set_mode(0o644);
            before.set_uid(0);
            before.set_gid(0);
            before.set_mtime(0);
            before.set_size(records.0.len() as u64);
            self.block(before, b"././@PaxHeader", b"")?;
            self.output.write_all(&records.0)?;
            self.pad(records.0.len() as u64)?;
        }
        self.block(header, name, link)
    }

    fn block(&mut self, mut header: Header, name: &[u8], link: &[u8]) -> io::Result<()> {
        let fields = header.as_old_mut();
        for (field, text) in [(&mut fields.name, name), (&mut fields.linkname, link)] {
            for (byte, from) in field.iter_mut().zip(text) {
                *byte = *from;
            }
        }
        header.set_cksum();
        self.output.write_all(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        let zeros = [0; BLOCK];
        self.output.write_all(zeros.get(..(BLOCK - rest) % BLOCK).unwrap_or_default())
    }
}

/// pax records: what a header has no field for, or too small a one.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // The length counts itself: a space, an equals sign, a line feed, and its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length += 1;
        }
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn text(&mut self, key: &[u8], value: &[u8]) {
        if value.len() > NAME_BYTES {
            self.add(key, value);
        }
    }

    fn owner(&mut self, header: &mut Header, uid: u64, gid: u64) {
        header.set_uid(if uid > MAX_OWNER { 0 } else { uid });
        header.set_gid(if gid > MAX_OWNER { 0 } else { gid });
        for (key, id) in [(b"uid", uid), (b"gid", gid)] {
            if id > MAX_OWNER {
                self.add(key, id.to_string().as_bytes());
            }
        }
    }

    fn time(&mut self, header: &mut Header, seconds: i64, nanoseconds: u64) {
        let whole = u64::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_NUMBER);
        header.set_mtime(whole.unwrap_or(0));
        if whole.is_some() && nanoseconds == 0 {
            return;
        }
        // The kernel counts nanoseconds forward from the second before; records are decimal numbers.
        let text = match (seconds, nanoseconds) {
            (_, 0) => seconds.to_string(),
            (0.., _) => format!("{seconds}.{nanoseconds:09}"),
            _ => format!(
                "-{}.{:09}",
                (seconds + 1).unsigned_abs(),
                1_000_000_000 - nanoseconds.min(999_999_999)
            ),
        };
        self.add(b"mtime", text.as_bytes());
    }

    fn xattrs(&mut self, file: &File) -> io::Result<()> {
        for (name, value) in xattrs(file)? {
            self.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), &value);
        }
        Ok(())
    }
}
