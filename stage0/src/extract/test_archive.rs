//! Archives for tests, made byte by byte: no library would make the hostile ones.

use std::path::Path;

use tar::{EntryType, Header};

use super::{ExtractError, Layout, Options, Selection, Source, extract};

/// An archive that grows entry by entry.
#[derive(Default, Clone)]
pub(crate) struct TestArchive(Vec<u8>);

/// A manifest that passes every check.
pub(crate) fn manifest_json(name: &str, more: &str) -> String {
    format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}","labels":[{{"name":"os","value":"linux"}},{{"name":"arch","value":"amd64"}}]{more}}}"#
    )
}

/// Extracts everything of an archive, as rkt would.
pub(crate) fn extract_all(archive: TestArchive, layout: Layout, target: &Path) -> Result<(), ExtractError> {
    let options = Options { layout, selection: Selection::default() };
    extract(Source::Stream(&mut &archive.finish()[..]), target, &options, None)
}

impl TestArchive {
    pub fn new() -> Self {
        Self::default()
    }

    /// An image with a manifest and an empty rootfs.
    pub fn image(name: &str) -> Self {
        Self::new().file("manifest", manifest_json(name, "").as_bytes()).directory("rootfs", 0o755)
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(EntryType::Regular, name, "", 0o644, content)
    }

    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.raw(EntryType::Directory, name, "", mode, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(EntryType::Link, name, target, 0o644, b"")
    }

    pub fn raw(self, kind: EntryType, name: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        self.with_header(header, name, link, content)
    }

    /// Names longer than a header's field go before it as GNU long names.
    pub fn with_header(mut self, mut header: Header, name: &str, link: &str, content: &[u8]) -> Self {
        for (kind, text) in [(EntryType::GNULongName, name), (EntryType::GNULongLink, link)] {
            if text.len() > 100 {
                let mut long = Header::new_gnu();
                long.set_entry_type(kind);
                long.set_size(text.len() as u64 + 1);
                self = self.block(long, &[text.as_bytes(), b"\0"].concat());
            }
        }
        let field = &mut header.as_gnu_mut().unwrap().name;
        let short = &name.as_bytes()[..name.len().min(100)];
        field[..short.len()].copy_from_slice(short);
        let field = &mut header.as_gnu_mut().unwrap().linkname;
        let short = &link.as_bytes()[..link.len().min(100)];
        field[..short.len()].copy_from_slice(short);
        self.block(header, content)
    }

    /// pax records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length =
                (1..).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).unwrap();
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(content.len() as u64);
        self.block(header, &content)
    }

    /// A header as it is, its checksum set, and its content padded.
    pub fn block(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The archive with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The archive as it is, without an end mark.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }
}
