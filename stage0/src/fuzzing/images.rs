//! Images, what they are named and packed in, and what their apps write.
//!
//! Responsible for: bytes of publishers and registries. Must not know: who signed them.

use std::io::Read;

use crate::extract::{Archive, EntryName};
use crate::image::{AppcName, Reference};
use crate::oci::{Digest, DockerReference, Document, ImageConfig, Origin, RawManifest, convert};
use crate::pod::log_file::Record;
use crate::pod::logs::LogStream;
use crate::store::decompressed;

/// A small input must not take long: bombs are what the store's own limits are for.
const MAX_DECOMPRESSED_BYTES: u64 = 1 << 20;

/// An image string of the command line. A name that is understood is understood again as it is printed; only distribution
/// URIs can say what the short form has no words for, such as a comma in a label. Deep: a registry's port and a digest.
pub fn reference(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let mut deep = false;
    // A bare word is a host only if it has capitals, which the normalised form has not.
    if let Ok(reference) = DockerReference::parse(text)
        && reference.host().contains(['.', ':'])
    {
        let again = DockerReference::parse(reference.url().trim_start_matches("docker://"));
        assert_eq!(again.map(|again| again.url()).ok(), Some(reference.url()));
        deep = reference.digest().is_some() && reference.host().contains(':');
    }
    if let Ok(Reference::Name(name)) = Reference::parse(text)
        && !text.starts_with("cimd:")
    {
        let again = name.to_string().parse::<AppcName>();
        assert!(again.is_ok_and(|again| again == name), "{name} is not understood any more");
    }
    deep
}

/// An archive, an image's or a layer's: all entries with all their data. Deep: extended attributes of a file whose name is
/// no text.
pub fn archive(data: &[u8]) -> bool {
    let mut deep = false;
    let mut archive = Archive::new(data);
    let mut buffer = [0; 4096];
    while let Ok(Some(entry)) = archive.next_entry() {
        if let Ok(EntryName::Rootfs(path)) = EntryName::parse(&entry.name) {
            let path = std::path::Path::new(&path);
            let inside =
                path.components().all(|component| matches!(component, std::path::Component::Normal(_)));
            assert!(inside, "{path:?} leads out of the image");
        }
        deep |= !entry.xattrs.is_empty() && std::str::from_utf8(&entry.name).is_err();
        let mut content = archive.data();
        while content.read(&mut buffer).is_ok_and(|count| count > 0) {}
    }
    deep
}

/// What a registry answers: the first byte says to which question. Deep: a configuration with volumes and ports becomes an image.
pub fn registry_response(data: &[u8]) -> bool {
    let Some((kind, bytes)) = data.split_first() else { return false };
    match kind {
        b'm' => {
            let raw = RawManifest {
                media_type: String::new(),
                digest: Digest::sha256(bytes),
                bytes: bytes.to_vec(),
            };
            if let Ok(Document::Manifest(manifest)) = raw.parse() {
                assert!(manifest.layers.len() <= crate::oci::MAX_LAYERS);
            }
            false
        }
        b'c' => configuration(bytes).unwrap_or_default(),
        _ => false,
    }
}

fn configuration(bytes: &[u8]) -> Option<bool> {
    let config = ImageConfig::from_json("configuration", bytes).ok()?;
    let origin = Origin {
        name: "example.com/image".parse().ok()?,
        version: None,
        original_name: "docker://example.com/image".to_owned(),
        registry: "example.com".to_owned(),
        repository: "image".to_owned(),
        tag: "latest".to_owned(),
        manifest: Digest::sha256(bytes),
        config: Digest::sha256(bytes),
    };
    let converted = convert(&origin, &config).ok()?;
    let text = serde_json::to_vec(&converted.manifest).unwrap_or_default();
    let again = appc::ImageManifest::from_json(&text);
    assert!(again.is_ok(), "a converted manifest is refused: {again:?}");
    let app = converted.manifest.app?;
    Some(app.mount_points.len() > 1 && app.ports.len() > 1)
}

/// An image in one of its compressions, as far as an input of this size goes. Deep: more than a hundred times its bytes come out.
pub fn compressed(data: &[u8]) -> bool {
    let Ok(content) = decompressed(data) else { return false };
    let read = std::io::copy(&mut content.take(MAX_DECOMPRESSED_BYTES), &mut std::io::sink());
    read.is_ok_and(|bytes| bytes > 100 * data.len() as u64)
}

/// A record of an app's log: whether it is of standard output, whether it ends its line, its text.
pub fn log_record(bytes: &[u8]) -> Option<(bool, bool, &[u8])> {
    let record = Record::parse(bytes)?;
    Some((record.stream == LogStream::Stdout, record.is_whole, record.text))
}
