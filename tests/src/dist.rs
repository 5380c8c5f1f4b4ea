//! Where the product under test is: `target/dist`, or the directory that `RKT_DIST` names.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The directory of the built product.
pub fn directory() -> PathBuf {
    match env::var_os("RKT_DIST") {
        Some(path) => PathBuf::from(path),
        None => workspace().join("target/dist"),
    }
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// A file of the product.
///
/// # Panics
/// When it has not been built.
#[track_caller]
pub fn file(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask dist` first", path.display());
    path
}

/// An example image.
#[track_caller]
pub fn image(name: &str) -> PathBuf {
    file(&format!("images/{name}.aci"))
}

/// The storage of a registry that has the example images of `images/oci`.
#[track_caller]
pub fn image_registry() -> PathBuf {
    file("images/registry")
}

/// A number that changes with every build of the product.
pub fn state() -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in ["rkt", "stage1-kvm.aci", "images/inspect.aci", "images/busybox.aci"] {
        let metadata = fs::metadata(file(name)).expect("a file of the product");
        (metadata.len(), metadata.modified().expect("a time")).hash(&mut hasher);
    }
    hasher.finish()
}
