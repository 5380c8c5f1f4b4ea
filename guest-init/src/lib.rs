//! The parts of guest-init, PID 1 of a pod's VM.
//!
//! Responsible for: turning a booted, anonymous VM into the pod that stage1 describes, and telling stage1 what becomes of
//! its apps. Must not know: manifests, images, the hypervisor. Follows docs/architecture.md, "The control connection", and
//! rkt-reference 6.
//!
//! The boot order is in `main.rs`; what happens afterwards is decided in [`pod`] and [`session`], and done in [`supervise`].

pub mod app;
pub mod clock;
pub mod console;
pub mod control;
pub mod error;
pub mod identity;
pub mod loopback;
pub mod metadata_service;
pub mod mounts;
pub mod network;
pub mod pod;
pub mod reap;
pub mod session;
pub mod shutdown;
pub mod sockets;
pub mod supervise;

#[cfg(test)]
mod clock_test;
#[cfg(test)]
mod control_test;
#[cfg(test)]
mod pod_test;
#[cfg(test)]
mod session_test;
#[cfg(test)]
mod sockets_test;

pub use error::{InitError, sentence};
