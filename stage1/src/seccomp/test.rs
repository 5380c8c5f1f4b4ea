use appc::Isolator;
use serde_json::json;

use super::program_test::{ALLOW, ERRNO, KILL, X86_64, run};
use super::*;

const ENOSYS: u32 = ERRNO | 38;
const EPERM: u32 = ERRNO | 1;

fn app(isolators: &[(&str, Value)]) -> App {
    let isolators = isolators
        .iter()
        .map(|(name, value)| Isolator { name: name.parse().unwrap(), value: value.clone() })
        .collect();
    App { isolators, ..App::default() }
}

/// The answer to every call that has a name.
fn answers(isolators: &[(&str, Value)]) -> Vec<(Sysno, u32)> {
    let program = filter(&app(isolators)).unwrap().program.expect("a filter");
    let answer = |call: Sysno| (call, run(&program, X86_64, call.id().unsigned_abs()));
    Sysno::iter().map(answer).collect()
}

fn answer(answers: &[(Sysno, u32)], call: Sysno) -> u32 {
    answers.iter().find(|(other, _)| *other == call).unwrap().1
}

fn refusal(isolators: &[(&str, Value)]) -> String {
    filter(&app(isolators)).unwrap_err().to_string()
}

#[test]
fn default_filter_allows_what_rkt_allowed_and_what_came_since_and_nothing_of_the_blacklist() {
    let answers = answers(&[]);

    for call in calls(docker::WHITELIST).chain(calls(docker::NEWER)) {
        assert_eq!(answer(&answers, call), ALLOW, "{call}");
    }
    for call in calls(docker::BLACKLIST) {
        assert_eq!(answer(&answers, call), KILL, "{call}");
    }
    for call in calls(docker::NEWER_BLACKLIST) {
        assert_eq!(answer(&answers, call), ENOSYS, "{call}");
    }
}

#[test]
fn retain_set_allows_what_it_names_and_what_every_program_needs_and_answers_newer_calls_with_enosys() {
    let answers = answers(&[(RETAIN, json!({ "set": ["read", "statx", "@systemd/network-io"] }))]);

    for (call, answer) in answers {
        let named =
            ["read", "statx"].contains(&call.name()) || calls(systemd::NETWORK_IO).any(|it| it == call);
        let expected = match () {
            () if named || calls(systemd::DEFAULT).any(|it| it == call) => ALLOW,
            () if call.id() >= 327 => ENOSYS,
            () => KILL,
        };
        assert_eq!(answer, expected, "{call}");
    }
}

#[test]
fn remove_set_forbids_what_it_names_and_nothing_else() {
    let set = json!({ "set": ["mkdir", "statx", "@systemd/clock"], "errno": "EPERM" });
    let answers = answers(&[(REMOVE, set)]);

    for (call, answer) in answers {
        let named = ["mkdir", "statx"].contains(&call.name()) || calls(systemd::CLOCK).any(|it| it == call);
        assert_eq!(answer, if named { EPERM } else { ALLOW }, "{call}");
    }
}

#[test]
fn numbers_without_a_name_are_no_calls_to_an_allow_list_and_the_kernels_business_to_a_deny_list() {
    let default = filter(&app(&[])).unwrap().program.unwrap();
    let denied = filter(&app(&[(REMOVE, json!({ "set": ["mount"] }))])).unwrap().program.unwrap();

    for number in [340, 400, 470, 5000] {
        assert_eq!(run(&default, X86_64, number), ENOSYS, "{number}");
        assert_eq!(run(&denied, X86_64, number), ALLOW, "{number}");
    }
}

#[test]
fn wildcards_of_the_specification_stand_for_no_filter_and_for_the_default_one() {
    let all = |isolator| filter(&app(&[(isolator, json!({ "set": ["@appc.io/all"] }))])).unwrap().program;
    let empty = |isolator| filter(&app(&[(isolator, json!({ "set": ["@appc.io/empty"] }))])).unwrap().program;
    let default = filter(&app(&[])).unwrap().program;

    assert_eq!(all(RETAIN), None);
    assert_eq!(empty(REMOVE), default);
    assert_eq!(empty(RETAIN), default);
    assert_eq!(all(REMOVE), default);
}

#[test]
fn names_of_rkt_and_docker_mean_the_same_sets() {
    for (rkt, docker) in [
        ("@rkt/default-whitelist", "@docker/default-whitelist"),
        ("@rkt/default-blacklist", "@docker/default-blacklist"),
    ] {
        for isolator in [RETAIN, REMOVE] {
            let of = |name| filter(&app(&[(isolator, json!({ "set": [name] }))]));
            assert_eq!(of(rkt), of(docker), "{isolator} {rkt}");
        }
    }
}

#[test]
fn every_wildcard_has_calls_and_every_name_in_a_list_is_spelled_like_one() {
    let groups = ["clock", "default-whitelist", "mount", "network-io", "privileged", "process", "raw-io"];
    for name in groups {
        let name = format!("@systemd/{name}");
        assert!(group(&name).unwrap().iter().any(|list| calls(list).next().is_some()), "{name}");
    }
    // Lists of what came later have no name of another processor to hide a typo behind.
    for name in docker::NEWER.split_ascii_whitespace().chain(docker::NEWER_BLACKLIST.split_ascii_whitespace())
    {
        assert!(name.parse::<Sysno>().is_ok(), "{name}");
    }
}

#[test]
fn names_that_mean_nothing_are_told_and_otherwise_ignored() {
    let set = json!({ "set": ["read", "fly", "@systemd/weather", "chown32"] });
    let found = filter(&app(&[(RETAIN, set)])).unwrap();
    let without = filter(&app(&[(RETAIN, json!({ "set": ["read"] }))])).unwrap();

    assert_eq!(found.unknown, ["fly", "@systemd/weather", "chown32"]);
    assert_eq!(found.program, without.program);
}

#[test]
fn sets_that_cannot_be_are_refused_by_name() {
    let set = |names: &[&str]| json!({ "set": names });
    for (isolators, expected) in [
        (
            vec![(RETAIN, set(&["read"])), (RETAIN, set(&["read"]))],
            "too many seccomp isolators specified".to_owned(),
        ),
        (
            vec![(RETAIN, set(&["read"])), (REMOVE, set(&["read"]))],
            "too many seccomp isolators specified".to_owned(),
        ),
        (vec![(RETAIN, set(&[]))], format!("isolator {RETAIN}: set must be non-empty")),
        (vec![(REMOVE, json!({}))], format!("isolator {REMOVE}: invalid value {{}} (want a set of names)")),
        (
            vec![(REMOVE, json!({ "set": ["read", 5] }))],
            format!("isolator {REMOVE}: invalid value {{\"set\":[\"read\",5]}} (want a set of names)"),
        ),
        (
            vec![(REMOVE, json!({ "set": ["read"], "errno": "EFLY" }))],
            format!("isolator {REMOVE}: unknown errno \"EFLY\""),
        ),
        (
            vec![(REMOVE, json!({ "set": ["read"], "errno": 1 }))],
            format!("isolator {REMOVE}: unknown errno 1"),
        ),
        (
            vec![(RETAIN, set(&["read"; 1025]))],
            format!("isolator {RETAIN}: a set of 1025 names (at most 1024 are allowed)"),
        ),
        (
            vec![(REMOVE, set(&["@systemd/default-whitelist"]))],
            format!("isolator {REMOVE}: execve cannot be removed, the app itself is executed by it"),
        ),
    ] {
        assert_eq!(refusal(&isolators), expected);
    }
}

#[test]
fn errors_have_their_usual_numbers() {
    assert_eq!(
        ["EPERM", "E2BIG", "EAGAIN", "EWOULDBLOCK", "ENOTSUP", "EHWPOISON"].map(errno),
        [1, 7, 11, 11, 95, 133].map(Some)
    );
    assert_eq!(["", "EFLY", "UnknownErrno", "eperm"].map(errno), [None; 4]);
}

#[test]
fn every_filter_fits_into_a_message() {
    let odd: Vec<&str> =
        Sysno::iter().step_by(2).map(|call| call.name()).filter(|name| *name != "execve").collect();
    for isolator in [RETAIN, REMOVE] {
        let program = filter(&app(&[(isolator, json!({ "set": odd }))])).unwrap().program.unwrap();
        assert!(program.len() <= guest_api::MAX_FILTER_BYTES, "{}", program.len());
        assert_eq!(program.len() % guest_api::FILTER_INSTRUCTION_BYTES, 0);
    }
}
