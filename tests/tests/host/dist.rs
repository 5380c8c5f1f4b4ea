//! What is shipped: static executables and valid images.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use rkt_tests::dist;
use serde_json::Value;

/// Program header type of the name of a dynamic loader, and of the dynamic section (elf(5)).
const PT_INTERP: u64 = 3;
const PT_DYNAMIC: u64 = 2;

/// Dynamic section entries: the end, and the name of a needed library.
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;

/// Whether a file is an ELF executable, and if so whether it needs nothing but the kernel.
fn is_static(content: &[u8]) -> Option<bool> {
    if !content.starts_with(b"\x7fELF") {
        return None;
    }
    let number = |at: usize, length: usize| -> u64 {
        content[at..at + length].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    let index = |value: u64| usize::try_from(value).expect("an offset in memory");
    let (table, size, count) = (index(number(32, 8)), index(number(54, 2)), index(number(56, 2)));
    let headers: Vec<usize> = (0..count).map(|header| table + header * size).collect();
    let needs_library = |header: &usize| {
        let (start, length) = (index(number(header + 8, 8)), index(number(header + 32, 8)));
        (start..start + length)
            .step_by(16)
            .map(|entry| number(entry, 8))
            .take_while(|tag| *tag != DT_NULL)
            .any(|tag| tag == DT_NEEDED)
    };
    let dynamic = headers.iter().any(|header| match number(*header, 4) {
        PT_INTERP => true,
        PT_DYNAMIC => needs_library(header),
        _ => false,
    });
    Some(!dynamic)
}

/// The regular files of an image.
fn files_of(image: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = File::open(image).expect("opening an image");
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an archive");
        if entry.header().entry_type().is_file() {
            let name = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("an archive");
            files.insert(name, content);
        }
    }
    files
}

#[test]
fn the_check_itself_knows_a_dynamic_executable() {
    let cat = fs::read("/bin/cat").expect("reading");

    assert_eq!(is_static(&cat), Some(false));
    assert_eq!(is_static(b"#!/bin/sh\n"), None);
}

#[test]
fn rkt_is_static() {
    let content = fs::read(dist::file("rkt")).expect("reading");

    assert_eq!(is_static(&content), Some(true));
}

#[test]
fn every_executable_in_the_stage1_image_is_static() {
    let files = files_of(&dist::file("stage1-kvm.aci"));

    let executables: Vec<(&String, bool)> = files
        .iter()
        .filter_map(|(name, content)| is_static(content).map(|verdict| (name, verdict)))
        .collect();
    assert!(executables.iter().any(|(name, _)| *name == "rootfs/init"), "{executables:?}");
    assert!(executables.iter().all(|(_, verdict)| *verdict), "not static: {executables:?}");
}

#[test]
fn the_initramfs_init_is_static() {
    let initramfs = fs::read(dist::file("initramfs")).expect("reading");

    let start = initramfs.windows(4).position(|window| window == b"\x7fELF").expect("an executable");
    assert_eq!(is_static(&initramfs[start..]), Some(true));
}

#[test]
fn the_stage1_image_has_what_the_abi_asks_for() {
    let files = files_of(&dist::file("stage1-kvm.aci"));

    let manifest: Value = serde_json::from_slice(&files["manifest"]).expect("JSON");
    assert_eq!(manifest["name"], "coreos.com/rkt/stage1-kvm");
    let annotations = manifest["annotations"].as_array().expect("a list");
    let value = |name: &str| {
        let found = annotations.iter().find(|annotation| annotation["name"] == name);
        found.map(|annotation| annotation["value"].clone())
    };
    assert_eq!(value("coreos.com/rkt/stage1/run"), Some("/init".into()));
    assert_eq!(value("coreos.com/rkt/stage1/gc"), Some("/gc".into()));
    assert_eq!(value("coreos.com/rkt/stage1/interface-version"), Some("6".into()));
    for name in ["rootfs/init", "rootfs/vmlinux", "rootfs/initramfs"] {
        assert!(files.contains_key(name), "no {name}");
    }
}

#[test]
fn actool_accepts_every_image_we_build() {
    let mut images = vec![dist::file("stage1-kvm.aci")];
    for name in ["busybox", "echo", "inspect", "redis-server", "redis-tools"] {
        images.push(dist::image(name));
    }

    for image in images {
        let verdict = Command::new("actool").arg("validate").arg(&image).output().expect("actool runs");
        let said = String::from_utf8_lossy(&verdict.stderr);
        assert!(verdict.status.success(), "{}: {said}", image.display());
    }
}
