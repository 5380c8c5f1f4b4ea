use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, SystemTime};

use super::collect::Collected;
use super::test_place::{Place, diff_id, files_below, image, layer, manifest};
use super::{Import, Key, LockKind, Remote, StoreError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// As if the image had not been used for `age`.
fn forget(place: &Place, key: &Key, age: Duration) {
    place.store.database().update_image(key, |image| image.last_used = SystemTime::now() - age).unwrap();
}

fn collect(place: &Place, grace: Duration) -> Vec<Key> {
    let collected = place.store.collect_images(grace, &HashSet::new()).unwrap();
    assert!(!collected.stale_files);
    collected.images
}

#[test]
fn images_unused_for_longer_than_the_grace_period_go_oldest_first() {
    let place = Place::new();
    let [fresh, old, older, used] =
        ["fresh", "old", "older", "used"].map(|name| place.import(&image(&format!("a.com/{name}"))).unwrap());
    forget(&place, &old, DAY + Duration::from_secs(60));
    forget(&place, &older, 2 * DAY);
    forget(&place, &used, 2 * DAY);

    let in_use = HashSet::from([used.clone()]);
    let collected = place.store.collect_images(DAY, &in_use).unwrap();

    assert_eq!(collected.images, [older, old]);
    let left: HashSet<Key> = place.store.images().unwrap().into_iter().map(|image| image.key).collect();
    assert_eq!(left, HashSet::from([fresh, used]));
}

#[test]
fn reading_an_image_postpones_its_end() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    forget(&place, &key, 2 * DAY);
    drop(place.store.read(&key).unwrap());
    assert_eq!(collect(&place, DAY), []);
}

#[test]
fn use_is_recorded_once_in_a_while_and_not_at_every_reading() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let last_used = || place.store.info(&key).unwrap().unwrap().last_used;
    let imported = last_used();
    drop(place.store.read(&key).unwrap());
    assert_eq!(last_used(), imported);
    forget(&place, &key, Duration::from_secs(120));
    drop(place.store.read(&key).unwrap());
    assert!(last_used() >= imported);
}

#[test]
fn image_that_is_being_read_is_left_alone() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let reader = place.store.read(&key).unwrap();
    assert_eq!(collect(&place, Duration::ZERO), []);
    drop(reader);
    assert_eq!(collect(&place, Duration::ZERO), [key]);
    assert_eq!(place.files(), Vec::<String>::new());
    assert_eq!(files_below(&place.cas(), &["imagelocks"]), Vec::<String>::new());
}

#[test]
fn imports_under_way_survive_a_collection() {
    let place = Place::new();
    let bytes = image("a.com/b");
    let plain = layer(b"content");
    let mut stream = place.store.begin_import(&Import::default()).unwrap();
    stream.write_all(&bytes[..800]).unwrap();
    let layers = place.store.layers().unwrap();
    let layer_import = layers.begin(&diff_id(&plain)).unwrap().unwrap();

    collect(&place, Duration::ZERO);
    layer_import.write(&plain[..]).unwrap();
    collect(&place, Duration::ZERO);

    stream.write_all(&bytes[800..]).unwrap();
    let key = stream.finish().unwrap().commit().unwrap();
    let layered = layers.commit(&manifest("a.com/c"), &[diff_id(&plain)], &Import::default()).unwrap();
    let found: HashSet<Key> = place.store.images().unwrap().into_iter().map(|image| image.key).collect();
    assert_eq!(found, HashSet::from([key, layered]));
}

#[test]
fn files_of_an_image_whose_row_is_about_to_come_are_left_alone() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    place.store.database().remove_image(&key).unwrap();
    let files = place.files();

    let importing = place.store.lock(&key, LockKind::Exclusive).unwrap();
    collect(&place, Duration::ZERO);
    assert_eq!(place.files(), files);
    drop(importing);

    // The row came between the look at the rows and the look at the files.
    place.import(&image("a.com/b")).unwrap();
    place.store.collect_orphan(&key, &mut Collected::default()).unwrap();
    assert_eq!(place.files(), files);
    assert!(place.store.info(&key).unwrap().is_some());
}

/// Makes a state that a crash or a damaged file system leaves, and checks that nothing of it is believed, that
/// collection cleans it up, and that the image can be imported again.
fn assert_recovers(what: &str, break_it: impl FnOnce(&Place, &Key)) {
    let place = Place::new();
    let bytes = layer(b"content");
    let import = || place.import_layered("a.com/b", &[&bytes]).unwrap();
    let key = import();
    break_it(&place, &key);

    let name = "a.com/b".parse().unwrap();
    assert_eq!(place.store.images().unwrap(), [], "{what}");
    assert_eq!(place.store.info(&key).unwrap(), None, "{what}");
    assert_eq!(place.store.get_by_name(&name, &Default::default()).unwrap(), None, "{what}");
    assert!(matches!(place.store.resolve_key(key.as_str()), Err(StoreError::NoKey)), "{what}");

    collect(&place, DAY);
    assert_eq!(place.files(), Vec::<String>::new(), "{what}");
    assert_eq!(place.store.database().images().unwrap(), [], "{what}");
    assert_eq!(files_below(&place.cas(), &["imagelocks"]), Vec::<String>::new(), "{what}");

    assert_eq!(import(), key, "{what}");
    assert_eq!(place.store.resolve_key(key.as_str()).unwrap(), key, "{what}");
}

#[test]
fn what_a_crash_leaves_is_not_believed_and_is_collected() {
    let truncate = |path: &std::path::Path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(512).unwrap();
    };
    assert_recovers("files without a row", |place, key| {
        place.store.database().remove_image(key).unwrap();
    });
    assert_recovers("a manifest without a blob or a row", |place, key| {
        place.store.database().remove_image(key).unwrap();
        std::fs::remove_file(place.store.blob_path(key)).unwrap();
    });
    assert_recovers("a row without a blob", |place, key| {
        std::fs::remove_file(place.store.blob_path(key)).unwrap();
    });
    assert_recovers("a row without a manifest", |place, key| {
        std::fs::remove_file(place.store.manifest_path(key)).unwrap();
    });
    assert_recovers("a blob that lost its end", |place, key| truncate(&place.store.blob_path(key)));
    assert_recovers("a row without a layer", |place, _| {
        std::fs::remove_file(place.store.layer_path(&diff_id(&layer(b"content")))).unwrap();
    });
    assert_recovers("a database that is gone", |place, _| {
        std::fs::remove_dir_all(place.cas().join("db")).unwrap();
    });
    assert_recovers("unfinished files", |place, key| {
        place.store.remove(key).unwrap();
        for name in ["import-4711", "layer-sha256-00", "download-0"] {
            std::fs::write(place.cas().join("tmp").join(name), "half").unwrap();
        }
    });
}

#[test]
fn layer_that_lost_its_end_is_not_believed_and_is_stored_anew() {
    let place = Place::new();
    let plain = layer(b"content");
    let key = place.import_layered("a.com/b", &[&plain]).unwrap();
    let path = place.store.layer_path(&diff_id(&plain));
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(512).unwrap();

    assert_eq!(place.store.info(&key).unwrap(), None);
    collect(&place, DAY);
    assert!(!path.exists());
    assert_eq!(place.import_layered("a.com/b", &[&plain]).unwrap(), key);
    assert_eq!(std::fs::read(&path).unwrap(), plain);
}

#[test]
fn what_is_known_of_urls_goes_with_their_images() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let remote = Remote {
        aci_url: "https://a.com/b.aci".to_owned(),
        sig_url: String::new(),
        etag: String::new(),
        blob_key: key.clone(),
        cache_max_age: 0,
        download_time: SystemTime::now(),
    };
    place.store.put_remote(&remote).unwrap();
    place.store.remove(&key).unwrap();
    // The fetch that lost the race against the removal.
    place.store.put_remote(&remote).unwrap();
    assert_eq!(place.store.remote(&remote.aci_url).unwrap(), None);
    collect(&place, DAY);
    assert_eq!(place.store.database().remotes().unwrap(), []);
}
