//! Writes images: ordinary ones, and archives that no honest tool would write. Headers are therefore filled in by hand,
//! byte by byte (POSIX ustar and GNU tar formats; App Container specification 0.8, `spec/aci.md`), where a library would
//! refuse.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// The size of a tar block.
const BLOCK: usize = 512;

/// The manifest of an image that prints nothing and does nothing, as a start.
pub fn manifest(name: &str) -> Value {
    json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": name,
        "labels": [
            { "name": "version", "value": "1.0.0" },
            { "name": "os", "value": "linux" },
            { "name": "arch", "value": "amd64" },
        ],
        "app": { "exec": ["/app"], "user": "0", "group": "0" },
    })
}

/// An archive being written.
#[derive(Clone, Debug, Default)]
pub struct Aci {
    bytes: Vec<u8>,
}

impl Aci {
    /// An image with the manifest and an empty root file system.
    pub fn new(manifest: &Value) -> Self {
        let text = serde_json::to_vec_pretty(manifest).expect("JSON can be written");
        Self::empty().file("manifest", 0o644, &text).directory("rootfs", 0o755)
    }

    /// An archive without any entry.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a file.
    pub fn file(self, name: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(Entry { mode, content, ..Entry::new(name.as_bytes(), b'0') })
    }

    /// Adds a directory.
    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.entry(Entry { mode, ..Entry::new(format!("{name}/").as_bytes(), b'5') })
    }

    /// Adds a symbolic link.
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(Entry { mode: 0o777, link: target.as_bytes(), ..Entry::new(name.as_bytes(), b'2') })
    }

    /// Adds a hard link to another entry, or to what pretends to be one.
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(Entry { link: target.as_bytes(), ..Entry::new(name.as_bytes(), b'1') })
    }

    /// Adds a character device.
    pub fn character_device(self, name: &str, major: u32, minor: u32) -> Self {
        self.entry(Entry { device: (major, minor), ..Entry::new(name.as_bytes(), b'3') })
    }

    /// Adds a named pipe.
    pub fn fifo(self, name: &str) -> Self {
        self.entry(Entry::new(name.as_bytes(), b'6'))
    }

    /// Adds a file of `size` bytes of which the archive holds none: one hole (GNU tar's old sparse format).
    pub fn hole(mut self, name: &str, size: u64) -> Self {
        let mut header = Entry::new(name.as_bytes(), b'S').header();
        // Sparse map: one empty segment at the end, then the real size.
        octal(&mut header[386..398], size);
        octal(&mut header[398..410], 0);
        octal(&mut header[483..495], size);
        checksum(&mut header);
        self.bytes.extend_from_slice(&header);
        self
    }

    /// The archive, not compressed.
    pub fn tar(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    /// The archive, compressed with gzip.
    pub fn gzip(&self) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.tar()).expect("writing to memory");
        encoder.finish().expect("writing to memory")
    }

    /// Writes the compressed archive.
    pub fn write(&self, path: &Path) {
        fs::write(path, self.gzip()).expect("writing an image");
    }

    fn entry(mut self, entry: Entry<'_>) -> Self {
        let name_fits = entry.name.len() <= 100;
        if !name_fits {
            // GNU's long name: the name is the content of an entry of its own.
            let mut content = entry.name.to_vec();
            content.push(0);
            self = self.entry(Entry { content: &content, ..Entry::new(b"././@LongLink", b'L') });
        }
        let mut header = entry.header();
        checksum(&mut header);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(entry.content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self
    }
}

/// One header's fields.
#[derive(Clone, Copy)]
struct Entry<'a> {
    name: &'a [u8],
    kind: u8,
    mode: u32,
    link: &'a [u8],
    device: (u32, u32),
    content: &'a [u8],
}

impl<'a> Entry<'a> {
    fn new(name: &'a [u8], kind: u8) -> Self {
        Self { name, kind, mode: 0o644, link: b"", device: (0, 0), content: b"" }
    }

    /// The header block, but for its checksum (tar(5)).
    fn header(&self) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        let name = &self.name[..self.name.len().min(100)];
        header[..name.len()].copy_from_slice(name);
        octal(&mut header[100..108], self.mode.into());
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
        octal(&mut header[124..136], self.content.len() as u64);
        octal(&mut header[136..148], 1_767_225_600);
        header[156] = self.kind;
        header[157..157 + self.link.len()].copy_from_slice(self.link);
        header[257..265].copy_from_slice(b"ustar  \0");
        octal(&mut header[329..337], self.device.0.into());
        octal(&mut header[337..345], self.device.1.into());
        header
    }
}

/// An octal number, zero-padded, with a terminating NUL.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
}

/// Sums the header up as tar(5) asks: with the checksum's own field as blanks.
fn checksum(header: &mut [u8; BLOCK]) {
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut header[148..155], sum);
}
