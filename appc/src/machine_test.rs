use crate::machine::MachineSize;
use crate::{AppcError, PodManifest};

fn size(isolators: &[(&str, &str)]) -> Result<MachineSize, AppcError> {
    let mut pod = PodManifest::new("1.30.0".parse().unwrap());
    for (name, value) in isolators {
        let json = format!(r#"{{"name":"{name}","value":{value}}}"#);
        pod.isolators.push(serde_json::from_str(&json).unwrap());
    }
    pod.machine_size()
}

#[test]
fn pod_without_isolators_leaves_its_size_open() {
    assert_eq!(size(&[("resource/network-bandwidth", r#"{"limit":"1G"}"#)]), Ok(MachineSize::default()));
}

#[test]
fn last_limit_counts_and_processors_are_rounded_up() {
    let isolators = [
        ("resource/memory", r#"{"limit":"1Gi"}"#),
        ("resource/memory", r#"{"limit":"256Mi"}"#),
        ("resource/cpu", r#"{"request":"4","limit":"1500m"}"#),
    ];

    assert_eq!(size(&isolators), Ok(MachineSize { memory: Some(256 << 20), cpus: Some(2) }));
}

#[test]
fn limits_that_no_machine_has_are_refused_by_name() {
    for (name, value) in [
        ("resource/memory", "0"),
        ("resource/memory", r#"{"request":"1Gi"}"#),
        ("resource/memory", r#"{"limit":"0"}"#),
        ("resource/memory", r#"{"limit":"-1Gi"}"#),
        ("resource/memory", r#"{"limit":"9999999E"}"#),
        ("resource/cpu", r#"{"limit":"0"}"#),
        ("resource/cpu", r#"{"limit":"5G"}"#),
    ] {
        let message = size(&[(name, value)]).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(value), "{message}");
    }
}

#[test]
fn too_little_memory_is_refused() {
    let error = size(&[("resource/memory", r#"{"limit":"512m"}"#)]).unwrap_err();

    assert_eq!(error.to_string(), "the pod's machine cannot have 1 bytes of memory: it needs 128 MiB");
}
