use std::io::{self, Read, Write};

use super::test_place::{Place, damage, diff_id, layer, manifest};
use super::{DiffId, Import, StoreError};

fn read(place: &Place, id: &DiffId) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    place.store.open_layer(id).unwrap().read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn layer_lands_under_its_diff_id_whatever_its_compression() {
    let plain = layer(b"content");
    let id = diff_id(&plain);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    for compressed in [plain.clone(), gzip.finish().unwrap(), zstd::encode_all(&plain[..], 3).unwrap()] {
        let place = Place::new();
        let layers = place.store.layers().unwrap();
        assert!(!layers.contains(&id));
        assert_eq!(layers.begin(&id).unwrap().unwrap().write(&compressed[..]).unwrap(), plain.len() as u64);
        assert!(layers.contains(&id));
        let digits = &id.as_str()[7..];
        assert_eq!(place.files(), [format!("layer/sha256/{}/sha256-{digits}", &digits[..2])]);
        assert_eq!(read(&place, &id).unwrap(), plain);
    }
}

#[test]
fn layer_that_is_not_what_it_should_be_is_not_kept() {
    let place = Place::new();
    let layers = place.store.layers().unwrap();
    let (plain, other) = (layer(b"content"), layer(b"other"));
    let id = diff_id(&plain);

    let error = layers.begin(&id).unwrap().unwrap().write(&other[..]).unwrap_err().to_string();
    assert!(error.contains(id.as_str()) && error.contains(diff_id(&other).as_str()), "{error}");

    let compressed = zstd::encode_all(&plain[..], 3).unwrap();
    let error = layers.begin(&id).unwrap().unwrap().write(&compressed[..compressed.len() - 9]).unwrap_err();
    assert!(matches!(error, StoreError::ReadLayer { .. }), "{error}");

    drop(layers.begin(&id).unwrap().unwrap());
    assert_eq!(place.files(), Vec::<String>::new());
    assert!(!layers.contains(&id));
}

#[test]
fn error_of_the_source_is_the_error_of_the_layer() {
    struct Cut;
    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("registry hung up"))
        }
    }
    let place = Place::new();
    let layers = place.store.layers().unwrap();
    let plain = layer(b"content");
    let import = layers.begin(&diff_id(&plain)).unwrap().unwrap();
    let error = import.write((&plain[..900]).chain(Cut)).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read layer {}: registry hung up", diff_id(&plain)));
}

#[test]
fn second_taker_of_a_layer_waits_and_then_finds_it() {
    let place = Place::new();
    let plain = layer(b"content");
    let id = diff_id(&plain);
    let layers = place.store.layers().unwrap();
    let first = layers.begin(&id).unwrap().unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let other = super::ImageStore::open(place.data_dir()).unwrap();
            let layers = other.layers().unwrap();
            layers.begin(&id).unwrap().is_none()
        });
        first.write(&plain[..]).unwrap();
        assert!(second.join().unwrap(), "the layer was stored twice");
    });
    assert_eq!(place.files().len(), 1);
}

#[test]
fn next_taker_stores_the_layer_that_the_first_gave_up() {
    let place = Place::new();
    let plain = layer(b"content");
    let id = diff_id(&plain);
    let layers = place.store.layers().unwrap();
    let first = layers.begin(&id).unwrap().unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| layers.begin(&id).unwrap().unwrap().write(&plain[..]).unwrap());
        drop(first);
        second.join().unwrap();
    });
    assert_eq!(read(&place, &id).unwrap(), plain);
}

#[test]
fn image_of_layers_has_one_key_everywhere_and_names_them_in_order() {
    let (bottom, top) = (layer(b"bottom"), layer(b"top"));
    let (one, two) = (Place::new(), Place::new());
    let key = one.import_layered("a.com/b", &[&bottom, &top, &bottom]).unwrap();
    assert_eq!(two.import_layered("a.com/b", &[&bottom, &top, &bottom]).unwrap(), key);
    assert_ne!(two.import_layered("a.com/b", &[&top, &bottom]).unwrap(), key);

    let names = [diff_id(&bottom), diff_id(&top), diff_id(&bottom)];
    assert_eq!(one.store.layers_of(&key).unwrap(), names);
    let annotated = one.store.manifest(&key).unwrap();
    let list = names.map(|name| name.to_string()).join(",");
    assert_eq!(annotated.annotations.get("coreos.com/rkt/oci/layers"), Some(list.as_str()));
    let mut archive = Vec::new();
    one.store.read(&key).unwrap().read_to_end(&mut archive).unwrap();
    let info = one.store.info(&key).unwrap().unwrap();
    assert_eq!(info.size, (archive.len() + bottom.len() + top.len()) as u64, "each layer counts once");
    assert_eq!(one.store.resolve_key(key.as_str()).unwrap(), key);
}

/// The key must never change: pods and other hosts know images by it.
#[test]
fn key_of_an_image_of_layers_is_fixed() {
    let place = Place::new();
    let key = place.import_layered("a.com/b", &[&layer(b"content")]).unwrap();
    assert_eq!(key.as_str(), "sha512-1aa43606611070999798ef823f717c810253cdf9dde7236f96a056f0e0f6661b");
}

#[test]
fn image_of_a_missing_layer_is_refused() {
    let place = Place::new();
    let missing = diff_id(b"missing");
    let layers = place.store.layers().unwrap();
    let error = layers.commit(&manifest("a.com/b"), std::slice::from_ref(&missing), &Import::default());
    assert!(matches!(error, Err(StoreError::NoLayer(name)) if name == missing.as_str()));
    assert!(matches!(place.store.open_layer(&missing), Err(StoreError::NoLayer(_))));
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn damaged_layer_is_noticed_by_its_reader_and_replaced_by_the_next_fetch() {
    let place = Place::new();
    let plain = layer(b"content");
    let id = diff_id(&plain);
    let key = place.import_layered("a.com/b", &[&plain]).unwrap();
    damage(&place.store.layer_path(&id));

    let error = read(&place, &id).unwrap_err().to_string();

    assert!(error.contains("does not match its diff ID"), "{error}");
    assert_eq!(place.store.info(&key).unwrap(), None, "an image without all of its layers is believed");
    assert_eq!(place.import_layered("a.com/b", &[&plain]).unwrap(), key);
    assert_eq!(read(&place, &id).unwrap(), plain);
}

#[test]
fn late_reader_of_a_damaged_layer_leaves_the_one_stored_meanwhile_alone() {
    let place = Place::new();
    let plain = layer(b"content");
    let id = diff_id(&plain);
    let layers = place.store.layers().unwrap();
    layers.begin(&id).unwrap().unwrap().write(&plain[..]).unwrap();
    damage(&place.store.layer_path(&id));
    let mut late = place.store.open_layer(&id).unwrap();
    read(&place, &id).unwrap_err();
    layers.begin(&id).unwrap().unwrap().write(&plain[..]).unwrap();

    late.read_to_end(&mut Vec::new()).unwrap_err();

    assert_eq!(read(&place, &id).unwrap(), plain);
}

#[test]
fn shared_layer_is_stored_once_and_goes_with_its_last_image() {
    let place = Place::new();
    let (shared, own) = (layer(b"shared"), layer(b"own"));
    let one = place.import_layered("a.com/one", &[&shared]).unwrap();
    let two = place.import_layered("a.com/two", &[&shared, &own]).unwrap();
    let layers = || place.files().iter().filter(|file| file.starts_with("layer/")).count();
    assert_eq!(layers(), 2);

    place.store.remove(&two).unwrap();
    assert_eq!(layers(), 1);
    assert_eq!(read(&place, &diff_id(&shared)).unwrap(), shared);
    place.store.remove(&one).unwrap();
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn layers_stay_while_somebody_counts_on_them() {
    let place = Place::new();
    let plain = layer(b"content");
    let key = place.import_layered("a.com/b", &[&plain]).unwrap();
    let held = place.store.layers().unwrap();
    assert!(held.contains(&diff_id(&plain)));

    place.store.remove(&key).unwrap();
    assert!(held.contains(&diff_id(&plain)), "a fetch that skipped this layer has lost it");
    held.commit(&manifest("a.com/c"), &[diff_id(&plain)], &Import::default()).unwrap();
    drop(held);

    place.store.collect_images(std::time::Duration::from_secs(60), &Default::default()).unwrap();
    assert_eq!(read(&place, &diff_id(&plain)).unwrap(), plain);
}
