//! Undoing the compression of an image.
//!
//! Responsible for: recognising gzip, bzip2 and xz by their first bytes. Must not know: what is inside. Follows
//! appc-spec `spec/aci.md` ("Image Archives").

use std::io::{self, BufReader, Read};

use super::StoreError;

/// Bytes of the longest signature, xz's.
const SIGNATURE_BYTES: usize = 6;
/// Memory the xz decoder may take: its highest preset needs 65 MiB.
const XZ_MEMORY_LIMIT: u64 = 128 * 1024 * 1024;
const BUFFER_BYTES: usize = 128 * 1024;

/// A reader of the uncompressed bytes of `source`.
pub(super) fn decompressed<'a>(mut source: impl Read + 'a) -> Result<Box<dyn Read + 'a>, StoreError> {
    let mut signature = Vec::new();
    source
        .by_ref()
        .take(SIGNATURE_BYTES as u64)
        .read_to_end(&mut signature)
        .map_err(crate::extract::ExtractError::Read)?;
    let kind = signature.clone();
    let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(signature).chain(source));
    if kind.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)))
    } else if kind.starts_with(b"BZh") {
        Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(whole)))
    } else if kind.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        let stream =
            liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, liblzma::stream::CONCATENATED)
                .map_err(|e| crate::extract::ExtractError::Read(io::Error::other(e)))?;
        Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream)))
    } else {
        Ok(Box::new(whole))
    }
}
