//! What the end-to-end suites share: an rkt with directories of its own, keys, images good and bad, a server, and the
//! means to see what a pod left behind.
//!
//! A fixture fails by panicking with what it saw, as tests do, so this crate is exempt from the lints that keep panics
//! out of the product. It knows rkt only from outside: its command line, its files and the stage1 ABI
//! (rkt's command-line reference and `docs/`), never as a library.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

pub mod aci;
pub mod authority;
pub mod cas;
pub mod command;
pub mod cosign;
pub mod dist;
pub mod evidence;
pub mod faults;
pub mod footprint;
pub mod gpg;
pub mod leaks;
pub mod messages;
pub mod metadata_service;
pub mod microvm;
pub mod oci;
pub mod random;
pub mod registry;
pub mod rkt;
pub mod server;
pub mod stub_stage1;
pub mod terminal;

#[cfg(test)]
mod evidence_test;
