use std::collections::HashMap;

use serde_json::{Value, json};

use super::select::{Selected, select};
use super::types::media_type::{
    DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};
use super::{Descriptor, Digest, OciError, RawManifest, Repository};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Content by digest.
#[derive(Default)]
struct Memory(HashMap<Digest, Vec<u8>>);

impl Memory {
    /// Adds content and gives its descriptor.
    fn put(&mut self, media_type: &str, content: &Value) -> Value {
        let bytes = content.to_string().into_bytes();
        let digest = Digest::sha256(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
        self.0.insert(digest, bytes);
        descriptor
    }

    /// Adds an image of one layer and gives its descriptor with a platform.
    fn image(&mut self, os: &str, architecture: &str, variant: &str) -> Value {
        let config = self.put(OCI_CONFIG, &config(os, architecture, 1));
        let manifest = manifest(&config, &[layer(LAYER)]);
        let mut descriptor = self.put(OCI_MANIFEST, &manifest);
        descriptor["platform"] = json!({"os": os, "architecture": architecture, "variant": variant});
        descriptor
    }

    fn select(&self, descriptor: &Value) -> Result<Selected, OciError> {
        let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        select(self, self.manifest(&digest.to_string())?.unwrap())
    }
}

impl Repository for Memory {
    fn manifest(&self, reference: &str) -> Result<Option<RawManifest>, OciError> {
        let digest: Digest = reference.parse()?;
        let bytes = self.0.get(&digest).cloned();
        Ok(bytes.map(|bytes| RawManifest { media_type: String::new(), digest, bytes }))
    }

    fn blob(&self, digest: &Digest, _limit: u64) -> Result<Vec<u8>, OciError> {
        self.0.get(digest).cloned().ok_or_else(|| OciError::Missing { what: digest.to_string() })
    }

    fn referrers(&self, _digest: &Digest) -> Result<Vec<Descriptor>, OciError> {
        Ok(Vec::new())
    }
}

fn layer(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(b"layer").to_string(), "size": 5})
}

fn config(os: &str, architecture: &str, layers: usize) -> Value {
    let diff_ids = vec![Digest::sha256(b"uncompressed").to_string(); layers];
    json!({"os": os, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

fn manifest(config: &Value, layers: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
}

fn index(manifests: &[&Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
}

fn refusal(result: Result<Selected, OciError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_image_of_an_index_is_the_one_for_this_host() {
    let mut memory = Memory::default();
    let arm = memory.image("linux", "arm64", "v8");
    let windows = memory.image("windows", "amd64", "");
    let ours = memory.image("linux", "amd64", "");
    let attestation = json!({"mediaType": OCI_MANIFEST, "digest": Digest::sha256(b"a").to_string(), "size": 1,
        "platform": {"os": "unknown", "architecture": "unknown"}});
    let top = memory.put(OCI_INDEX, &index(&[&arm, &windows, &attestation, &ours]));

    let selected = memory.select(&top).unwrap();

    assert_eq!(selected.manifest.to_string(), ours["digest"]);
    assert_eq!(selected.named.to_string(), top["digest"]);
    assert_eq!(selected.layers.len(), 1);
    assert_eq!(selected.layers[0].diff_id, Digest::sha256(b"uncompressed"));
}

#[test]
fn the_plain_variant_is_preferred() {
    let mut memory = Memory::default();
    let mut newer = memory.image("linux", "amd64", "v3");
    newer["size"] = json!(1);
    let plain = memory.image("linux", "amd64", "");
    let top = memory.put(
        DOCKER_LIST,
        &json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [newer, plain]}),
    );

    assert_eq!(memory.select(&top).unwrap().manifest.to_string(), plain["digest"]);
}

#[test]
fn an_index_may_name_no_platform_for_its_only_image_and_nest() {
    let mut memory = Memory::default();
    let mut only = memory.image("linux", "amd64", "");
    only.as_object_mut().unwrap().remove("platform");
    let inner = memory.put(OCI_INDEX, &index(&[&only]));
    let outer = memory.put(OCI_INDEX, &index(&[&inner]));

    assert_eq!(memory.select(&outer).unwrap().manifest.to_string(), only["digest"]);
}

#[test]
fn indexes_in_indexes_end() {
    let mut memory = Memory::default();
    let mut entry = memory.image("linux", "amd64", "");
    for _ in 0..10 {
        entry = memory.put(OCI_INDEX, &index(&[&entry]));
    }

    assert!(refusal(memory.select(&entry)).contains("leads to an index"));
}

#[test]
fn an_index_without_this_hosts_platform_names_those_it_has() {
    let mut memory = Memory::default();
    let (arm, s390) = (memory.image("linux", "arm", "v7"), memory.image("linux", "s390x", ""));
    let top = memory.put(OCI_INDEX, &index(&[&arm, &s390]));

    let refusal = refusal(memory.select(&top));

    assert!(refusal.contains("linux/arm/v7, linux/s390x") && refusal.contains("linux/amd64"), "{refusal}");
}

#[test]
fn an_image_for_another_platform_is_refused_by_its_configuration() {
    let mut memory = Memory::default();
    let arm = memory.image("linux", "arm64", "");

    assert!(
        refusal(memory.select(&arm)).contains("it is for linux/arm64, but this host only runs linux/amd64")
    );
}

#[test]
fn docker_and_oci_layers_of_every_compression_are_images() {
    for kind in [
        LAYER,
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
    ] {
        let mut memory = Memory::default();
        let config = memory.put(DOCKER_CONFIG, &config("linux", "amd64", 1));
        let image = json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer(kind)]});
        let image = memory.put(DOCKER_MANIFEST, &image);

        assert!(memory.select(&image).is_ok(), "{kind}");
    }
}

#[test]
fn layers_that_no_registry_has_or_nobody_unpacks_are_refused_by_type() {
    for kind in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "application/vnd.in-toto+json",
        "",
    ] {
        let mut memory = Memory::default();
        let config = memory.put(OCI_CONFIG, &config("linux", "amd64", 1));
        let image = memory.put(OCI_MANIFEST, &manifest(&config, &[layer(kind)]));

        assert!(refusal(memory.select(&image)).contains(&format!("{kind:?}")), "{kind}");
    }
}

#[test]
fn artifacts_are_no_images() {
    let mut memory = Memory::default();
    let config = memory.put("application/vnd.cncf.helm.config.v1+json", &json!({}));
    let chart = memory.put(OCI_MANIFEST, &manifest(&config, &[layer(LAYER)]));
    let empty = memory.put("application/vnd.oci.empty.v1+json", &json!({}));
    let mut sbom = manifest(&empty, &[layer(LAYER)]);
    sbom["artifactType"] = json!("application/spdx+json");
    let sbom = memory.put(OCI_MANIFEST, &sbom);

    assert!(refusal(memory.select(&chart)).contains("helm"));
    assert!(refusal(memory.select(&sbom)).contains("application/spdx+json"));
}

#[test]
fn a_manifest_and_a_configuration_that_disagree_are_refused() {
    let mut memory = Memory::default();
    let two = memory.put(OCI_CONFIG, &config("linux", "amd64", 2));
    let image = memory.put(OCI_MANIFEST, &manifest(&two, &[layer(LAYER)]));
    let mut wrong_size = memory.put(OCI_CONFIG, &config("linux", "amd64", 1));
    wrong_size["size"] = json!(7);
    let other = memory.put(OCI_MANIFEST, &manifest(&wrong_size, &[layer(LAYER)]));
    let without_layers = memory.put(OCI_MANIFEST, &manifest(&two, &[]));

    assert!(refusal(memory.select(&image)).contains("1 layers, but its configuration names 2"));
    assert!(matches!(memory.select(&other), Err(OciError::WrongSize { .. })));
    assert!(refusal(memory.select(&without_layers)).contains("no layers"));
}

#[test]
fn an_image_that_claims_more_bytes_than_any_has_is_refused() {
    let mut memory = Memory::default();
    let config = memory.put(OCI_CONFIG, &config("linux", "amd64", 1));
    let mut huge = layer(LAYER);
    huge["size"] = json!(u64::MAX);
    let image = memory.put(OCI_MANIFEST, &manifest(&config, &[huge]));

    assert!(matches!(memory.select(&image), Err(OciError::TooLarge { .. })));
}
