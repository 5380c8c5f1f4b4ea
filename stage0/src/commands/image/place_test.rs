//! Output appears whole or not at all, and replaces only what it was told to replace.

use std::io::Write;
use std::path::Path;

use super::place::{Place, is_stream};

const EXISTS: &str = "it exists";

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_gets_its_name_when_it_is_published() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::of(&directory.path().join("out")).unwrap();

    let before = place.is_taken().unwrap();
    let (draft, mut file) = place.draft_file().unwrap();
    file.write_all(b"new").unwrap();
    draft.publish(false, EXISTS).unwrap();

    assert!(!before);
    assert_eq!(std::fs::read(directory.path().join("out")).unwrap(), b"new");
    assert_eq!(names(directory.path()), ["out"]);
}

#[test]
fn what_is_not_published_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::of(&directory.path().join("out")).unwrap();

    let draft = place.draft_directory().unwrap();
    std::fs::create_dir_all(draft.path().join("a/b")).unwrap();
    drop(draft);

    assert_eq!(names(directory.path()), [] as [&str; 0]);
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("out");
    std::fs::create_dir_all(target.join("old")).unwrap();
    let place = || Place::of(&target).unwrap();

    let refused = place().draft_directory().unwrap().publish(false, EXISTS);
    let kept = names(&target);
    let draft = place().draft_directory().unwrap();
    std::fs::create_dir(draft.path().join("new")).unwrap();
    draft.publish(true, EXISTS).unwrap();

    assert_eq!(refused.unwrap_err().to_string(), EXISTS);
    assert_eq!(kept, ["old"]);
    assert_eq!(names(&target), ["new"]);
    assert_eq!(names(directory.path()), ["out"]);
}

#[test]
fn a_link_in_the_place_is_replaced_and_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("elsewhere/old")).unwrap();
    std::os::unix::fs::symlink("elsewhere", directory.path().join("out")).unwrap();
    let place = Place::of(&directory.path().join("out")).unwrap();

    place.draft_directory().unwrap().publish(true, EXISTS).unwrap();

    assert!(directory.path().join("out").symlink_metadata().unwrap().is_dir());
    assert_eq!(names(&directory.path().join("elsewhere")), ["old"]);
}

#[test]
fn missing_directories_above_an_output_directory_are_made() {
    let directory = tempfile::tempdir().unwrap();

    let place = Place::of_directory(&directory.path().join("a/b/out")).unwrap();

    assert!(directory.path().join("a/b").is_dir() && !place.is_taken().unwrap());
    assert!(Place::of(&directory.path().join("c/out")).is_err());
}

#[test]
fn the_root_directory_is_no_place() {
    for path in ["/", "/tmp/.."] {
        let error = Place::of_directory(Path::new(path)).unwrap_err().to_string();

        assert!(error.contains("root filesystem"), "{path}: {error}");
    }
}

#[test]
fn devices_are_written_to_and_not_replaced() {
    let file = tempfile::NamedTempFile::new().unwrap();

    assert!(is_stream(Path::new("/dev/null")));
    assert!(!is_stream(file.path()) && !is_stream(Path::new("/tmp")) && !is_stream(Path::new("/nowhere")));
}
