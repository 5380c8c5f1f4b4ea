//! Entry points of the fuzz targets in `tests/fuzz`: what reads bytes that strangers made.
//!
//! Responsible for: calling one parser each and checking what must hold for every input. Each says whether the input came deep: as far as
//! the bug that `cargo xtask fuzz --planted` plants. Must not know: the fuzzer, nor anything the parsers do not export to the rest of
//! stage0.

mod images;
mod trust;
mod web;

pub use images::{archive, compressed, log_record, reference, registry_response};
pub use trust::{image_signature, openpgp};
pub use web::{discovery, form, http_headers};
