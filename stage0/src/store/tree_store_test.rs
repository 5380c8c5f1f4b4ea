use std::fs;

use tempfile::TempDir;

use super::{ImageStore, Import, Key, StoreError, TreeStore};
use crate::extract::test_archive::{TestArchive, manifest_json};

struct Place {
    directory: TempDir,
    images: ImageStore,
    trees: TreeStore,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let images = ImageStore::open(directory.path()).unwrap();
        let trees = TreeStore::open(directory.path()).unwrap();
        Self { directory, images, trees }
    }

    fn import(&self, archive: TestArchive) -> Key {
        self.images.import(&archive.finish()[..], &Import::default()).unwrap()
    }

    fn depending(&self, name: &str, more: &str) -> TestArchive {
        TestArchive::new().file("manifest", manifest_json(name, more).as_bytes()).directory("rootfs", 0o755)
    }
}

#[test]
fn rendered_tree_has_rkts_layout_and_is_made_once() {
    let place = Place::new();
    let key = place.import(TestArchive::image("a.com/b").file("rootfs/f", b"content"));

    let id = place.trees.render(&place.images, &key).unwrap();

    let tree = place.trees.path(&id);
    assert_eq!(fs::read_to_string(tree.join("rootfs/f")).unwrap(), "content");
    assert_eq!(fs::read_to_string(tree.join("image")).unwrap(), key.as_str());
    assert_eq!(fs::read_to_string(tree.join("manifest")).unwrap(), manifest_json("a.com/b", ""));
    assert!(fs::read_to_string(tree.join("hash")).unwrap().starts_with("rkt-tree-1-blake3-"));
    assert!(tree.join("rendered").exists());

    fs::write(tree.join("rootfs/f"), "touched").unwrap();
    assert_eq!(place.trees.render(&place.images, &key).unwrap(), id);
    assert_eq!(
        fs::read_to_string(tree.join("rootfs/f")).unwrap(),
        "touched",
        "it was rendered a second time"
    );
}

#[test]
fn root_of_a_tree_has_not_the_group_of_the_store() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    if !rustix::process::geteuid().is_root() {
        // Only root can give the store a group that is not its own, as packages do.
        return;
    }
    let place = Place::new();
    let trees = place.directory.path().join("cas/tree");
    chown(&trees, None, Some(4711)).unwrap();
    fs::set_permissions(&trees, fs::Permissions::from_mode(0o2700)).unwrap();
    let manifest = manifest_json("a.com/b", "");
    let key =
        place.import(TestArchive::new().file("manifest", manifest.as_bytes()).file("rootfs/d/f", b"content"));

    let id = place.trees.render(&place.images, &key).unwrap();

    for path in ["rootfs", "rootfs/d"] {
        assert_eq!(place.trees.path(&id).join(path).metadata().unwrap().gid(), 0, "{path}");
    }
}

#[test]
fn tree_without_its_mark_is_rendered_anew() {
    let place = Place::new();
    let key = place.import(TestArchive::image("a.com/b").file("rootfs/f", b"content"));
    let id = place.trees.render(&place.images, &key).unwrap();
    let tree = place.trees.path(&id);
    fs::remove_file(tree.join("rendered")).unwrap();
    fs::write(tree.join("rootfs/left-over"), "").unwrap();

    place.trees.render(&place.images, &key).unwrap();

    assert!(tree.join("rendered").exists());
    assert!(!tree.join("rootfs/left-over").exists());
}

#[test]
fn image_that_cannot_be_rendered_leaves_no_tree() {
    let place = Place::new();
    let key = place.import(TestArchive::image("a.com/b").symlink("rootfs/l", "/").file("rootfs/l/etc", b""));

    let error = place.trees.render(&place.images, &key).unwrap_err().to_string();

    assert!(error.contains("rootfs/l/etc"), "{error}");
    assert_eq!(fs::read_dir(place.directory.path().join("cas/tree")).unwrap().count(), 0);
}

#[test]
fn upper_image_wins_and_the_later_dependency_beats_the_earlier() {
    let place = Place::new();
    let layer = |name: &str, text: &[u8]| {
        TestArchive::image(name)
            .file("rootfs/all", text)
            .file(&format!("rootfs/only-{}", &name[6..]), text)
            .file("rootfs/lower", text)
            .hard_link("rootfs/lower-link", "rootfs/lower")
    };
    place.import(layer("a.com/b", b"b"));
    place.import(layer("a.com/c", b"c"));
    let dependencies = r#","dependencies":[{"imageName":"a.com/b"},{"imageName":"a.com/c"}]"#;
    let top = place.import(place.depending("a.com/top", dependencies).file("rootfs/all", b"top"));

    let id = place.trees.render(&place.images, &top).unwrap();

    let read = |name: &str| fs::read_to_string(place.trees.rootfs(&id).join(name)).unwrap();
    assert_eq!((read("all"), read("lower"), read("lower-link")), ("top".into(), "c".into(), "c".into()));
    assert_eq!((read("only-b"), read("only-c")), ("b".into(), "c".into()));
}

#[test]
fn whitelist_limits_what_is_rendered() {
    let place = Place::new();
    place.import(TestArchive::image("a.com/b").file("rootfs/below", b"").file("rootfs/hidden", b""));
    let more = r#","dependencies":[{"imageName":"a.com/b"}],"pathWhitelist":["/own","/below"]"#;
    let top =
        place.import(place.depending("a.com/top", more).file("rootfs/own", b"").file("rootfs/not", b""));

    let id = place.trees.render(&place.images, &top).unwrap();

    let mut names: Vec<String> = fs::read_dir(place.trees.rootfs(&id))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["below", "own"]);
}

#[test]
fn missing_and_circular_dependencies_are_named() {
    let place = Place::new();
    let missing = place.import(place.depending("a.com/m", r#","dependencies":[{"imageName":"a.com/none"}]"#));
    let circular = place.import(place.depending("a.com/o", r#","dependencies":[{"imageName":"a.com/o"}]"#));

    let error = place.trees.render(&place.images, &missing).unwrap_err();
    assert!(matches!(&error, StoreError::MissingDependency { dependency, .. } if dependency == "a.com/none"));
    let error = place.trees.render(&place.images, &circular).unwrap_err();
    assert!(matches!(error, StoreError::TooManyDependencies { .. }));
}

#[test]
fn blob_that_was_changed_on_disk_is_not_rendered() {
    let place = Place::new();
    let key = place.import(TestArchive::image("a.com/b").file("rootfs/f", b"content"));
    let blob = place.directory.path().join("cas/blob/sha512").join(&key.as_str()[7..9]).join(key.as_str());
    let mut bytes = fs::read(&blob).unwrap();
    let at = bytes.windows(7).position(|window| window == b"content").unwrap();
    bytes[at] = b'C';
    fs::write(&blob, bytes).unwrap();

    // A store opened anew: what a process has stored itself it does not check again.
    let images = ImageStore::open(place.directory.path()).unwrap();
    let error = place.trees.render(&images, &key).unwrap_err();

    assert!(matches!(error, StoreError::Corrupt { .. }));
    assert_eq!(fs::read_dir(place.directory.path().join("cas/tree")).unwrap().count(), 0);
}
