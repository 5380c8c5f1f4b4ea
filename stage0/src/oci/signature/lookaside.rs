//! Where a lookaside server keeps the signatures of an image: `LOCATION/REPOSITORY@sha256=<hex>/signature-N`.
//!
//! Responsible for: these URLs, and reading one over https or from a directory. Must not know: what a signature is.
//! Follows containers/image's `docs/signature-protocols.md`, "Simple signing", and `containers-registries.d(5)`.

use std::fs::File;
use std::io::{self, Read};

use url::Url;

use super::Refusal;
use crate::image::{HttpClient, HttpError};
use crate::oci::Digest;

/// Largest signature: a payload with room for a few signatures by large keys.
const MAX_SIGNATURE_BYTES: u64 = 128 * 1024;

/// The signatures of one image.
pub struct Lookaside {
    client: HttpClient,
    directory: String,
    scheme_is_file: bool,
}

impl Lookaside {
    /// Where they are. `location` is an https or file URL.
    pub fn new(location: &Url, client: HttpClient, repository: &str, digest: &Digest) -> Self {
        let base = location.as_str().trim_end_matches('/');
        let directory = format!("{base}/{repository}@{}={}", digest.algorithm().as_str(), digest.hex());
        Self { client, directory, scheme_is_file: location.scheme() == "file" }
    }

    /// URL of a signature; they are counted from one.
    pub fn signature(&self, number: usize) -> String {
        format!("{}/signature-{number}", self.directory)
    }

    /// The signature at such a URL; `None` if there is none, and so no further one.
    pub fn read(&self, url: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let parsed = Url::parse(url).map_err(|e| Refusal::Unreadable(e.to_string()))?;
        if self.scheme_is_file {
            return read_file(&parsed);
        }
        match self.client.get_small(&parsed, MAX_SIGNATURE_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(HttpError::Status(404)) => Ok(None),
            Err(e) => Err(Refusal::Unreadable(e.to_string())),
        }
    }
}

fn read_file(url: &Url) -> Result<Option<Vec<u8>>, Refusal> {
    let path = url.to_file_path().map_err(|()| Refusal::Unreadable("it is no local file".to_owned()))?;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MAX_SIGNATURE_BYTES => {
            Err(Refusal::Unreadable(format!("it is larger than {MAX_SIGNATURE_BYTES} bytes")))
        }
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Refusal::Unreadable(e.to_string())),
    }
}
