//! `rkt version`.
//!
//! Responsible for: the versions tools ask for. Must not know: anything else. Follows rkt-reference.md 1.6; the lines
//! about Go became lines about Rust.

use crate::output;

/// Version of the App Container specification.
pub const APPC_VERSION: &str = "0.8.11";

/// Prints the versions.
pub fn run() -> u8 {
    output::print(&format!(
        "rkt Version: {}\nappc Version: {APPC_VERSION}\nRust Version: {}\nOS/Arch: {}/{}\nFeatures: -TPM +SDJOURNAL",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_RUST_VERSION"),
        appc::HOST_OS,
        appc::HOST_ARCH,
    ));
    0
}
