//! The API service: gRPC for programs that want to know what pods and images there are.
//!
//! Responsible for: everything behind `rkt api-service`. Must not know: command lines. Follows rkt-reference.md 7.1; the
//! definition is `stage0/api/v1alpha/api.proto`.
//!
//! It only reads: it makes no file, takes no lock alone, and keeps nothing of what it read for the next request. Pods and images come and
//! go while it looks, so what vanishes between two looks is no error.

mod cgroup;
mod connection;
mod events;
mod exit;
mod filter;
mod images;
mod listen;
mod logs;
mod pods;
mod reader;
mod server;
mod service;
mod status;
mod wire;

#[cfg(test)]
mod filter_test;

pub use events::watch;
pub use exit::Exit;
pub use listen::Listeners;
pub use reader::Reader;
pub use server::serve;
pub use service::Service;
pub use wire::{GlobalFlags, Info};

/// Version of the API.
pub const API_VERSION: &str = "1.0.0-alpha";
