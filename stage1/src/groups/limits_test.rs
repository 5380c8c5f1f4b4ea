use appc::{App, PodManifest};
use serde_json::{Value, json};

use super::limits::{Limits, limits, unapplied};
use crate::sizing::Size;

const MIB: u64 = 1 << 20;
const SIZE: Size = Size { vcpus: 2, memory_mib: 512 };

fn app(isolators: &[(&str, Value)]) -> App {
    let isolators: Vec<Value> =
        isolators.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    serde_json::from_value(json!({"exec": ["/a"], "user": "0", "group": "0", "isolators": isolators}))
        .unwrap()
}

fn pod(isolators: Value) -> PodManifest {
    serde_json::from_value(json!({
        "acVersion": "0.8.11", "acKind": "PodManifest", "apps": [], "isolators": isolators
    }))
    .unwrap()
}

fn of(apps: &[&App]) -> Limits {
    limits(&pod(json!([])), apps, SIZE, false)
}

fn limit(value: &str) -> Value {
    json!({ "limit": value })
}

#[test]
fn memory_is_that_of_the_guest_and_as_much_for_files_beside_what_its_processes_need() {
    let found = of(&[]);

    assert_eq!(found.memory_high, (512 + 8 + 64 + 512) * MIB);
    assert_eq!(found.memory_max, found.memory_high + 64 * MIB);
    let small = limits(&pod(json!([])), &[], Size { memory_mib: 128, ..SIZE }, false);
    assert_eq!(small.memory_high, (128 + 2 + 64 + 256) * MIB);
}

#[test]
fn processors_are_limited_if_all_apps_are_and_never_by_an_app_alone() {
    let (half, two, none) =
        (app(&[("resource/cpu", limit("500m"))]), app(&[("resource/cpu", limit("2"))]), app(&[]));

    assert_eq!(of(&[&half, &two]).cpu_milli, Some(3000));
    assert_eq!(of(&[&half, &none]).cpu_milli, None);
    assert_eq!(of(&[]).cpu_milli, None);
    assert_eq!(limits(&pod(json!([])), &[&half], SIZE, true).cpu_milli, None);
}

#[test]
fn what_a_pod_says_of_itself_counts_whatever_its_apps_say() {
    let own = pod(json!([
        {"name": "resource/cpu", "value": {"limit": "1500m"}},
        {"name": "resource/block-iops", "value": {"default": true, "limit": "100"}}
    ]));

    let found = limits(&own, &[&app(&[("resource/cpu", limit("9"))])], SIZE, true);

    assert_eq!(found.cpu_milli, Some(2000));
    assert_eq!(found.operations_per_second, Some(100));
}

#[test]
fn weight_follows_from_shares_and_requests_but_only_the_pods_own_gets_it_ahead_of_others() {
    let shares = app(&[("os/linux/cpu-shares", json!(512))]);
    let request = app(&[("resource/cpu", json!({"request": "250m"}))]);
    let greedy = app(&[("os/linux/cpu-shares", json!(262_144))]);
    let own = pod(json!([{"name": "os/linux/cpu-shares", "value": 4096}]));

    assert_eq!(of(&[&shares, &request]).cpu_shares, Some(512 + 256));
    assert_eq!(of(&[&greedy, &shares]).cpu_shares, Some(1024));
    assert_eq!(of(&[&app(&[])]).cpu_shares, None);
    assert_eq!(limits(&own, &[&shares], SIZE, false).cpu_shares, Some(4096));
}

#[test]
fn disks_are_limited_if_all_apps_are_and_whoever_is_not_is_told() {
    let slow = app(&[("resource/block-bandwidth", json!({"default": true, "limit": "2M"}))]);
    let none = app(&[]);

    assert_eq!(of(&[&slow, &slow]).bytes_per_second, Some(4_000_000));
    assert_eq!(unapplied("slow", &slow, &of(&[&slow])), []);
    let mixed = of(&[&slow, &none]);
    assert_eq!(mixed.bytes_per_second, None);
    let warnings = unapplied("slow", &slow, &mixed);
    assert!(
        warnings[0].text.contains("resource/block-bandwidth of app \"slow\" is not applied"),
        "{warnings:?}"
    );
    assert_eq!(unapplied("none", &none, &mixed), []);
}
