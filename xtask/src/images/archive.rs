//! Writes the entries of a root file system into a tar archive: with one time, so that equal content gives equal bytes.

use std::io::{self, Write};

use tar::{Builder, EntryType, Header};

use super::tree::{Kind, Node};

/// The time of every entry, 2026-01-01: the packages' own times would do, but not those of generated files.
const ENTRY_TIME: u64 = 1_767_225_600;

/// Appends one entry below `root`, which is empty or ends with a slash.
pub(crate) fn append<W: Write>(
    archive: &mut Builder<W>,
    root: &str,
    name: &str,
    node: &Node,
) -> io::Result<()> {
    let name = format!("{root}{name}");
    let mut header = Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(node.owner.0.into());
    header.set_gid(node.owner.1.into());
    header.set_mtime(ENTRY_TIME);
    header.set_size(0);
    match &node.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{name}/"), io::empty())
        }
        Kind::File(content) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content.as_slice())
        }
        Kind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
        Kind::HardLink(target) => {
            header.set_entry_type(EntryType::Link);
            archive.append_link(&mut header, name, format!("{root}{target}"))
        }
    }
}
