use super::download::{ContentRange, content_range};
use super::partial::Partial;
use crate::log::Log;

#[test]
fn content_ranges_that_make_no_sense_are_none() {
    let range = |first, total| Some(ContentRange { first, total });
    assert_eq!(content_range("bytes 5-9/10"), range(5, Some(10)));
    assert_eq!(content_range("bytes 0-0/*"), range(0, None));
    for text in [
        "bytes */10",
        "bytes 5-4/10",
        "bytes 5-10/10",
        "items 5-9/10",
        "bytes 5-9",
        "bytes -9/10",
        "bytes 99999999999999999999-9/10",
        "",
    ] {
        assert_eq!(content_range(text), None, "{text}");
    }
}

fn lock(directory: &std::path::Path) -> Partial {
    Partial::lock(directory, &"https://a.com/x.aci".parse().unwrap(), Log::new("image", false)).unwrap()
}

/// What another process would find that begins to download when this one was killed.
fn after_kill(partial: Partial) -> Partial {
    let directory = partial.path().parent().unwrap().to_owned();
    let copies: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    drop(partial);
    for (path, content) in copies {
        std::fs::write(path, content).unwrap();
    }
    lock(&directory)
}

#[test]
fn beginning_counts_only_with_the_version_it_is_of() {
    let directory = tempfile::tempdir().unwrap();
    let mut partial = lock(directory.path());
    assert_eq!(partial.beginning(), None);
    partial.restart(Some("\"one\"".to_owned())).unwrap();
    partial.append(b"begin").unwrap();
    let mut partial = after_kill(partial);
    assert_eq!(partial.beginning(), Some((5, "\"one\"")));

    partial.restart(None).unwrap();
    partial.append(b"again").unwrap();
    assert_eq!(after_kill(partial).beginning(), None);
}

#[test]
fn beginning_of_another_boot_or_with_half_a_note_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = "\"one\"\n00000000-0000-0000-0000-000000000000\n".to_owned();
    let damaged = format!("\"\u{1}\"\n{boot}");
    for note in [other.as_str(), "\"one\"\n", "\"on", "", damaged.as_str()] {
        let mut partial = lock(directory.path());
        partial.restart(Some("\"one\"".to_owned())).unwrap();
        partial.append(b"begin").unwrap();
        std::fs::write(partial.path().with_extension("etag"), note).unwrap();
        assert_eq!(after_kill(partial).beginning(), None, "{note:?}");
    }
}

#[test]
fn download_leaves_nothing_unless_it_can_be_continued() {
    let directory = tempfile::tempdir().unwrap();
    let left = || std::fs::read_dir(directory.path()).unwrap().count();
    let mut partial = lock(directory.path());
    partial.restart(None).unwrap();
    partial.append(b"begin").unwrap();
    partial.keep();
    drop(partial);
    assert_eq!(left(), 0);

    let mut partial = lock(directory.path());
    partial.restart(Some("\"one\"".to_owned())).unwrap();
    partial.append(b"begin").unwrap();
    partial.keep();
    drop(partial);
    assert_eq!(left(), 2);
    drop(lock(directory.path()));
    assert_eq!(left(), 0, "a download that ended leaves nothing");
}

#[test]
fn link_in_place_of_a_download_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (victim, place) = (directory.path().join("victim"), directory.path().join("downloads"));
    std::fs::write(&victim, "precious").unwrap();
    std::fs::create_dir(&place).unwrap();
    let path = lock(&place).path().to_owned();
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    let url = "https://a.com/x.aci".parse().unwrap();

    assert!(Partial::lock(&place, &url, Log::new("image", false)).is_err());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&victim, path.with_extension("etag")).unwrap();
    assert!(lock(&place).restart(Some("\"one\"".to_owned())).is_ok());

    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}
