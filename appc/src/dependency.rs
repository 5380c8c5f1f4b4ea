//! Images that an image is built upon.

use serde::{Deserialize, Serialize};

use crate::{AcIdentifier, ImageId, Labels};

/// An image whose files appear below those of the image that depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Its name.
    pub image_name: AcIdentifier,
    /// Its ID; when given, it alone decides.
    #[serde(rename = "imageID", default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// Labels it must have.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Bytes it has, or 0 if not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
}

fn is_zero(size: &u64) -> bool {
    *size == 0
}
