use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::Writer;

fn sample() -> Vec<u8> {
    let mut archive = Writer::new(Vec::new());
    archive.directory("dev", 0o755).unwrap();
    archive.character_device("dev/console", 0o600, 5, 1).unwrap();
    archive.file("init", 0o755, b"hello").unwrap();
    archive.symlink("link", "init").unwrap();
    archive.finish().unwrap()
}

#[test]
fn equal_calls_make_equal_bytes() {
    assert_eq!(sample(), sample());
}

#[test]
fn every_header_starts_at_a_multiple_of_four() {
    let archive = sample();

    let starts: Vec<usize> =
        (0..archive.len() - 6).filter(|start| &archive[*start..start + 6] == b"070701").collect();

    assert_eq!(starts.len(), 5);
    assert!(starts.iter().all(|start| start % 4 == 0), "{starts:?}");
}

#[test]
fn cpio_lists_what_was_written() {
    let Ok(mut child) = Command::new("cpio")
        .args(["-itv", "--quiet", "--numeric-uid-gid"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        panic!("cpio is not installed; `cargo xtask setup` installs it");
    };

    child.stdin.take().unwrap().write_all(&sample()).unwrap();
    let listing = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();

    let lines: Vec<&str> = listing.lines().collect();
    assert!(lines[0].starts_with("drwxr-xr-x"), "{listing}");
    assert!(lines[1].starts_with("crw-------") && lines[1].contains("5,   1"), "{listing}");
    assert!(lines[2].starts_with("-rwxr-xr-x") && lines[2].ends_with("init"), "{listing}");
    assert!(lines[3].ends_with("link -> init"), "{listing}");
}

#[test]
fn stages_of_the_machine_are_valid_shell() {
    for stage in ["init.sh", "root.sh"] {
        let path = format!("{}/guest/{stage}", env!("CARGO_MANIFEST_DIR"));
        assert!(fs::exists(&path).unwrap());

        let status = Command::new("sh").arg("-n").arg(&path).status().unwrap();

        assert!(status.success(), "{path}");
    }
}
