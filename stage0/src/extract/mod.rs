//! Reading application container images: a tar of `manifest` and `rootfs/…`, made by a stranger.
//!
//! Responsible for: parsing tar with every length bounded, and writing its entries below one directory and nowhere
//! else. Must not know: stores, keys, manifests' content. Follows POSIX pax, GNU tar's formats, OCI image-spec `layer.md` and
//! rkt-reference.md 2.9 ("Extraction"); the `tar` crate parses header fields only, because its extraction loses devices and sparse files.

mod archive;
mod child;
mod entry_name;
mod error;
mod extraction;
mod jail;
mod metadata;
mod number;
mod pax;
mod process;
mod root;
mod selection;
mod sparse;
mod whiteout;
mod wire;

#[cfg(test)]
mod archive_test;
#[cfg(test)]
mod extraction_test;
#[cfg(test)]
mod jail_test;
#[cfg(test)]
mod layer_test;
#[cfg(test)]
pub(crate) mod test_archive;

pub use archive::{Archive, Entry, EntryKind};
pub use child::run as run_extractor;
pub use entry_name::EntryName;
pub use error::ExtractError;
pub use metadata::{is_kept, listed_xattrs};
pub use process::{PROGRAM_NAME, Source, extract};
pub use root::{names_in, remove_tree};
pub use selection::{Layout, Options, Selection};

/// Longest path of an entry: the kernel's PATH_MAX without the terminating zero.
pub const MAX_PATH_BYTES: usize = 4095;
/// Longest component of a path: the kernel's NAME_MAX.
pub const MAX_COMPONENT_BYTES: usize = 255;
/// Deepest path. Real images stay below a hundred; whoever walks a tree may hold a descriptor a level.
pub const MAX_DEPTH: usize = 256;
/// Largest extended header (pax records, GNU long names). Capabilities and ACLs take hundreds of bytes, names at most
/// four kilobytes; a megabyte is generous and can be held in memory.
pub const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;
/// Most entries of one archive. A full Debian desktop has a quarter of a million files.
pub const MAX_ENTRIES: u64 = 4_000_000;
/// Most data segments of one sparse file; each takes 16 bytes of memory while it is written.
pub const MAX_SPARSE_SEGMENTS: usize = 262_144;
/// Most bytes that all files of one archive claim together, holes included: what a later copy or a checksum reads.
pub const MAX_CONTENT_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Most extended attributes of one entry.
pub const MAX_XATTRS: usize = 64;
