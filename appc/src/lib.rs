//! App Container schema: manifests, names, labels, isolators.
//!
//! Responsible for: turning manifest JSON into values that cannot be wrong, and back into the JSON that rkt writes.
//! Must not know: files, stores, hosts, pods on disk (no I/O at all). Follows the App Container specification
//! 0.8.11 (`schema/`), as rkt used it.

mod annotation;
mod app;
mod dependency;
mod error;
mod image_id;
mod image_manifest;
mod isolator;
mod json;
mod label;
pub mod machine;
mod name;
mod platform;
mod pod_manifest;
mod port;
mod quantity;
mod version;
mod volume;

#[cfg(test)]
mod image_manifest_test;
#[cfg(test)]
mod machine_test;
#[cfg(test)]
mod name_test;
#[cfg(test)]
mod pod_manifest_test;
#[cfg(test)]
mod quantity_test;

pub use annotation::{Annotation, Annotations};
pub use app::{App, EnvironmentVariable, EventHandler, MountPoint};
pub use dependency::Dependency;
pub use error::AppcError;
pub use image_id::ImageId;
pub use image_manifest::ImageManifest;
pub use isolator::Isolator;
pub use label::{Label, Labels};
pub use name::{AcIdentifier, AcName, MAX_IDENTIFIER_BYTES, MAX_NAME_BYTES};
pub use platform::{HOST_ARCH, HOST_OS, check_host, check_os_arch};
pub use pod_manifest::{PodManifest, RuntimeApp, RuntimeImage};
pub use port::{ExposedPort, Port};
pub use quantity::Quantity;
pub use version::AcVersion;
pub use volume::{Mount, Volume, VolumeKind};

/// Largest manifest accepted. rkt's own are a few kilobytes; one megabyte leaves room for thousands of annotations
/// and keeps a hostile image from filling memory.
pub const MAX_MANIFEST_BYTES: usize = 1024 * 1024;
