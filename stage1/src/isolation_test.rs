use appc::{App, Isolator};
use guest_api::Isolation;
use serde_json::{Value, json};

use super::flags::RunFlags;
use super::isolation::*;

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD,
/// AUDIT_WRITE, SETFCAP: the numbers that capsh(1) prints for rkt's default.
const DEFAULT: u64 = 0xa804_25fb;

fn app(isolators: &[(&str, Value)]) -> App {
    let isolators = isolators
        .iter()
        .map(|(name, value)| Isolator { name: name.parse().unwrap(), value: value.clone() })
        .collect();
    App { isolators, ..App::default() }
}

fn isolation(isolators: &[(&str, Value)]) -> Result<Isolation, String> {
    of(&app(isolators), &RunFlags::default()).map_err(|error| error.to_string())
}

fn set(isolator: &'static str, names: &[&str]) -> (&'static str, Value) {
    (isolator, json!({ "set": names }))
}

const RETAIN: &str = "os/linux/capabilities-retain-set";
const REMOVE: &str = "os/linux/capabilities-remove-set";

#[test]
fn app_without_isolators_has_rkts_default_capabilities_and_no_limits() {
    let seccomp = crate::seccomp::filter(&App::default()).unwrap().program;
    let expected = Isolation { capabilities: DEFAULT, protect_paths: true, seccomp, ..Isolation::NONE };
    assert_eq!(isolation(&[]), Ok(expected));
}

#[test]
fn retain_set_is_exactly_what_is_left() {
    let isolation = isolation(&[set(RETAIN, &["CAP_SYS_ADMIN", "cap_net_admin"])]).unwrap();

    assert_eq!(isolation.capabilities, 1 << 21 | 1 << 12);
}

#[test]
fn remove_set_is_taken_from_the_default() {
    let isolation = isolation(&[set(REMOVE, &["CAP_CHOWN", "CAP_SYS_ADMIN"])]).unwrap();

    assert_eq!(isolation.capabilities, DEFAULT & !1);
}

#[test]
fn pod_without_capability_restriction_has_all_of_them() {
    let flags = RunFlags { disable_capabilities_restriction: true, ..RunFlags::default() };

    assert_eq!(of(&app(&[]), &flags).unwrap().capabilities, u64::MAX);
}

#[test]
fn pod_without_seccomp_has_no_filter_whatever_its_apps_ask_for() {
    let flags = RunFlags { disable_seccomp: true, ..RunFlags::default() };
    let set = set("os/linux/seccomp-retain-set", &["read"]);

    assert_eq!(of(&app(&[]), &flags).unwrap().seccomp, None);
    assert_eq!(of(&app(&[set]), &flags).unwrap().seccomp, None);
}

#[test]
fn sets_must_have_names_and_values_are_not_repeated_at_length() {
    assert_eq!(isolation(&[set(RETAIN, &[])]), Err(format!("isolator {RETAIN}: set must be non-empty")));
    assert_eq!(
        isolation(&[(RETAIN, json!({ "set": [7] }))]),
        Err(format!("isolator {RETAIN}: invalid value {{\"set\":[7]}} (want a set of names)"))
    );
    let long = "A".repeat(1_000_000);
    let error = isolation(&[set(REMOVE, &[&long])]).unwrap_err();
    assert!(error.starts_with(&format!("isolator {REMOVE}: unknown capability")), "{error}");
    assert!(error.len() < 400, "{}", error.len());
}

#[test]
fn pod_without_path_protection_has_none() {
    let flags = RunFlags { disable_paths: true, ..RunFlags::default() };

    assert!(!of(&app(&[]), &flags).unwrap().protect_paths);
}

#[test]
fn both_sets_and_unknown_capabilities_are_refused() {
    assert_eq!(
        isolation(&[set(RETAIN, &["CAP_KILL"]), set(REMOVE, &["CAP_KILL"])]),
        Err(format!("cannot have both {RETAIN} and {REMOVE}"))
    );
    assert_eq!(
        isolation(&[set(REMOVE, &["CAP_FLY"])]),
        Err(format!("isolator {REMOVE}: unknown capability \"CAP_FLY\""))
    );
}

#[test]
fn limits_are_in_the_guests_units() {
    let isolation = isolation(&[
        ("resource/memory", json!({ "limit": "64Mi" })),
        ("resource/cpu", json!({ "limit": "500m" })),
        ("os/linux/oom-score-adj", json!(-500)),
        ("os/linux/no-new-privileges", json!(true)),
    ])
    .unwrap();

    assert_eq!(isolation.memory_bytes, Some(64 << 20));
    assert_eq!(isolation.cpu_milli, Some(500));
    assert_eq!(isolation.oom_score_adjustment, Some(-500));
    assert!(isolation.no_new_privileges);
}

#[test]
fn shares_become_weights_from_one_end_of_the_scale_to_the_other() {
    let weight = |shares: u32| isolation(&[("os/linux/cpu-shares", json!(shares))]).unwrap().cpu_weight;

    assert_eq!([2, 1024, 262_144].map(weight), [Some(1), Some(39), Some(10_000)]);
}

#[test]
fn request_without_a_limit_limits_nothing() {
    assert_eq!(isolation(&[("resource/cpu", json!({ "request": "1" }))]).unwrap().cpu_milli, None);
}

#[test]
fn values_that_the_kernel_would_not_take_are_refused_by_name() {
    for (isolator, value) in [
        ("os/linux/oom-score-adj", json!(1001)),
        ("os/linux/oom-score-adj", json!("much")),
        ("os/linux/cpu-shares", json!(1)),
        ("os/linux/no-new-privileges", json!("yes")),
        ("resource/memory", json!({ "limit": "0" })),
        ("resource/memory", json!({ "limit": "lots" })),
        ("resource/cpu", json!({ "limit": "-1" })),
    ] {
        let error = isolation(&[(isolator, value.clone())]).unwrap_err();

        assert!(error.starts_with(&format!("isolator {isolator}: invalid value {value}")), "{error}");
    }
}
