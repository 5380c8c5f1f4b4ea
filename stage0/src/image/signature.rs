//! Where an image's detached signature is, and getting it.
//!
//! Follows rkt-reference.md 3.6 (the table of sources).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use url::Url;

use super::ImageError;
use super::http::{HttpClient, HttpError};
use super::progress::Progress;
use crate::log::Log;

/// Largest signature file. A signature is half a kilobyte; sixteen of them with room to spare fit.
const MAX_SIGNATURE_BYTES: u64 = 64 * 1024;
const SUFFIX: &str = ".asc";

/// Where a signature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SignatureAt {
    /// In a local file.
    File(PathBuf),
    /// On a web server.
    Url(Url),
}

impl SignatureAt {
    /// Beside a local image: `X.aci.asc`.
    pub fn beside_file(image: &Path) -> Self {
        let mut name = image.as_os_str().to_owned();
        name.push(SUFFIX);
        Self::File(name.into())
    }

    /// Beside an image on a web server: `…/X.aci?query` to `…/X.aci.asc?query`.
    pub fn beside_url(image: &Url) -> Self {
        let mut url = image.clone();
        url.set_path(&format!("{}{SUFFIX}", image.path()));
        Self::Url(url)
    }

    /// As a URL, for the record.
    pub fn to_url(&self) -> String {
        match self {
            Self::File(path) => format!("file://{}", path.display()),
            Self::Url(url) => url.to_string(),
        }
    }

    /// The signature. `None` means that the server asks to come back after the image.
    pub fn get(
        &self,
        client: &HttpClient,
        progress: &Progress,
        log: Log,
    ) -> Result<Option<Vec<u8>>, ImageError> {
        match self {
            Self::File(path) => read(path).map(Some),
            Self::Url(url) => {
                log.debug(format_args!("downloading signature from {url}"));
                download(url, client, progress).map_err(|cause| ImageError::Download {
                    what: "signature",
                    url: url.to_string(),
                    cause,
                })
            }
        }
    }
}

/// The signature in a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let unreadable = |cause| ImageError::ReadSignature { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_SIGNATURE_BYTES {
        return Err(unreadable(io::Error::other(format!("it is larger than {MAX_SIGNATURE_BYTES} bytes"))));
    }
    Ok(bytes)
}

fn download(url: &Url, client: &HttpClient, progress: &Progress) -> Result<Option<Vec<u8>>, HttpError> {
    let response = client.get(url, &[])?;
    match response.status {
        200 => {}
        202 => return Ok(None),
        status => return Err(HttpError::Status(status)),
    }
    let mut body = response.into_small_body(MAX_SIGNATURE_BYTES)?;
    let mut bytes = Vec::new();
    let bar = progress.bar("Downloading signature", body.length());
    let read = bar.reader(&mut body).read_to_end(&mut bytes);
    read.map_err(|e| body.error(e))?;
    bar.finish();
    Ok(Some(bytes))
}
