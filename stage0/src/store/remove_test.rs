use std::time::SystemTime;

use super::remove::Removed;
use super::test_place::{Place, files_below, image};
use super::{Remote, StoreError};

#[test]
fn removed_image_leaves_no_trace() {
    let place = Place::new();
    let (key, other) = (place.import(&image("a.com/b")).unwrap(), place.import(&image("a.com/c")).unwrap());
    for (url, key) in [("https://a.com/b.aci", &key), ("docker://a.com/b:1", &key), ("https://c", &other)] {
        let remote = Remote {
            aci_url: url.to_owned(),
            sig_url: String::new(),
            etag: String::new(),
            blob_key: key.clone(),
            cache_max_age: 0,
            download_time: SystemTime::now(),
        };
        place.store.put_remote(&remote).unwrap();
    }

    assert_eq!(place.store.remove(&key).unwrap(), Removed { stale_files: false });

    assert_eq!(place.store.info(&key).unwrap(), None);
    assert!(matches!(place.store.read(&key), Err(StoreError::NoImage(_))));
    assert!(matches!(place.store.manifest(&key), Err(StoreError::NoImage(_))));
    let urls: Vec<String> =
        place.store.database().remotes().unwrap().into_iter().map(|remote| remote.aci_url).collect();
    assert_eq!(urls, ["https://c"]);
    assert_eq!(place.store.images().unwrap().len(), 1);
    place.store.remove(&other).unwrap();
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn what_is_not_there_cannot_be_removed() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    place.store.remove(&key).unwrap();
    assert!(matches!(place.store.remove(&key), Err(StoreError::NoKey)));
    assert_eq!(files_below(&place.cas(), &["imagelocks"]), Vec::<String>::new());
}

#[test]
fn file_that_stays_is_reported_and_the_image_is_gone_all_the_same() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let manifest = place.store.manifest_path(&key);
    std::fs::remove_file(&manifest).unwrap();
    // Even root cannot unlink a directory.
    std::fs::create_dir(&manifest).unwrap();

    assert_eq!(place.store.remove(&key).unwrap(), Removed { stale_files: true });

    assert!(matches!(place.store.resolve_key(key.as_str()), Err(StoreError::NoKey)));
}

#[test]
fn removal_waits_for_a_reader() {
    use std::io::Read;
    let place = Place::new();
    let bytes = image("a.com/b");
    let key = place.import(&bytes).unwrap();
    let mut blob = place.store.read(&key).unwrap();
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| place.store.remove(&key).unwrap());
        let mut content = Vec::new();
        blob.read_to_end(&mut content).unwrap();
        assert_eq!(content, bytes);
        assert!(place.store.blob_path(&key).exists());
        drop(blob);
        removal.join().unwrap();
    });
    assert!(!place.store.blob_path(&key).exists());
}

#[test]
fn removed_image_can_be_imported_again() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    place.store.remove(&key).unwrap();
    assert_eq!(place.import(&image("a.com/b")).unwrap(), key);
    assert_eq!(place.store.get_by_name(&"a.com/b".parse().unwrap(), &Default::default()).unwrap(), Some(key));
}
