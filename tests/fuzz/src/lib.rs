//! The fuzz targets by name.
//!
//! Responsible for: what there is to fuzz. Must not know: the fuzzer; each target is a function that panics when
//! something is wrong and returns otherwise.

/// A name, which is that of its corpus, and what is done with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("references", rkt::fuzzing::reference),
    ("manifests", manifest),
    ("archives", rkt::fuzzing::archive),
    ("registry", rkt::fuzzing::registry_response),
    ("net", vmm::fuzzing::net),
    ("cni", cni),
];

/// Manifests of images and pods. What is accepted is written so that it is accepted again and means the same.
fn manifest(data: &[u8]) {
    if let Ok(manifest) = appc::ImageManifest::from_json(data) {
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        assert_eq!(appc::ImageManifest::from_json(&text).ok().as_ref(), Some(&manifest));
    }
    let _ = appc::PodManifest::from_json(data);
}

/// Configurations of networks, and what plugins answer. What is accepted can be kept, or told to the next plugin.
fn cni(data: &[u8]) {
    if let Ok(network) = cni::Network::parse(data, "fuzzed.conf".as_ref(), false) {
        let kept = serde_json::to_vec(&network).unwrap_or_default();
        let again: Option<cni::Network> = serde_json::from_slice(&kept).ok();
        // Fractions may come back with another last digit, so not all of it is compared.
        assert_eq!(
            again.map(|again| (again.name, again.plugins.len())),
            Some((network.name, network.plugins.len()))
        );
    }
    if let Ok(result) = cni::AddResult::parse(data) {
        let told = result.to_json(cni::Version::V1_1_0);
        assert_eq!(cni::AddResult::from_json(told).ok(), Some(result));
    }
}
