use appc::{App, Isolator};

use super::sizing::*;

fn app(limits: &[(&str, &str)]) -> App {
    let isolators = limits.iter().map(|(name, limit)| {
        let value = format!(r#"{{"name":"{name}","value":{{"limit":"{limit}"}}}}"#);
        serde_json::from_str::<Isolator>(&value).unwrap()
    });
    App { isolators: isolators.collect(), ..App::default() }
}

#[test]
fn pod_without_memory_limits_gets_the_minimum() {
    assert_eq!(memory_mib([app(&[]), app(&[])].iter()), 512);
}

#[test]
fn memory_is_the_sum_of_limits_in_whole_mib_plus_overhead() {
    let apps = [app(&[("resource/memory", "1Gi")]), app(&[("resource/memory", "1M")]), app(&[])];

    // 1M is 976 KiB: no whole MiB.
    assert_eq!(memory_mib(apps.iter()), 1024 + 128);
}

#[test]
fn last_memory_limit_of_an_app_counts() {
    let app = app(&[("resource/memory", "4Gi"), ("resource/memory", "1Gi")]);

    assert_eq!(memory_mib([app].iter()), 1024 + 128);
}

#[test]
fn absurd_memory_limits_saturate() {
    let app = app(&[("resource/memory", "9E")]);

    assert_eq!(memory_mib([app.clone(), app].iter()), u32::MAX);
}

#[test]
fn pod_without_cpu_limits_gets_all_cpus() {
    assert_eq!(vcpus([app(&[])].iter(), 6), 6);
}

#[test]
fn cpu_limits_are_rounded_up_app_by_app() {
    let apps = [app(&[("resource/cpu", "500m")]), app(&[("resource/cpu", "1500m")]), app(&[])];

    assert_eq!(vcpus(apps.iter(), 8), 3);
}

#[test]
fn cpu_limits_above_the_host_give_all_cpus() {
    assert_eq!(vcpus([app(&[("resource/cpu", "64")])].iter(), 4), 4);
}

#[test]
fn vcpus_stay_within_what_the_vmm_supports() {
    assert_eq!(vcpus([app(&[])].iter(), 1000), vmm::MAX_VCPUS);
}
