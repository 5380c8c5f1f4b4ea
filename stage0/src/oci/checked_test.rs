use std::io::{self, Read};

use super::{Checked, Descriptor, Digest, OciError};

fn descriptor(bytes: &[u8]) -> Descriptor {
    let json = serde_json::json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": Digest::sha256(bytes).to_string(),
        "size": bytes.len(),
    });
    serde_json::from_value(json).unwrap()
}

/// Reads `source` as the layer that `announced` is.
fn read(source: &[u8], announced: &[u8]) -> Result<Vec<u8>, OciError> {
    let mut checked = Checked::new(source, &descriptor(announced), "layer");
    let mut bytes = Vec::new();
    match checked.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(checked.fault(0).unwrap()),
    }
}

#[test]
fn bytes_that_are_what_was_announced_pass() {
    assert_eq!(read(b"layer", b"layer").unwrap(), b"layer");
    assert_eq!(read(b"", b"").unwrap(), b"");
}

#[test]
fn other_bytes_of_the_same_size_fail_at_the_end() {
    assert!(matches!(read(b"LAYER", b"layer"), Err(OciError::WrongDigest { .. })));
}

#[test]
fn fewer_bytes_fail_at_the_end() {
    assert!(matches!(read(b"lay", b"layer"), Err(OciError::WrongSize { found: 3, .. })));
}

#[test]
fn an_endless_body_is_cut_as_soon_as_it_is_too_long() {
    let mut checked = Checked::new(io::repeat(b'x'), &descriptor(b"layer"), "layer");

    let error = io::copy(&mut checked, &mut io::sink()).unwrap_err();

    assert!(error.to_string().contains("expected 5 bytes"), "{error}");
    assert!(matches!(checked.fault(0), Some(OciError::WrongSize { .. })));
}

#[test]
fn what_nobody_read_is_checked_too() {
    let whole = Checked::new(&b"layer"[..], &descriptor(b"layer"), "layer");
    let wrong = Checked::new(&b"LAYER"[..], &descriptor(b"layer"), "layer");

    assert!(whole.finish().is_ok());
    assert!(matches!(wrong.finish(), Err(OciError::WrongDigest { .. })));
}

#[test]
fn the_bytes_are_judged_for_whoever_stopped_reading_them() {
    let wrong = || {
        let mut checked = Checked::new(&b"LAYER"[..], &descriptor(b"layer"), "layer");
        checked.read_exact(&mut [0; 2]).unwrap();
        checked
    };

    assert!(matches!(wrong().fault(3), Some(OciError::WrongDigest { .. })));
    assert!(wrong().fault(2).is_none(), "too much to read for a message");
    assert!(Checked::new(&b"layer"[..], &descriptor(b"layer"), "layer").fault(5).is_none());
}
