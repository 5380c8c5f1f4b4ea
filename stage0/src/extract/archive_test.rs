use std::io::Read;

use tar::{EntryType, Header};

use super::sparse::{Segment, SparseMap};
use super::test_archive::TestArchive;
use super::{Archive, Entry, EntryKind, EntryName, ExtractError, MAX_EXTENSION_BYTES};

fn first(bytes: &[u8]) -> Result<Entry, ExtractError> {
    Archive::new(bytes).next_entry().map(Option::unwrap)
}

fn all(bytes: &[u8]) -> Result<Vec<Entry>, ExtractError> {
    let mut archive = Archive::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn refusal(name: &str) -> String {
    EntryName::parse(name.as_bytes()).unwrap_err().to_string()
}

#[test]
fn entries_keep_name_data_and_metadata() {
    let bytes = TestArchive::new().file("manifest", b"{}").symlink("rootfs/l", "/etc/passwd").finish();
    let mut archive = Archive::new(&bytes[..]);

    let file = archive.next_entry().unwrap().unwrap();
    let mut content = String::new();
    archive.data().read_to_string(&mut content).unwrap();
    let link = archive.next_entry().unwrap().unwrap();

    assert_eq!((file.name.as_slice(), content.as_str()), (&b"manifest"[..], "{}"));
    assert_eq!((file.mode, file.mtime), (0o644, (1_000_000_000, 0)));
    assert_eq!(link.kind, EntryKind::Symlink(b"/etc/passwd".to_vec()));
    assert!(archive.next_entry().unwrap().is_none());
}

#[test]
fn long_names_of_gnu_and_pax_are_put_together() {
    let long = format!("rootfs/{}", "d/".repeat(100));
    assert_eq!(first(&TestArchive::new().file(&long, b"").finish()).unwrap().name, long.as_bytes());
    let pax = TestArchive::new().pax(&[("path", long.as_bytes()), ("uid", b"4000000")]).file("short", b"");
    let entry = first(&pax.finish()).unwrap();
    assert_eq!((entry.name.as_slice(), entry.uid), (long.as_bytes(), 4_000_000));
}

#[test]
fn names_that_lead_out_of_the_image_are_refused_by_name() {
    assert!(refusal("rootfs/../../etc/passwd").contains("\"rootfs/../../etc/passwd\""));
    assert!(refusal("rootfs/../../etc/passwd").contains("\"..\""));
    assert!(refusal("../manifest").contains("\"..\""));
    assert!(refusal("/rootfs/etc").contains("absolute"));
    assert!(refusal("etc/passwd").contains("nothing else"));
    assert!(refusal("rootfs\0/x").contains("zero byte"));
    assert!(refusal("").contains("empty"));
}

#[test]
fn name_of_5000_bytes_is_refused_as_too_long() {
    let name = format!("rootfs/{}", "x".repeat(4993));
    let bytes = TestArchive::new().file(&name, b"").finish();

    let entry = first(&bytes).unwrap();
    let error = EntryName::parse(&entry.name).unwrap_err().to_string();

    assert!(error.contains("5000 bytes") && error.contains("ENAMETOOLONG"), "{error}");
    assert!(error.len() < 300, "the message does not repeat the whole name");
    assert!(refusal(&format!("rootfs/{}", "x".repeat(256))).contains("256 bytes"));
    assert!(refusal(&format!("rootfs{}", "/x".repeat(300))).contains("nested"));
}

#[test]
fn names_are_normalised() {
    assert_eq!(EntryName::parse(b"./").unwrap(), EntryName::Top);
    assert_eq!(EntryName::parse(b"./manifest").unwrap(), EntryName::Manifest);
    assert_eq!(EntryName::parse(b"rootfs/").unwrap(), EntryName::Rootfs("".into()));
    assert_eq!(EntryName::parse(b"./rootfs//a/./b/").unwrap(), EntryName::Rootfs("a/b".into()));
}

#[test]
fn truncated_archives_are_refused_wherever_they_end() {
    let whole = TestArchive::image("a.com/b").file("rootfs/f", &[7; 1000]).unfinished();
    for cut in [whole.len() - 1, whole.len() - 600, whole.len() - 1100, 700, 100] {
        let mut archive = Archive::new(&whole[..cut]);
        let result = loop {
            match archive.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        assert!(matches!(result, Err(ExtractError::Truncated(_))), "cut at {cut}: {result:?}");
    }
    assert!(matches!(all(b""), Err(ExtractError::Truncated(_))));
}

#[test]
fn last_entry_needs_no_padding() {
    let whole = TestArchive::image("a.com/b").file("rootfs/f", &[7; 1000]).unfinished();
    let mut archive = Archive::new(&whole[..whole.len() - 24]);
    let mut entries = 0;
    while archive.next_entry().unwrap().is_some() {
        entries += 1;
    }
    assert_eq!(entries, 3);
}

#[test]
fn garbage_is_no_archive() {
    assert!(matches!(all(&[b'x'; 2048]), Err(ExtractError::Malformed(_))));
}

#[test]
fn huge_extended_header_is_refused_before_it_is_read() {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(MAX_EXTENSION_BYTES + 1);
    let bytes = TestArchive::new().block(header, b"").unfinished();
    assert!(matches!(first(&bytes), Err(ExtractError::Limit { .. })));
}

#[test]
fn unknown_entry_types_are_refused_by_name() {
    let bytes = TestArchive::new().raw(EntryType::new(b'M'), "rootfs/part", "", 0o644, b"").finish();
    let error = first(&bytes).unwrap_err().to_string();
    assert!(error.contains("rootfs/part") && error.contains("'M'"), "{error}");
}

#[test]
fn owner_that_chown_would_misunderstand_is_refused() {
    let bytes = TestArchive::new().pax(&[("uid", b"4294967295")]).file("rootfs/f", b"").finish();
    assert!(first(&bytes).unwrap_err().to_string().contains("4294967295"));
}

#[test]
fn pax_sparse_formats_give_the_same_map() {
    let wanted = SparseMap {
        size: 4096,
        segments: vec![Segment { offset: 512, length: 3 }, Segment { offset: 4000, length: 2 }],
    };
    let old: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"4096"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"512"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"4000"),
        ("GNU.sparse.numbytes", b"2"),
    ];
    let middle: &[(&str, &[u8])] = &[("GNU.sparse.size", b"4096"), ("GNU.sparse.map", b"512,3,4000,2")];
    for records in [old, middle] {
        let bytes = TestArchive::new().pax(records).file("rootfs/s", b"abcde").finish();
        assert_eq!(first(&bytes).unwrap().kind, EntryKind::File(Some(wanted.clone())));
    }
    let new: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"rootfs/real"),
        ("GNU.sparse.realsize", b"4096"),
    ];
    let mut content = b"2\n512\n3\n4000\n2\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abcde");
    let bytes = TestArchive::new().pax(new).file("rootfs/GNUSparseFile.0/real", &content).finish();
    let mut archive = Archive::new(&bytes[..]);
    let entry = archive.next_entry().unwrap().unwrap();
    let mut data = Vec::new();
    archive.data().read_to_end(&mut data).unwrap();
    assert_eq!(entry.kind, EntryKind::File(Some(wanted)));
    assert_eq!((entry.name.as_slice(), data.as_slice()), (&b"rootfs/real"[..], &b"abcde"[..]));
}

#[test]
fn sparse_maps_that_contradict_themselves_are_refused() {
    for map in ["0,3,1,2", "4095,5", "0,4", "0,6", "18446744073709551615,5"] {
        let records: &[(&str, &[u8])] = &[("GNU.sparse.size", b"4096"), ("GNU.sparse.map", map.as_bytes())];
        let bytes = TestArchive::new().pax(records).file("rootfs/s", b"abcde").finish();
        assert!(matches!(first(&bytes), Err(ExtractError::Malformed(_))), "{map}");
    }
}

#[test]
fn files_that_claim_more_than_the_limit_are_refused() {
    let records: &[(&str, &[u8])] = &[("GNU.sparse.size", b"1000000000000000"), ("GNU.sparse.map", b"0,5")];
    let bytes = TestArchive::new().pax(records).file("rootfs/s", b"abcde").finish();
    assert!(matches!(first(&bytes), Err(ExtractError::Limit { .. })));
}

#[test]
fn malformed_pax_records_are_refused() {
    for content in [&b"9999 path=x\n"[..], b"x path=y\n", b"9 path=ab", b"6 path\n"] {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(content.len() as u64);
        let bytes = TestArchive::new().block(header, content).file("rootfs/f", b"").finish();
        assert!(matches!(first(&bytes), Err(ExtractError::Malformed(_))), "{content:?}");
    }
}

#[test]
fn error_that_quotes_a_header_does_not_steer_the_terminal() {
    let mut bytes = TestArchive::new().file("\u{1b}]0;title\u{7}", b"").finish();
    bytes[148..156].copy_from_slice(b"no sum\0 ");

    let error = first(&bytes).unwrap_err().to_string();

    assert!(error.contains("title") && !error.contains(char::is_control), "{error:?}");
}
