//! The pod's control socket: how other programs on the host ask a running pod for something.
//!
//! The supervisor serves `control.sock` in the pod directory; the entrypoints `enter` and `stop` are its clients. Both sides come
//! from the same stage1 image, so there is one version of what is said ([`protocol`]).
//!
//! Responsible for: everything between a client and the supervisor. Must not know: the guest's life beyond commands that run
//! in it. Follows docs/architecture.md, "The control socket".

pub mod client;
pub mod connection;
pub mod protocol;
pub mod replies;
pub mod server;
pub mod sessions;

#[cfg(test)]
mod replies_test;
#[cfg(test)]
mod server_test;
#[cfg(test)]
mod sessions_test;

/// Name of the socket in the pod directory. Always used relative to the working directory: a socket's address has room for 107
/// bytes (unix(7)), which the path of a data directory may exceed.
pub const SOCKET_NAME: &str = "control.sock";
