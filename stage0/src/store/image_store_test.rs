use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use appc::Labels;

use super::test_place::{Place, files_below, image};
use super::{ImageStore, Import, Remote};
use crate::extract::test_archive::{TestArchive, manifest_json};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let mut labels = Labels::default();
    for (name, value) in pairs {
        labels.set(name.parse().unwrap(), *value).unwrap();
    }
    labels
}

#[test]
fn image_lands_where_rkt_keeps_it() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let fan_out = &key.as_str()[7..9];
    let cas = place.cas();
    let blob = std::fs::read(cas.join("blob/sha512").join(fan_out).join(key.as_str())).unwrap();
    let manifest =
        std::fs::read_to_string(cas.join("imageManifest/sha512").join(fan_out).join(key.as_str())).unwrap();
    assert_eq!(blob, image("a.com/b"));
    assert_eq!(manifest, manifest_json("a.com/b", ""));
    assert!(cas.join("imagelocks").join(key.as_str()).exists());
    assert_eq!(files_below(&cas, &["tmp"]), Vec::<String>::new());
}

#[test]
fn every_compression_gives_the_same_image() {
    let place = Place::new();
    let plain = image("a.com/b");
    let key = place.import(&plain).unwrap();

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();

    for compressed in [gzip.finish().unwrap(), bzip2.finish().unwrap(), xz.finish().unwrap()] {
        assert_eq!(place.import(&compressed).unwrap(), key);
        // A download that lost its end is noticed by every format.
        assert!(place.import(&compressed[..compressed.len() - 20]).is_err());
    }
    let mut content = Vec::new();
    place.store.read(&key).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, plain);
}

#[test]
fn bad_images_are_refused_and_leave_nothing() {
    let place = Place::new();
    let manifest = manifest_json("a.com/b", "");
    let with = |archive: TestArchive| archive.finish();
    let whole = image("a.com/b");

    assert!(place.refusal(b"hello").contains("truncated"));
    assert!(place.refusal(&whole[..whole.len() - 1500]).contains("truncated"));
    assert!(place.refusal(&with(TestArchive::new().directory("rootfs", 0o755))).contains("no manifest"));
    assert!(
        place.refusal(&with(TestArchive::new().file("manifest", manifest.as_bytes()))).contains("no rootfs")
    );
    assert!(
        place
            .refusal(&with(TestArchive::image("a.com/b").file("manifest", manifest.as_bytes())))
            .contains("more than one manifest")
    );
    assert!(
        place.refusal(&with(TestArchive::image("a.com/b").file("rootfs/../x", b""))).contains("rootfs/../x")
    );
    assert!(
        place.refusal(&with(TestArchive::image("a.com/b").file("etc/passwd", b""))).contains("etc/passwd")
    );
    assert!(
        place.refusal(&with(TestArchive::image("a.com/b").hard_link("rootfs/h", "../x"))).contains("\"..\"")
    );
    let long = format!("rootfs/{}", "n".repeat(4993));
    assert!(place.refusal(&with(TestArchive::image("a.com/b").file(&long, b""))).contains("ENAMETOOLONG"));
    let pod = manifest.replace("ImageManifest", "PodManifest");
    let archive = TestArchive::new().directory("rootfs", 0o755).file("manifest", pod.as_bytes());
    assert!(place.refusal(&with(archive)).contains("ACKind"));
    let huge = vec![b' '; appc::MAX_MANIFEST_BYTES + 10];
    let archive = TestArchive::new().directory("rootfs", 0o755).file("manifest", &huge);
    assert!(place.refusal(&with(archive)).contains("too large"));
}

#[test]
fn name_is_found_with_labels_and_the_latest_import_wins() {
    let place = Place::new();
    let version = |v: &str| {
        let manifest = manifest_json("a.com/b", "")
            .replace("\"labels\":[", &format!("\"labels\":[{{\"name\":\"version\",\"value\":\"{v}\"}},"));
        TestArchive::new().file("manifest", manifest.as_bytes()).directory("rootfs", 0o755).finish()
    };
    let one = place.import(&version("1")).unwrap();
    let two = place.import(&version("2")).unwrap();
    let name = "a.com/b".parse().unwrap();
    let find = |pairs: &[(&str, &str)]| place.store.get_by_name(&name, &labels(pairs)).unwrap();

    assert_eq!(find(&[]), Some(two.clone()));
    assert_eq!(find(&[("version", "1"), ("os", "linux")]), Some(one.clone()));
    assert_eq!(find(&[("version", "3")]), None);
    assert_eq!(place.store.get_by_name(&"a.com/c".parse().unwrap(), &Labels::default()).unwrap(), None);

    place.store.import(&version("1")[..], &Import { latest: true }).unwrap();
    place.import(&version("2")).unwrap();
    assert_eq!(find(&[]), Some(one), "the one flagged latest beats a newer import");
    assert_eq!(find(&[("version", "2")]), Some(two));
}

#[test]
fn keys_are_found_by_unique_prefix() {
    let place = Place::new();
    let mut keys: Vec<String> =
        (0..40).map(|i| place.import(&image(&format!("a.com/i{i}"))).unwrap().to_string()).collect();
    keys.sort();
    let store = &place.store;

    assert_eq!(store.resolve_key(&keys[0]).unwrap().as_str(), keys[0]);
    assert_eq!(store.resolve_key(&format!("{}{}", keys[0], "0".repeat(64))).unwrap().as_str(), keys[0]);
    assert_eq!(store.resolve_key(&keys[0][..20]).unwrap().as_str(), keys[0]);
    let message = |prefix: &str| store.resolve_key(prefix).unwrap_err().to_string();
    assert_eq!(message("sha256-00"), "wrong key prefix");
    assert_eq!(message("sha512-0"), "image ID too short");
    assert_eq!(message(&format!("sha512-{}", "0".repeat(64))), "no image IDs found");
}

#[test]
fn remote_row_counts_only_while_its_image_is_there() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let remote = Remote {
        aci_url: "https://a.com/b.aci".to_owned(),
        sig_url: String::new(),
        etag: "\"1\"".to_owned(),
        blob_key: key.clone(),
        cache_max_age: 60,
        download_time: SystemTime::now(),
    };
    place.store.put_remote(&remote).unwrap();

    let found = place.store.remote("https://a.com/b.aci").unwrap().unwrap();
    assert_eq!(found.etag, "\"1\"");
    assert!(found.is_fresh(SystemTime::now()));
    assert!(!found.is_fresh(SystemTime::now() + Duration::from_secs(61)));

    let fan_out = &key.as_str()[7..9];
    std::fs::remove_file(place.data_dir().join("cas/blob/sha512").join(fan_out).join(key.as_str())).unwrap();
    assert_eq!(place.store.remote("https://a.com/b.aci").unwrap(), None);
}

#[test]
fn second_process_sees_what_the_first_imported() {
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let other = ImageStore::open(place.data_dir()).unwrap();
    assert_eq!(other.resolve_key(key.short()).unwrap(), key);
}

#[test]
fn what_a_killed_import_left_is_gone_after_the_next_one() {
    let place = Place::new();
    let cas = place.cas();
    std::fs::create_dir_all(cas.join("tmp")).unwrap();
    std::fs::create_dir_all(cas.join("db")).unwrap();
    std::fs::write(cas.join("tmp/import-4711-0"), "half an image").unwrap();
    std::fs::write(cas.join("db/images.redb.new"), [0; 4096]).unwrap();

    let key = place.import(&image("a.com/b")).unwrap();

    assert_eq!(files_below(&cas, &["tmp"]), Vec::<String>::new());
    assert!(!cas.join("db/images.redb.new").exists());
    assert_eq!(place.store.resolve_key(key.as_str()).unwrap(), key);
}

#[test]
fn group_shares_the_store_whatever_the_umask() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let key = place.import(&image("a.com/b")).unwrap();
    let cas = place.cas();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    let blobs = cas.join("blob/sha512").join(&key.as_str()[7..9]);
    assert_eq!((mode(&cas), mode(&blobs), mode(&cas.join("imagelocks"))), (0o2770, 0o2770, 0o2770));
    assert_eq!((mode(&blobs.join(key.as_str())), mode(&cas.join("db/images.redb"))), (0o660, 0o660));
    assert_eq!(mode(&cas.join("imagelocks").join(key.as_str())), 0o660);
}
