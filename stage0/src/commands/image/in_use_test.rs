//! Which trees and images pods keep from being collected.

use std::path::Path;

use super::in_use::SettledPods;
use crate::pod::locate::Pods;
use crate::pod::state::Stage;
use crate::store::TreeId;

const UUIDS: [&str; 5] = [
    "5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11",
    "6bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11",
    "7bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11",
    "8bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11",
    "9bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11",
];

fn tree(digit: char) -> String {
    format!("deps-sha512-{}", digit.to_string().repeat(64))
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn trees_of_stage1_and_of_every_app_are_in_use_until_the_pod_is_garbage() {
    let data = tempfile::tempdir().unwrap();
    let pods = Pods::of(data.path());
    let stages = [Stage::Prepare, Stage::Prepared, Stage::Run, Stage::ExitedGarbage, Stage::Garbage];
    for ((stage, uuid), digit) in stages.into_iter().zip(UUIDS).zip(['1', '2', '3', '4', '5']) {
        let pod = pods.path(stage, uuid.parse().unwrap());
        write(&pod.join("stage1TreeStoreID"), &tree(digit));
        write(&pod.join("appsinfo/app/treeStoreID"), &tree(char::from(digit as u8 + 5)));
        write(&pod.join("appsinfo/copied/manifest"), "{}");
    }

    let trees = SettledPods::of(data.path()).unwrap().trees().unwrap();

    let expected = ['1', '2', '3', '4', '6', '7', '8', '9'];
    assert_eq!(trees, expected.iter().map(|digit| tree(*digit).parse::<TreeId>().unwrap()).collect());
}

#[test]
fn a_pod_that_cannot_be_read_keeps_everything_from_being_collected() {
    let data = tempfile::tempdir().unwrap();
    let pod = Pods::of(data.path()).path(Stage::Run, UUIDS[0].parse().unwrap());
    write(&pod.join("stage1TreeStoreID"), "not a tree");

    let error = SettledPods::of(data.path()).unwrap().trees().unwrap_err().to_string();

    assert!(error.contains(UUIDS[0]), "{error}");
}

#[test]
fn a_pod_whose_preparation_was_cut_short_has_no_trees() {
    let data = tempfile::tempdir().unwrap();
    let pod = Pods::of(data.path()).path(Stage::Prepare, UUIDS[0].parse().unwrap());
    std::fs::create_dir_all(pod).unwrap();

    let trees = SettledPods::of(data.path()).unwrap().trees().unwrap();

    assert!(trees.is_empty());
}
