//! Where manifests and blobs of one image come from.
//!
//! Responsible for: the interface that a registry's repository, a layout and an archive have in common. Must not know:
//! any of them. Follows the OCI distribution specification 1.1 ("Pull", "Listing Referrers").

use super::{Checked, Descriptor, Digest, OciError, RawManifest};

/// A repository of a registry, an OCI layout or an archive of one. What it returns has the digest that was asked for.
pub trait Repository {
    /// The manifest with a tag or a digest; `None` if there is none. The digest of a manifest asked for by tag is
    /// computed, not believed.
    fn manifest(&self, reference: &str) -> Result<Option<RawManifest>, OciError>;

    /// The whole blob, of at most `limit` bytes.
    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, OciError>;

    /// Descriptors of the manifests whose subject has this digest; none where the registry cannot tell.
    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, OciError>;
}

/// A repository that layers are read from, by several threads at once.
pub trait LayerSource: Repository + Sync {
    /// The bytes of a layer as they come.
    fn layer(&self, layer: &Descriptor) -> Result<Checked<'_>, OciError>;
}
