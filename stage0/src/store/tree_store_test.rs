use std::fs;
use std::os::unix::fs::PermissionsExt;

use appc::ImageManifest;
use tempfile::TempDir;

use super::tree_info::TreeInfo;
use super::{DiffId, ImageStore, Import, Key, StoreError, TreeId, TreeStore, Verification};
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
    use std::os::unix::fs::{MetadataExt, chown};
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

/// Stores these layers, bottom first, as an image.
fn layered(place: &Place, name: &str, layers: Vec<TestArchive>) -> Key {
    use sha2::{Digest, Sha256};
    let held = place.images.layers().unwrap();
    let mut ids = Vec::new();
    for layer in layers {
        let tar = layer.finish();
        let digits: String = Sha256::digest(&tar).iter().map(|byte| format!("{byte:02x}")).collect();
        let id: DiffId = format!("sha256:{digits}").parse().unwrap();
        if let Some(import) = held.begin(&id).unwrap() {
            import.write(&tar[..]).unwrap();
        }
        ids.push(id);
    }
    let manifest = ImageManifest::from_json(manifest_json(name, "").as_bytes()).unwrap();
    held.commit(&manifest, &ids, &Import::default()).unwrap()
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn layers_are_applied_from_the_bottom_with_their_whiteouts() {
    let place = Place::new();
    let bottom = TestArchive::new().file("both", b"bottom").file("hidden", b"").file("d/hidden", b"");
    let top = TestArchive::new().file("both", b"top").file(".wh.hidden", b"").file("d/.wh..wh..opq", b"");
    let key = layered(&place, "a.com/l", vec![bottom, top]);

    let id = place.trees.render(&place.images, &key).unwrap();

    let rootfs = place.trees.rootfs(&id);
    assert_eq!(names(&rootfs), ["both", "d"]);
    assert_eq!(names(&rootfs.join("d")), [] as [&str; 0]);
    assert_eq!(fs::read_to_string(rootfs.join("both")).unwrap(), "top");
    assert!(place.images.info(&key).unwrap().unwrap().tree_size > 0);
}

#[test]
fn layered_image_as_a_dependency_hides_nothing_of_others_and_obeys_the_whitelist() {
    let place = Place::new();
    let layer = TestArchive::new().file(".wh.below", b"").file("lib/f", b"layered").file("not", b"");
    layered(&place, "a.com/l", vec![layer]);
    place.import(TestArchive::image("a.com/b").file("rootfs/below", b"").file("rootfs/lib/f", b"below"));
    // The later one wins and is written over the earlier one.
    let more = r#","dependencies":[{"imageName":"a.com/b"},{"imageName":"a.com/l"}],"pathWhitelist":["/below","/lib","/lib/f"]"#;
    let top = place.import(place.depending("a.com/top", more));

    let id = place.trees.render(&place.images, &top).unwrap();

    assert_eq!(names(&place.trees.rootfs(&id)), ["below", "lib"]);
    assert_eq!(fs::read_to_string(place.trees.rootfs(&id).join("lib/f")).unwrap(), "layered");
}

#[test]
fn layer_that_was_changed_on_disk_is_not_rendered() {
    let place = Place::new();
    let key = layered(&place, "a.com/l", vec![TestArchive::new().file("f", b"content")]);
    let layer = &place.images.layers_of(&key).unwrap()[0];
    let path = place.images.layer_path(layer);
    let mut bytes = fs::read(&path).unwrap();
    bytes[512] ^= 1;
    fs::write(&path, bytes).unwrap();

    let images = ImageStore::open(place.directory.path()).unwrap();
    let error = place.trees.render(&images, &key).unwrap_err().to_string();

    assert!(error.contains(layer.as_str()) && error.contains("does not match"), "{error}");
    assert_eq!(fs::read_dir(place.directory.path().join("cas/tree")).unwrap().count(), 0);
}

#[test]
fn error_in_a_layer_names_layer_and_entry() {
    let place = Place::new();
    let key = layered(&place, "a.com/l", vec![TestArchive::new().file("../f", b"")]);
    let error = place.trees.render(&place.images, &key).unwrap_err().to_string();
    assert!(error.contains("layer sha256:") && error.contains("../f"), "{error}");
}

#[test]
fn verification_notices_every_change_but_times() {
    let place = Place::new();
    let key = place.import(
        TestArchive::image("a.com/b")
            .file("rootfs/f", b"content")
            .symlink("rootfs/l", "f")
            .directory("rootfs/d", 0o755),
    );
    let verify = || place.trees.verify(&place.images, &key).unwrap();
    assert_eq!(verify(), Verification::NotRendered);
    let id = place.trees.render(&place.images, &key).unwrap();
    let rootfs = place.trees.rootfs(&id);
    fs::File::open(rootfs.join("f")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(verify(), Verification::Verified(id));

    let mode = |mode| fs::set_permissions(rootfs.join("d"), fs::Permissions::from_mode(mode)).unwrap();
    let relink = |to: &str| {
        fs::remove_file(rootfs.join("l")).unwrap();
        std::os::unix::fs::symlink(to, rootfs.join("l")).unwrap();
    };
    let attribute = |value: &[u8]| {
        let file = fs::File::open(rootfs.join("f")).unwrap();
        rustix::fs::fsetxattr(&file, "user.a", value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    let is_mismatch = |what| assert!(matches!(verify(), Verification::Mismatch { .. }), "{what}");
    fs::write(rootfs.join("f"), "Content").unwrap();
    is_mismatch("content");
    fs::write(rootfs.join("f"), "content").unwrap();
    mode(0o700);
    is_mismatch("mode");
    mode(0o755);
    relink("d");
    is_mismatch("link");
    relink("f");
    fs::write(rootfs.join("new"), "").unwrap();
    is_mismatch("new file");
    fs::remove_file(rootfs.join("new")).unwrap();
    assert!(matches!(verify(), Verification::Verified(_)), "all was undone");
    attribute(b"1");
    is_mismatch("attribute");
}

#[test]
fn verification_notices_a_copy_in_place_of_a_second_name() {
    let place = Place::new();
    let archive = TestArchive::image("a.com/b").file("rootfs/a", b"content").file("rootfs/b", b"content");
    let key = place.import(archive.hard_link("rootfs/c", "rootfs/a").hard_link("rootfs/d", "rootfs/b"));
    let id = place.trees.render(&place.images, &key).unwrap();
    let rootfs = place.trees.rootfs(&id);
    assert_eq!(place.trees.verify(&place.images, &key).unwrap(), Verification::Verified(id));

    fs::remove_file(rootfs.join("c")).unwrap();
    fs::hard_link(rootfs.join("b"), rootfs.join("c")).unwrap();

    let found = place.trees.verify(&place.images, &key).unwrap();
    assert!(matches!(found, Verification::Mismatch { .. }));
}

#[test]
fn hash_of_another_version_is_not_called_a_change() {
    let place = Place::new();
    let key = place.import(TestArchive::image("a.com/b").file("rootfs/f", b"content"));
    let id = place.trees.render(&place.images, &key).unwrap();
    fs::write(place.trees.path(&id).join("hash"), key.as_str()).unwrap();

    let verified = place.trees.verify(&place.images, &key).unwrap();

    assert_eq!(verified, Verification::OtherForm(id.clone()));
    assert_eq!(place.trees.render_again(&place.images, &key).unwrap(), id);
    assert_eq!(place.trees.verify(&place.images, &key).unwrap(), Verification::Verified(id));
}

#[test]
fn trees_are_listed_with_their_image_and_removed() {
    let place = Place::new();
    let key = place.import(TestArchive::image("a.com/b").file("rootfs/f", &[b'x'; 8192]));
    let id = place.trees.render(&place.images, &key).unwrap();
    fs::create_dir(place.directory.path().join("cas/tree/of-somebody-else")).unwrap();

    let listed = place.trees.list().unwrap();

    assert_eq!(listed, [TreeInfo { id: id.clone(), image: Some(key.clone()), is_rendered: true }]);
    place.trees.remove(&id).unwrap();
    assert_eq!(place.trees.list().unwrap(), []);
    assert!(place.trees.hold(&id).is_err());
    assert!(place.directory.path().join("cas/tree/of-somebody-else").exists());
}

#[test]
fn many_renderers_at_once_make_one_tree() {
    let place = Place::new();
    let key = place.import(TestArchive::image("a.com/b").file("rootfs/f", b"content"));

    let ids: Vec<TreeId> = std::thread::scope(|scope| {
        let render = || {
            let trees = TreeStore::open(place.directory.path()).unwrap();
            let images = ImageStore::open(place.directory.path()).unwrap();
            trees.render(&images, &key).unwrap()
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(render)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(place.trees.verify(&place.images, &key).unwrap(), Verification::Verified(ids[0].clone()));
}

#[test]
fn single_image_is_extracted_without_its_dependencies() {
    let place = Place::new();
    place.import(TestArchive::image("a.com/b").file("rootfs/below", b""));
    let more = r#","dependencies":[{"imageName":"a.com/b"}]"#;
    let top = place.import(place.depending("a.com/top", more).file("rootfs/own", b""));
    let target = tempfile::tempdir().unwrap();

    place.images.extract_to(&top, target.path()).unwrap();

    assert_eq!(names(target.path()), ["own"]);
}

#[test]
fn exported_image_of_layers_is_whole_and_can_be_imported() {
    let place = Place::new();
    let bottom = TestArchive::new().file("f", b"bottom").file("gone", b"");
    let key =
        layered(&place, "a.com/l", vec![bottom, TestArchive::new().file("f", b"top").file(".wh.gone", b"")]);
    let other = Place::new();

    let mut image = Vec::new();
    place.trees.export(&place.images, &key, &mut image).unwrap();

    let imported = other.images.import(&image[..], &Import::default()).unwrap();
    let id = other.trees.render(&other.images, &imported).unwrap();
    assert_eq!(names(&other.trees.rootfs(&id)), ["f"]);
    assert_eq!(fs::read_to_string(other.trees.rootfs(&id).join("f")).unwrap(), "top");
    assert_eq!(other.images.layers_of(&imported).unwrap(), []);
}

#[test]
fn exported_image_without_layers_is_the_image_itself() {
    let place = Place::new();
    let archive = TestArchive::image("a.com/b").file("rootfs/f", b"content");
    let key = place.import(archive.clone());

    let mut image = Vec::new();
    place.trees.export(&place.images, &key, &mut image).unwrap();

    assert_eq!(image, archive.finish());
}
