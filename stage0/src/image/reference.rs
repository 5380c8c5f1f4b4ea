//! What an image string of the command line means.
//!
//! Responsible for: the table of forms. Must not know: whether anything is there, but for one look at the disk that the
//! table asks for. Follows rkt-reference.md 3.1; `oci:` and `oci-archive:` are written as skopeo(1) writes them.

use std::path::{Path, PathBuf};

use url::Url;

use super::{AppcName, ImageError, distribution};

/// What an image string means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A name to look up or to discover.
    Name(AppcName),
    /// A local file, by absolute path.
    File(PathBuf),
    /// A file on a web server.
    Url(Url),
    /// An image of a docker registry, as typed behind `docker:`.
    Docker(String),
    /// An image of an OCI image layout, `oci:DIRECTORY[:TAG]`.
    Oci {
        /// The layout's directory, absolute.
        path: PathBuf,
        /// Which of its images; needed where it holds several.
        tag: Option<String>,
    },
    /// An image of an OCI image layout packed into a tar, `oci-archive:FILE[:TAG]`.
    OciArchive {
        /// The archive, absolute.
        path: PathBuf,
        /// Which of its images; needed where it holds several.
        tag: Option<String>,
    },
}

const ACI: &str = ".aci";

impl Reference {
    /// Decides what `text` means.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        if let Some((scheme, rest)) = text.split_once(':')
            && is_scheme(scheme)
        {
            match scheme {
                "file" | "http" | "https" => return Self::url(text),
                "docker" => {
                    let reference = rest.strip_prefix("//").unwrap_or(rest);
                    return Self::docker(text, reference);
                }
                "oci" => return located(text, rest).map(|(path, tag)| Self::Oci { path, tag }),
                "oci-archive" => {
                    return located(text, rest).map(|(path, tag)| Self::OciArchive { path, tag });
                }
                distribution::SCHEME => return distribution::parse(text, rest),
                // `name:version` looks like a URL too.
                _ => return Ok(Self::Name(text.parse()?)),
            }
        }
        let path = Path::new(text);
        let is_file = if text.starts_with('/') || path.is_file() {
            true
        } else if text.contains(':') {
            false
        } else {
            text.contains("./") || text.ends_with(ACI)
        };
        if !is_file {
            return Ok(Self::Name(text.parse()?));
        }
        if !text.ends_with(ACI) {
            return Err(invalid(text, "the name of an image file must end in \".aci\""));
        }
        Ok(Self::File(absolute(text, path)?))
    }

    /// A `file`, `http` or `https` URL.
    pub(super) fn url(text: &str) -> Result<Self, ImageError> {
        let url = Url::parse(text).map_err(|e| invalid(text, e.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            // It would be shown in messages and kept in the database of images.
            let shown = text.rsplit_once('@').map_or("", |(_, rest)| rest);
            let reason = "a user and a password belong into auth.d of the configuration, not into the URL";
            return Err(invalid(shown, reason));
        }
        if !matches!(url.scheme(), "file" | "http" | "https") {
            return Err(invalid(text, "only file, http and https URLs name an image"));
        }
        if !url.path().ends_with(ACI) {
            return Err(invalid(text, "the path of an image URL must end in \".aci\""));
        }
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| invalid(text, "it is no path of this host"))?;
            return Ok(Self::File(path));
        }
        Ok(Self::Url(url))
    }

    /// A docker reference; what is right in it, the registry's side knows.
    pub(super) fn docker(text: &str, reference: &str) -> Result<Self, ImageError> {
        if reference.is_empty() {
            return Err(invalid(text, "it names no image"));
        }
        Ok(Self::Docker(reference.to_owned()))
    }
}

/// `PATH[:TAG]`. A path may hold colons itself, so a tag is what follows the last one, unless a `/` comes after it or all of
/// it is there on disk.
fn located(text: &str, rest: &str) -> Result<(PathBuf, Option<String>), ImageError> {
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !Path::new(rest).exists() => (path, Some(tag)),
        _ => (rest, None),
    };
    if path.is_empty() {
        return Err(invalid(text, "it names no path"));
    }
    if tag == Some("") {
        return Err(invalid(text, "the tag behind the last colon is empty"));
    }
    Ok((absolute(text, Path::new(path))?, tag.map(str::to_owned)))
}

fn absolute(text: &str, path: &Path) -> Result<PathBuf, ImageError> {
    std::path::absolute(path).map_err(|e| invalid(text, e.to_string()))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

pub(super) fn invalid(reference: &str, reason: impl Into<String>) -> ImageError {
    ImageError::InvalidReference { reference: reference.to_owned(), reason: reason.into() }
}
