use super::recipe::mode;
use super::{read, recipes};
use crate::workspace;

#[test]
fn every_recipe_parses_and_its_files_exist() {
    let directories = ["images", "images/oci"].map(|name| workspace::root().join(name));

    for path in directories.iter().flat_map(|directory| recipes(directory).expect("recipes")) {
        let (recipe, _) = read(&path).unwrap_or_else(|error| panic!("{error:#}"));
        for file in &recipe.files {
            assert!(path.with_file_name(&file.source).exists(), "{path:?} names {:?}", file.source);
            mode(&file.mode).expect("an octal mode");
        }
    }
}

#[test]
fn a_mode_is_octal() {
    assert_eq!(mode("0750").expect("a mode"), 0o750);
    assert!(mode("rwx").is_err());
}
