//! Writes a `newc` cpio archive, the format of an initramfs.
//!
//! Responsible for the bytes only; it must not know what goes into an archive. Follows
//! Documentation/driver-api/early-userspace/buffer-format.rst of Linux. Times, owners and inode numbers depend on
//! nothing but the order of the calls, so equal content makes equal bytes.

use std::io::{self, Write};

#[cfg(test)]
#[path = "cpio_test.rs"]
mod cpio_test;

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// Every header and every file's data start at a multiple of this.
const ALIGNMENT: usize = 4;

/// An archive being written to `W`.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
    next_inode: u32,
}

struct Entry<'a> {
    mode: u32,
    device: (u32, u32),
    name: &'a str,
    data: &'a [u8],
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(sink: W) -> Self {
        Self { sink, next_inode: 1 }
    }

    /// Adds a directory; its parent must be there already. `permissions` as in chmod, for example 0o755.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn directory(&mut self, name: &str, permissions: u32) -> io::Result<()> {
        self.entry(&Entry { mode: DIRECTORY | permissions, device: (0, 0), name, data: &[] })
    }

    /// Adds a regular file.
    ///
    /// # Errors
    /// When the sink fails, or when the file is larger than the format's 4 GiB.
    pub fn file(&mut self, name: &str, permissions: u32, data: &[u8]) -> io::Result<()> {
        self.entry(&Entry { mode: REGULAR | permissions, device: (0, 0), name, data })
    }

    /// Adds a symbolic link to `target`.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(&Entry { mode: SYMLINK | 0o777, device: (0, 0), name, data: target.as_bytes() })
    }

    /// Adds a character device node.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn character_device(
        &mut self,
        name: &str,
        permissions: u32,
        major: u32,
        minor: u32,
    ) -> io::Result<()> {
        self.entry(&Entry { mode: CHARACTER | permissions, device: (major, minor), name, data: &[] })
    }

    /// Ends the archive and returns the sink.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.next_inode = 0;
        self.entry(&Entry { mode: 0, device: (0, 0), name: "TRAILER!!!", data: &[] })?;
        Ok(self.sink)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let size = u32::try_from(entry.data.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "file larger than 4 GiB"))?;
        // The name is counted with its terminating zero.
        let name_size = entry.name.len() + 1;
        let name_field = u32::try_from(name_size)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "name too long"))?;
        let links = if entry.mode & DIRECTORY != 0 { 2 } else { 1 };
        let (major, minor) = entry.device;
        let fields = [self.next_inode, entry.mode, 0, 0, links, 0, size, 0, 0, major, minor, name_field, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.sink.write_all(header.as_bytes())?;
        self.sink.write_all(entry.name.as_bytes())?;
        self.sink.write_all(&[0])?;
        self.pad(header.len() + name_size)?;
        self.sink.write_all(entry.data)?;
        self.pad(entry.data.len())?;
        self.next_inode = self.next_inode.wrapping_add(1);
        Ok(())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let missing = written.next_multiple_of(ALIGNMENT) - written;
        self.sink.write_all([0; ALIGNMENT].get(..missing).unwrap_or_default())
    }
}
