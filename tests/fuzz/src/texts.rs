//! Manifests, and configurations of networks.
//!
//! Responsible for: that what is accepted can be written down and is accepted again. Must not know: who reads them.

/// Manifests of images and pods. What is accepted is written so that it is accepted again and means the same. Deep: a range of more than two
/// ports.
pub fn manifest(data: &[u8]) -> bool {
    let mut deep = false;
    if let Ok(manifest) = appc::ImageManifest::from_json(data) {
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        assert_eq!(appc::ImageManifest::from_json(&text).ok().as_ref(), Some(&manifest));
        deep = manifest.app.is_some_and(|app| app.ports.iter().any(|port| port.count > 2));
    }
    if let Ok(manifest) = appc::PodManifest::from_json(data) {
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        assert_eq!(appc::PodManifest::from_json(&text).ok().as_ref(), Some(&manifest));
    }
    deep
}

/// Configurations of networks, and what plugins answer. What is accepted can be kept, or told to the next plugin. Deep: an answer with an
/// address and a route.
pub fn cni(data: &[u8]) -> bool {
    if let Ok(network) = cni::Network::parse(data, "fuzzed.conf".as_ref(), false) {
        let kept = serde_json::to_vec(&network).unwrap_or_default();
        let again: Option<cni::Network> = serde_json::from_slice(&kept).ok();
        // Fractions may come back with another last digit, so not all of it is compared.
        assert_eq!(
            again.map(|again| (again.name, again.plugins.len())),
            Some((network.name, network.plugins.len()))
        );
    }
    let Ok(result) = cni::AddResult::parse(data) else { return false };
    let told = result.to_json(cni::Version::V1_1_0);
    assert_eq!(cni::AddResult::from_json(told).ok().as_ref(), Some(&result));
    !result.ips.is_empty() && !result.routes.is_empty()
}
