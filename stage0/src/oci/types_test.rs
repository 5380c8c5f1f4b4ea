use serde_json::json;

use super::types::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use super::{Digest, Document, ImageConfig, OciError, RawManifest};

fn parse(media_type: &str, text: &str) -> Result<Document, OciError> {
    let bytes = text.as_bytes().to_vec();
    RawManifest { media_type: media_type.to_owned(), digest: Digest::sha256(&bytes), bytes }.parse()
}

fn descriptor() -> serde_json::Value {
    json!({"mediaType": "x", "digest": Digest::sha256(b"").to_string(), "size": 0})
}

fn refusal(media_type: &str, text: &str) -> String {
    parse(media_type, text).unwrap_err().to_string()
}

#[test]
fn unknown_fields_and_nulls_of_go_are_no_obstacle() {
    let text =
        json!({"schemaVersion": 2, "config": descriptor(), "layers": null, "annotations": null, "new": [{}]});

    let Document::Manifest(manifest) = parse("", &text.to_string()).unwrap() else { panic!("an image") };

    assert!(manifest.layers.is_empty() && manifest.annotations.is_empty() && manifest.subject.is_none());
}

#[test]
fn what_a_manifest_is_must_not_depend_on_who_reads_it() {
    let image = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(), "layers": []});
    let both = json!({"schemaVersion": 2, "config": descriptor(), "layers": [], "manifests": []});
    let liar = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "config": descriptor(), "layers": []});

    assert!(parse(OCI_MANIFEST, &image.to_string()).is_ok());
    assert!(parse("application/vnd.oci.image.manifest.v1+json; charset=utf-8", &image.to_string()).is_ok());
    assert!(parse("application/json", &image.to_string()).is_ok());
    assert!(refusal(DOCKER_MANIFEST, &image.to_string()).contains("was announced as"));
    assert!(refusal("", &both.to_string()).contains("an index and of an image"));
    assert!(refusal("", &liar.to_string()).contains("no image"));
}

#[test]
fn schema_1_is_refused_with_a_reason() {
    let text = r#"{"schemaVersion": 1, "name": "x", "fsLayers": [], "history": [], "signatures": []}"#;

    assert!(refusal("application/vnd.docker.distribution.manifest.v1+prettyjws", text).contains("schema 1"));
}

#[test]
fn hostile_json_is_refused_in_words() {
    let deep = format!(r#"{{"schemaVersion": 2, "x": {}1{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let long = format!("{{\"schemaVersion\": 2, \"x\": \"{}\"}}", "x".repeat(5 << 20));
    let layers = vec![descriptor(); 300];
    let many = json!({"schemaVersion": 2, "config": descriptor(), "layers": layers}).to_string();
    let entries = json!({"schemaVersion": 2, "manifests": vec![descriptor(); 5000]}).to_string();

    assert!(refusal("", &deep).contains("nested deeper"));
    assert!(refusal("", &long).contains("larger than 4194304 bytes"));
    assert!(refusal("", &many).contains("more than 256 layers"));
    assert!(refusal("", &entries).contains("more than 4096 manifests"));
    for text in
        ["", "null", "[]", "{", "{}", "\u{feff}{}", r#"{"schemaVersion":"2"}"#, r#"{"schemaVersion":2}"#]
    {
        assert!(parse("", text).is_err(), "{text}");
    }
}

#[test]
fn brackets_in_texts_are_no_nesting() {
    let text = json!({"schemaVersion": 2, "config": descriptor(), "x": format!("{}\"\\", "[".repeat(500))});

    assert!(parse("", &text.to_string()).is_ok());
}

#[test]
fn digests_are_lower_case_and_of_their_length() {
    let good = format!("sha512:{}", "0".repeat(128));
    assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);

    for text in ["", "sha256", "sha256:", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        assert!(text.parse::<Digest>().is_err(), "{text}");
    }
    assert!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>().is_err());
    assert!(format!("sha256:{}", "é".repeat(32)).parse::<Digest>().is_err());
    assert!(format!("sha256:../{}", "a".repeat(61)).parse::<Digest>().is_err());
}

#[test]
fn a_negative_or_fractional_size_is_no_size() {
    for size in ["-1", "1.5", "1e3", "18446744073709551616", "\"5\""] {
        let digest = Digest::sha256(b"");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":{size}}}]}}"#
        );

        assert!(parse("", &text).is_err(), "{size}");
    }
}

#[test]
fn a_configuration_needs_nothing() {
    assert_eq!(ImageConfig::from_json("configuration", b"{}").unwrap(), ImageConfig::default());
}
