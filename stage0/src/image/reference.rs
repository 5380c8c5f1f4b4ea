//! What an image string of the command line means.
//!
//! Responsible for: the table of forms. Must not know: whether anything is there, but for one look at the disk that the
//! table asks for. Follows rkt-reference.md 3.1.

use std::path::{Path, PathBuf};

use url::Url;

use super::{AppcName, ImageError};

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
                "docker" => return Ok(Self::Docker(rest.trim_start_matches("//").to_owned())),
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
        let absolute = std::path::absolute(path).map_err(|e| invalid(text, e.to_string()))?;
        Ok(Self::File(absolute))
    }

    fn url(text: &str) -> Result<Self, ImageError> {
        let url = Url::parse(text).map_err(|e| invalid(text, e.to_string()))?;
        if !url.path().ends_with(ACI) {
            return Err(invalid(text, "the path of an image URL must end in \".aci\""));
        }
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| invalid(text, "it is no path of this host"))?;
            return Ok(Self::File(path));
        }
        Ok(Self::Url(url))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn invalid(reference: &str, reason: impl Into<String>) -> ImageError {
    ImageError::InvalidReference { reference: reference.to_owned(), reason: reason.into() }
}
