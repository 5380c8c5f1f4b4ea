//! The image manifest: an image's name, labels, app and dependencies.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::{decode, null_as_default};
use crate::{AcIdentifier, AcVersion, Annotations, App, AppcError, Dependency, Labels};

/// `manifest` of an application container image (appc-spec `schema/image.go`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    ac_kind: ImageKind,
    /// Version of the schema the image follows.
    pub ac_version: AcVersion,
    /// The image's name, for example `example.com/redis`.
    pub name: AcIdentifier,
    /// What tells images of this name apart; `os` and `arch` are needed to run it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// How to run it; absent for images that only others depend on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// Notes for tools.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// Images below this one, in order.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// If not empty, the only paths of the rendered image.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub path_whitelist: Vec<String>,
}

impl ImageManifest {
    const KIND: &'static str = "image manifest";

    /// A manifest with nothing but a name.
    pub fn new(name: AcIdentifier) -> Self {
        Self {
            ac_kind: ImageKind,
            ac_version: AcVersion::current(),
            name,
            labels: Labels::default(),
            app: None,
            annotations: Annotations::default(),
            dependencies: Vec::new(),
            path_whitelist: Vec::new(),
        }
    }

    /// Decodes and validates. Errors: [`AppcError::Json`] with line, column and excerpt; or what is wrong with the app.
    pub fn from_json(bytes: &[u8]) -> Result<Self, AppcError> {
        let manifest: Self = decode(Self::KIND, bytes)?;
        if let Some(app) = &manifest.app {
            app.validate()?;
        }
        Ok(manifest)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ImageKind;

impl Serialize for ImageKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("ImageManifest")
    }
}

impl<'de> Deserialize<'de> for ImageKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "ImageManifest" => Ok(Self),
            _ => Err(serde::de::Error::custom("missing or bad ACKind (must be \"ImageManifest\")")),
        }
    }
}
