//! Someone who publishes images: a key, images signed with it, and the rkt that is to run them.

use std::fs;
use std::path::{Path, PathBuf};

use rkt_tests::aci::{self, Aci};
use rkt_tests::gpg::{Gpg, Key};
use rkt_tests::rkt::TestRkt;
use rkt_tests::stub_stage1;
use sha2::{Digest, Sha512};

/// The name every image here is published under, and the prefix its key is trusted for.
pub const NAME: &str = "example.com/app";

/// Its user ID.
pub const USER: &str = "Publisher <publisher@example.com>";

/// An rkt with a stub stage1 at hand.
pub fn rkt() -> TestRkt {
    let rkt = TestRkt::new();
    stub_stage1::write(&rkt.path("stub.aci"));
    rkt
}

/// The same with a runnable image `app.aci`.
pub fn rkt_with_image() -> TestRkt {
    let rkt = rkt();
    image(&rkt, "app.aci");
    rkt
}

/// Writes a small runnable image into the rkt's directory.
pub fn image(rkt: &TestRkt, file: &str) -> PathBuf {
    let path = rkt.path(file);
    small_image().write(&path);
    path
}

/// A small runnable image.
pub fn small_image() -> Aci {
    Aci::new(&aci::manifest(NAME)).file("rootfs/app", 0o755, b"#!/bin/sh\n")
}

/// A key that the rkt trusts for `example.com`.
pub fn trusted_key(rkt: &TestRkt, gpg: &Gpg) -> Key {
    let key = gpg.generate("ed25519", USER);
    trust(rkt, gpg, &key, &["--prefix=example.com"]);
    key
}

/// Makes the rkt trust a key.
pub fn trust(rkt: &TestRkt, gpg: &Gpg, key: &Key, scope: &[&str]) {
    let file = rkt.path("key.asc");
    gpg.export(key, &file);
    let mut arguments = vec!["trust", "--skip-fingerprint-review"];
    arguments.extend(scope);
    arguments.push("key.asc");
    rkt.run(arguments).expect_code(0);
}

/// `rkt run` with the stub stage1 and without signatures, and further arguments.
pub fn run_arguments<'a>(further: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", "--insecure-options=image", "--stage1-path=stub.aci"];
    arguments.extend(further);
    arguments
}

/// The image ID as rkt prints it: `sha512-` and the first 32 hexadecimal digits over the tar archive.
pub fn image_id(image: &Aci) -> String {
    let digest = Sha512::digest(image.tar());
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("sha512-{digits}")
}

/// Every file below a directory.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// The images in the rkt's store.
pub fn blobs(rkt: &TestRkt) -> Vec<PathBuf> {
    files_below(&rkt.data().join("cas/blob"))
}
