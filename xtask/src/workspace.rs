//! Where things are: the checkout, what is built, and what is kept between checkouts.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    // xtask is always started by cargo from its own workspace, whose member it is.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_path_buf()
}

/// Cargo's build directory.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// The finished product.
pub(crate) fn dist() -> PathBuf {
    target().join("dist")
}

/// What is expensive to make and does not depend on the checkout: kernels and their sources.
pub(crate) fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").filter(|value| Path::new(value).is_absolute());
    let base = base.map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(env::var_os("HOME").unwrap_or_else(|| OsString::from("/root"))).join(".cache")
    });
    base.join("rkt-xtask")
}
