//! rkt stage0: images, trust, store and pods on disk.
//!
//! A library so that fuzz targets and benches reach what reads untrusted bytes; the program is `main.rs`. Nothing of the
//! product links it: stage0 and stage1 meet in the stage1 ABI alone.

// These macros panic when the reader of the output is gone; `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod cli;
mod clock;
mod commands;
mod config;
mod error;
mod extract;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod hex;
mod image;
mod keystore;
mod log;
mod metadata;
mod mount_attributes;
mod oci;
mod output;
mod pod;
mod size;
mod sockets;
mod stage1;
mod store;
mod table;

#[cfg(test)]
mod table_test;

pub use cli::definition::{definition as command_line, published as published_command_line, takes_images};
pub use cli::run;
