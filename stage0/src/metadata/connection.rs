//! One client of the service.
//!
//! Responsible for: how long it may take to ask and to listen. Must not know: what it asks for. Follows RFC 9112.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::{TEXT, answer};
use crate::log::Log;

/// Time from the connection, or from the last answer, to the end of the next request's header.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// Time for a request's body to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Time in which a client must take something of its answer.
const READER_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a request's header: a path has at most a token, an app and an identifier of 1,024 bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Lines of a request's header.
const MAX_HEADERS: usize = 64;

/// Answers a client until it leaves, loses the service's patience, or the service exits.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    mut exit: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .half_close(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Whatever its end was, nobody is left to be told.
        _ = &mut connection => return,
        _ = exit.wait_for(|exiting| *exiting) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
}

/// The router, with what every request has in common: patience, and a line in the log of a service that debugs.
pub fn guarded(router: Router, log: Log) -> Router {
    let answer_in_time = move |request: Request<Body>, next: Next| async move {
        let line = format!("{} {}", request.method(), without_token(request.uri().path()));
        let response = match tokio::time::timeout(BODY_PATIENCE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => late(),
        };
        log.debug(format!("{line} - {}", response.status().as_u16()));
        response
    };
    router.layer(middleware::from_fn(answer_in_time))
}

fn late() -> Response {
    answer(StatusCode::REQUEST_TIMEOUT, TEXT, "the request did not arrive in time\n")
}

/// A token in a log would be as good as the pod's own.
fn without_token(path: &str) -> String {
    match path.split_once("/acMetadata/") {
        Some((_, rest)) => format!("/…/acMetadata/{rest}"),
        None if path.starts_with("/pods/") => path.to_owned(),
        None => "/…".to_owned(),
    }
}

/// A stream whose reader must not stand still for ever.
struct Patient<S> {
    stream: S,
    /// While it does.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S) -> Self {
        Self { stream, deadline: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            self.deadline = None;
            return Poll::Ready(result);
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(READER_PATIENCE)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
