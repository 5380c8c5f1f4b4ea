//! The archive that stands for a converted container image.
//!
//! Responsible for: one and the same bytes for one and the same manifest, whenever and wherever they are made. Must not
//! know: layers, the store. Follows appc-spec `spec/aci.md` ("Image Archives") and POSIX ustar.

use std::io;

use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Zeros that end an archive.
const END_BYTES: usize = 2 * BLOCK;

/// An image of this manifest and an empty rootfs.
pub(super) fn empty_image(manifest_json: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    append(&mut archive, "manifest", EntryType::Regular, 0o644, manifest_json)?;
    append(&mut archive, "rootfs/", EntryType::Directory, 0o755, b"")?;
    archive.resize(archive.len().saturating_add(END_BYTES), 0);
    Ok(archive)
}

fn append(archive: &mut Vec<u8>, name: &str, kind: EntryType, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(())
}
