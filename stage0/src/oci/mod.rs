//! Images of docker registries, OCI layouts and archives of these.
//!
//! Responsible for: references, registries, manifests, credentials, and making an App Container image out of each. Must
//! not know: how the store keeps layers, how a layer is extracted. Follows rkt-reference.md 3.7 and the OCI image and
//! distribution specifications 1.1.

mod archive;
mod checked;
mod convert;
mod digest;
mod error;
mod fetcher;
mod layout;
mod pull;
mod reference;
mod registry;
mod repository;
mod select;
pub mod signature;
mod types;

#[cfg(test)]
mod checked_test;
#[cfg(test)]
mod convert_test;
#[cfg(test)]
mod reference_test;
#[cfg(test)]
mod select_test;
#[cfg(test)]
mod types_test;

pub use archive::open_archive;
pub use checked::Checked;
pub use convert::{Converted, Origin, convert};
pub use digest::{Digest, Hasher};
pub use error::OciError;
pub use fetcher::OciFetcher;
pub use layout::Layout;
pub use reference::DockerReference;
pub(crate) use registry::Challenge;
pub use repository::{LayerSource, Repository};
pub use select::{Layer, Selected, select};
pub use types::{
    Descriptor, Document, ImageConfig, Index, MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES, Manifest,
    RawManifest, decode,
};
