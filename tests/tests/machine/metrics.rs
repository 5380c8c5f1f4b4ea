//! What a pod counts, asked for while it runs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::network;
use crate::pod::{Pod, rkt};

/// In the order in which a pod comes by.
const PHASES: [&str; 8] = ["stage1", "networks", "machine", "kernel", "init", "app", "first_byte", "exit"];

/// The samples of Prometheus' text, their labels without the pod's included.
fn samples(text: &str, uuid: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        let name = name.replace(&format!("pod=\"{uuid}\""), "").replace("{,", "{").replace("{}", "");
        let known = samples.insert(name, value.parse().expect("a number"));
        assert_eq!(known, None, "{line} is there twice");
    }
    samples
}

fn phases(uuid: &str) -> Value {
    let status = rkt().run(["status", "--format=json", uuid]).expect_code(0).out();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    println!("{status}");
    status
}

#[test]
fn a_running_pod_says_what_it_counts_and_how_fast_it_came_so_far() {
    let _alone = network::alone();
    let script = "busybox ping -c 1 172.16.28.1 > /dev/null; echo hello; busybox sleep 1000";
    let mut pod = Pod::start_on("default", &["example.com/busybox", "--", "-c", script]);
    pod.wait_for("hello");

    let text = rkt().run(["status", "--metrics", &pod.uuid]).expect_code(0).out();
    println!("{text}");
    let samples = samples(&text, &pod.uuid);
    let sample = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name}"));
    for counted in [
        "rkt_pod_exits_total{kind=\"mmio_write\"}",
        "rkt_pod_exits_total{kind=\"mmio_read\"}",
        "rkt_pod_notifications_total{device=\"vsock\"}",
        "rkt_pod_notifications_total{device=\"net0\"}",
        "rkt_pod_network_frames_total{card=\"0\",direction=\"transmit\"}",
        "rkt_pod_network_bytes_total{card=\"0\",direction=\"receive\"}",
        "rkt_pod_guest_messages_total",
        "rkt_pod_control_requests_total",
        "rkt_pod_memory_pss_bytes{process=\"supervisor\"}",
        "rkt_pod_memory_pss_bytes{process=\"vmm\"}",
        "rkt_pod_memory_pss_bytes{process=\"file_server\"}",
    ] {
        assert!(sample(counted) > 0.0, "{counted}");
    }
    assert!(sample("rkt_pod_output_bytes_total") >= 6.0);
    assert_eq!(sample("rkt_pod_network_dropped_total{card=\"0\",reason=\"transmit_bad_header\"}"), 0.0);
    let times: Vec<f64> = PHASES[..7]
        .iter()
        .map(|name| sample(&format!("rkt_pod_phase_seconds{{phase=\"{name}\"}}")))
        .collect();
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");

    let status = phases(&pod.uuid);
    assert!(status["memory"]["pss"].as_u64().expect("bytes") > 0);
    assert!(status["memory"]["processes"].as_u64().expect("a number") >= 3);
    rkt().run(["stop", &pod.uuid]).expect_code(0);
    pod.finish();
    let status = phases(&pod.uuid);
    let times: Vec<u64> = PHASES.iter().map(|name| status["phases"][name].as_u64().expect(name)).collect();
    assert!(times.is_sorted(), "{times:?}");
}
