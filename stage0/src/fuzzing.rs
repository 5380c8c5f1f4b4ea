//! Entry points of the fuzz targets in `tests/fuzz`: what reads bytes that strangers made.
//!
//! Responsible for: calling one parser each and checking what must hold for every input. Must not know: the fuzzer, nor
//! anything the parsers do not export to the rest of stage0.

use std::io::Read;

use crate::extract::{Archive, EntryName};
use crate::image::{AppcName, Reference, meta_tags};
use crate::oci::signature::payload;
use crate::oci::{Digest, DockerReference, Document, ImageConfig, Origin, RawManifest, convert};

/// An image string of the command line. A name that is understood is understood again as it is printed; only distribution
/// URIs can say what the short form has no words for, such as a comma in a label.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A bare word is a host only if it has capitals, which the normalised form has not.
    if let Ok(reference) = DockerReference::parse(text)
        && reference.host().contains(['.', ':'])
    {
        let again = DockerReference::parse(reference.url().trim_start_matches("docker://"));
        assert_eq!(again.map(|again| again.url()).ok(), Some(reference.url()));
    }
    if let Ok(Reference::Name(name)) = Reference::parse(text)
        && !text.starts_with("cimd:")
    {
        let again = name.to_string().parse::<AppcName>();
        assert!(again.is_ok_and(|again| again == name), "{name} is not understood any more");
    }
}

/// An archive, an image's or a layer's: all entries with all their data.
pub fn archive(data: &[u8]) {
    let mut archive = Archive::new(data);
    let mut buffer = [0; 4096];
    while let Ok(Some(entry)) = archive.next_entry() {
        if let Ok(EntryName::Rootfs(path)) = EntryName::parse(&entry.name) {
            let path = std::path::Path::new(&path);
            let inside =
                path.components().all(|component| matches!(component, std::path::Component::Normal(_)));
            assert!(inside, "{path:?} leads out of the image");
        }
        let mut content = archive.data();
        while content.read(&mut buffer).is_ok_and(|count| count > 0) {}
    }
}

/// What a registry answers: the first byte says to which question.
pub fn registry_response(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
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
        }
        b'c' => {
            let Ok(config) = ImageConfig::from_json("configuration", bytes) else { return };
            let Ok(name) = "example.com/image".parse() else { return };
            let origin = Origin {
                name,
                version: None,
                original_name: "docker://example.com/image".to_owned(),
                registry: "example.com".to_owned(),
                repository: "image".to_owned(),
                tag: "latest".to_owned(),
                manifest: Digest::sha256(bytes),
                config: Digest::sha256(bytes),
            };
            if let Ok(converted) = convert(&origin, &config) {
                let text = serde_json::to_vec(&converted.manifest).unwrap_or_default();
                let again = appc::ImageManifest::from_json(&text);
                assert!(again.is_ok(), "a converted manifest is refused: {again:?}");
            }
        }
        b'p' => {
            let Ok(reference) = DockerReference::parse("example.com/image:1") else { return };
            for kind in [payload::Kind::Cosign, payload::Kind::Simple] {
                let _ = payload::check(kind, bytes, &Digest::sha256(b""), &reference);
            }
        }
        b'h' => drop(meta_tags(bytes)),
        _ => {}
    }
}
