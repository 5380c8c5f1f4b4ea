//! Users name pods by prefixes of UUIDs.

use std::path::Path;

use super::locate::Pods;
use super::state::Stage;
use crate::log;

const FIRST: &str = "5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11";
const SECOND: &str = "5bc1ffff-2d04-4b2b-8b7c-9b2f0d5f6a11";

fn pods_with(data: &Path, pods: &[(Stage, &str)]) -> Pods {
    let all = Pods::of(data);
    all.create_stages().unwrap();
    for (stage, uuid) in pods {
        std::fs::create_dir(all.stage(*stage).join(uuid)).unwrap();
    }
    all
}

#[test]
fn a_unique_prefix_in_either_case_names_a_pod() {
    let data = tempfile::tempdir().unwrap();
    let pods = pods_with(data.path(), &[(Stage::Run, FIRST), (Stage::ExitedGarbage, SECOND)]);

    let pod = pods.resolve("5BC08").unwrap();

    assert_eq!(pod.uuid().to_string(), FIRST);
}

#[test]
fn a_prefix_of_two_pods_is_refused_with_their_number() {
    let data = tempfile::tempdir().unwrap();
    let pods = pods_with(data.path(), &[(Stage::Run, FIRST), (Stage::Prepared, SECOND)]);

    let error = pods.resolve("5bc").unwrap_err();

    assert_eq!(log::render(&error, false), "problem retrieving pod: ambiguous uuid, 2 matches");
}

#[test]
fn embryos_garbage_and_foreign_names_cannot_be_named() {
    let data = tempfile::tempdir().unwrap();
    let pods =
        pods_with(data.path(), &[(Stage::Embryo, FIRST), (Stage::Garbage, SECOND), (Stage::Run, "5bc")]);

    let error = pods.resolve("5bc").unwrap_err();

    assert_eq!(log::render(&error, false), "problem retrieving pod: no matches found for \"5bc\"");
}

#[test]
fn an_empty_prefix_names_nothing_even_if_there_is_one_pod() {
    let data = tempfile::tempdir().unwrap();
    let pods = pods_with(data.path(), &[(Stage::Run, FIRST)]);

    assert!(pods.resolve("").is_err());
}

#[test]
fn a_pod_that_moves_on_while_it_is_looked_for_is_still_found() {
    let data = tempfile::tempdir().unwrap();
    let pods = pods_with(data.path(), &[(Stage::ExitedGarbage, FIRST)]);

    let pod = pods.open(FIRST.parse().unwrap(), Stage::Run).unwrap().unwrap();

    assert_eq!(pod.stage(), Stage::ExitedGarbage);
}
