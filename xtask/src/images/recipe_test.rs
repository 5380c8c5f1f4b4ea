use std::ffi::OsStr;
use std::fs;

use super::recipe::{Recipe, mode};
use crate::workspace;

#[test]
fn every_recipe_parses_and_its_files_exist() {
    let directory = workspace::root().join("images");
    let paths = fs::read_dir(&directory).expect("images/").map(|entry| entry.expect("an entry").path());
    let recipes: Vec<_> = paths.filter(|path| path.extension() == Some(OsStr::new("json"))).collect();

    assert!(!recipes.is_empty());
    for path in recipes {
        let text = fs::read(&path).expect("reading");
        let recipe: Recipe =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        for file in &recipe.files {
            assert!(directory.join(&file.source).exists(), "{path:?} names {:?}", file.source);
            mode(&file.mode).expect("an octal mode");
        }
    }
}

#[test]
fn a_mode_is_octal() {
    assert_eq!(mode("0750").expect("a mode"), 0o750);
    assert!(mode("rwx").is_err());
}
