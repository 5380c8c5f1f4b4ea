//! Undoing the compression of an image.
//!
//! Responsible for: recognising gzip, bzip2, xz and zstd by their first bytes. Must not know: what is inside.
//! Follows appc-spec `spec/aci.md` ("Image Archives"), and RFC 8878 for zstd.

use std::io::{self, BufReader, Read};

/// Bytes of the longest signature, xz's.
const SIGNATURE_BYTES: usize = 6;
/// Memory the xz decoder may take: its highest preset needs 65 MiB.
const XZ_MEMORY_LIMIT: u64 = 128 * 1024 * 1024;
/// Largest zstd window, 8 MiB: what RFC 8878 asks every decoder to support and `zstd -19` makes at most. Larger ones
/// (`--ultra`, `--long`) would take as much memory as the archive asks for, up to 2 GiB.
const ZSTD_WINDOW_LOG: u32 = 23;
const ZSTD_SIGNATURE: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER_BYTES: usize = 128 * 1024;

/// A reader of the uncompressed bytes of `source`.
pub(crate) fn decompressed<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut signature = Vec::new();
    source.by_ref().take(SIGNATURE_BYTES as u64).read_to_end(&mut signature)?;
    let kind = signature.clone();
    let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(signature).chain(source));
    if kind.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)))
    } else if kind.starts_with(b"BZh") {
        Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(whole)))
    } else if kind.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        let stream =
            liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT, liblzma::stream::CONCATENATED)
                .map_err(io::Error::other)?;
        Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream)))
    } else if kind.starts_with(&ZSTD_SIGNATURE) {
        let mut decoder = zstd::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Ok(Box::new(decoder))
    } else {
        Ok(Box::new(whole))
    }
}
