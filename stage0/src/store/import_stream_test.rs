use std::io::{BufReader, Read, Write};

use super::import::unpack;
use super::test_place::{Place, image};
use super::{Import, StoreError};
use crate::extract::test_archive::{TestArchive, manifest_json};

const MIB: usize = 1024 * 1024;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn image_is_the_same_in_pieces_of_any_size() {
    let place = Place::new();
    let content: Vec<u8> = (0..3 * MIB).map(|at| (at % 253) as u8).collect();
    let plain = TestArchive::image("a.com/b").file("rootfs/f", &content).finish();
    let compressed = gzip(&plain);
    let expected = place.import(&plain).unwrap();

    for piece in [777, 128 * 1024, compressed.len()] {
        let mut stream = place.store.begin_import(&Import::default()).unwrap();
        compressed.chunks(piece).for_each(|piece| stream.write_all(piece).unwrap());
        let pending = stream.finish().unwrap();
        assert_eq!(pending.manifest().name.as_str(), "a.com/b");
        assert_eq!(pending.commit().unwrap(), expected);
    }
    let mut stored = Vec::new();
    place.store.read(&expected).unwrap().read_to_end(&mut stored).unwrap();
    assert!(stored == plain);
}

#[test]
fn nothing_counts_before_the_commit_and_nothing_stays_without_it() {
    let place = Place::new();
    let bytes = image("a.com/b");

    let mut stream = place.store.begin_import(&Import::default()).unwrap();
    stream.write_all(&bytes[..700]).unwrap();
    drop(stream);
    assert_eq!(place.files(), Vec::<String>::new());

    let mut stream = place.store.begin_import(&Import::default()).unwrap();
    stream.write_all(&bytes).unwrap();
    let pending = stream.finish().unwrap();
    assert_eq!(place.store.images().unwrap(), []);
    drop(pending);
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn writer_of_a_hostile_image_is_stopped_and_told_why() {
    let place = Place::new();
    let hostile = TestArchive::image("a.com/b").file("rootfs/../../etc/passwd", b"").unfinished();
    let mut stream = place.store.begin_import(&Import::default()).unwrap();
    stream.write_all(&hostile).unwrap();

    // The rest never ends, as of a server that goes on sending.
    let mut written = 0;
    let error = loop {
        match stream.write(&[0; 4096]) {
            Ok(count) => written += count,
            Err(e) => break e,
        }
        assert!(written < 64 * MIB, "nobody stopped the writer");
    };
    assert!(error.to_string().contains("rootfs/../../etc/passwd"), "{error}");
    let cause = stream.finish().err().unwrap().to_string();
    assert!(cause.contains("rootfs/../../etc/passwd"), "{cause}");
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn broken_compression_is_told_to_whoever_only_finishes() {
    let place = Place::new();
    let mut compressed = gzip(&image("a.com/b"));
    let middle = compressed.len() / 2;
    compressed[middle..middle + 8].fill(0xff);
    let mut stream = place.store.begin_import(&Import::default()).unwrap();
    let _ = stream.write_all(&compressed);
    let error = stream.finish().err().unwrap().to_string();
    assert!(error.starts_with("cannot read the archive: "), "{error}");
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn zstd_is_accepted_with_a_bounded_window() {
    let place = Place::new();
    let plain = image("a.com/b");
    let key = place.import(&plain).unwrap();

    let compressed = zstd(&plain, 23);
    assert_eq!(place.import(&compressed).unwrap(), key);
    assert!(place.import(&compressed[..compressed.len() - 5]).is_err(), "its end is missing");

    let greedy = zstd(&plain, 27);
    let error = place.import(&greedy).unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
}

#[test]
fn archive_that_grows_beyond_the_limit_is_refused_while_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let file = std::fs::File::create(&path).unwrap();
    let bomb = TestArchive::image("a.com/b").file("rootfs/zeros", &vec![0; 4 * MIB]).finish();

    let limit = MIB as u64;
    let result = unpack(BufReader::new(&bomb[..]), &file, &path, limit);

    assert!(matches!(result, Err(StoreError::TooLarge { limit: 1_048_576 })), "{result:?}");
    assert!(file.metadata().unwrap().len() <= limit);
}

#[test]
fn full_disk_names_the_file_and_the_reason() {
    let place = Place::new();
    // Every write to it fails as on a full disk.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let result = unpack(BufReader::new(&image("a.com/b")[..]), &full, &place.cas().join("tmp/x"), u64::MAX);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("tmp/x") && message.contains("No space left on device"), "{message}");
}

#[test]
fn only_rkt_itself_names_layers() {
    let place = Place::new();
    let list = format!("sha256:{}", "0".repeat(64));
    let annotation = format!(r#","annotations":[{{"name":"coreos.com/rkt/oci/layers","value":"{list}"}}]"#);
    let manifest = manifest_json("a.com/b", &annotation);
    let foreign = TestArchive::new().file("manifest", manifest.as_bytes()).directory("rootfs", 0o755);

    let message = place.refusal(&foreign.finish());

    assert!(message.contains("coreos.com/rkt/oci/layers"), "{message}");
}
