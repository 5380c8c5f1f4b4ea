use appc::{App, Isolator, PodManifest};

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

const HOST_BYTES: u64 = 8 << 30;

fn pod(limits: &[(&str, &str)]) -> PodManifest {
    let mut pod = PodManifest::new("1.30.0".parse().unwrap());
    pod.isolators = app(limits).isolators;
    pod
}

#[test]
fn pods_own_isolators_win_over_those_of_its_apps() {
    let app = app(&[("resource/memory", "2Gi"), ("resource/cpu", "1")]);
    let pod = pod(&[("resource/memory", "256Mi"), ("resource/cpu", "3")]);

    assert_eq!(size(&pod, &[&app], 4, HOST_BYTES).unwrap(), Size { vcpus: 3, memory_mib: 256 });
}

#[test]
fn what_the_pod_leaves_open_follows_from_its_apps() {
    let app = app(&[("resource/memory", "2Gi"), ("resource/cpu", "1")]);
    let cpus = pod(&[("resource/cpu", "3")]);
    let memory = pod(&[("resource/memory", "256Mi")]);

    assert_eq!(size(&cpus, &[&app], 4, HOST_BYTES).unwrap(), Size { vcpus: 3, memory_mib: 2048 + 128 });
    assert_eq!(size(&memory, &[&app], 4, HOST_BYTES).unwrap(), Size { vcpus: 1, memory_mib: 256 });
}

#[test]
fn machine_that_cannot_be_made_is_refused_with_the_reason() {
    let cases = [
        (
            ("resource/memory", "9Gi"),
            4,
            "the pod's machine cannot have 9216 MiB of memory: 8192 MiB is all that this host has",
        ),
        (("resource/cpu", "5"), 4, "the pod's machine cannot have 5 CPUs: 4 is all that this host has"),
        (
            ("resource/cpu", "33"),
            64,
            "the pod's machine cannot have 33 CPUs: 32 is all that a virtual machine can have",
        ),
        (("resource/memory", "64Mi"), 4, "cannot size the pod's machine"),
        (("resource/cpu", "0"), 4, "cannot size the pod's machine"),
    ];
    for (limit, cpus, message) in cases {
        let error = size(&pod(&[limit]), &[], cpus, HOST_BYTES).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let huge = size(&pod(&[("resource/memory", "2Ti")]), &[], 4, u64::MAX).unwrap_err();
    assert!(huge.to_string().ends_with("is all that a virtual machine can have"), "{huge}");
}

#[test]
fn pods_isolators_that_size_nothing_are_named() {
    let pod = pod(&[("resource/memory", "1Gi"), ("resource/network-bandwidth", "1G")]);

    let warnings: Vec<_> = pod.isolators.iter().filter_map(unapplied).map(|warning| warning.text).collect();

    assert_eq!(warnings, ["warning: isolator resource/network-bandwidth of the pod is not applied"]);
}

#[test]
fn apps_with_larger_limits_than_the_host_get_a_machine_of_its_size() {
    let apps = [&app(&[("resource/memory", "1Ti")])];
    let of_host = |mib: u64| size(&pod(&[]), &apps, 2, mib << 20).unwrap().memory_mib;

    assert_eq!(of_host(8192), 8192);
    assert_eq!(of_host(256), 512, "as every machine");
    assert_eq!(of_host(1 << 30), 1024 * 1024 - 1024, "no machine has more");
}

#[test]
fn stage0_and_the_vmm_agree_on_how_many_processors_a_machine_can_have() {
    assert_eq!(appc::machine::MAX_MACHINE_CPUS, u32::from(vmm::MAX_VCPUS));
}

#[test]
fn app_that_may_use_more_memory_than_its_machine_has_is_warned_about() {
    let limited = app(&[("resource/memory", "1Gi")]);

    let warning = beyond_machine("db", &limited, 512).unwrap();

    assert_eq!(
        warning.text,
        "warning: app \"db\" may use 1024 MiB of memory, but the pod's machine has only 512 MiB (a sandbox gets more \
         with --vm-memory)"
    );
    assert_eq!(beyond_machine("db", &limited, 1024), None);
    assert_eq!(beyond_machine("db", &app(&[]), 512), None);
}
