//! The metadata service: tells apps about themselves and their pod, and signs for pods.
//!
//! Responsible for: everything behind `rkt metadata-service`. Must not know: command lines, pods on disk. Follows
//! rkt-reference.md 6.10 and the App Container specification, "App Container Metadata Service".
//!
//! Pods are registered by rkt on one socket; apps ask on others, each with its pod's token. Everything is in memory: a service that is
//! started again knows no pods.

mod connection;
mod form;
mod hmac;
mod listen;
mod peers;
mod public;
mod registration;
mod server;
mod state;

#[cfg(test)]
mod form_test;
#[cfg(test)]
mod hmac_test;
#[cfg(test)]
mod peers_test;
#[cfg(test)]
mod state_test;

pub(crate) use form::field as form_field;
pub use listen::Sockets;
pub use server::serve;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Text of the App Container specification.
const TEXT: &str = "text/plain; charset=us-ascii";

fn answer(status: StatusCode, kind: &'static str, body: impl IntoResponse) -> Response {
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}
