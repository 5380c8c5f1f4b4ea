//! The API service from its start to its end.
//!
//! Responsible for: the runtime, signals, limits on requests, an orderly exit. Must not know: what a request asks for.
//! Follows rkt-reference.md 7.1.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use super::connection;
use super::exit::Exit;
use super::listen::Listeners;
use super::reader::MAX_RESPONSE_BYTES;
use super::service::{MAX_READS, Service};
use super::wire::public_api_server::PublicApiServer;
use crate::error::{Context, Result};
use crate::log::Log;

/// Bytes of one request. The longest are filters; a thousand UUIDs take 40 KiB.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// Requests of one connection at a time, those that listen included.
const MAX_CONNECTION_REQUESTS: u32 = 64;
/// A connection is asked this often whether it is still there: a client that vanished must not hold its place.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Requests that are being answered when the service is told to exit have this long.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

/// Serves requests until SIGTERM or SIGINT.
/// `exit` tells those whom the service answers for ever.
pub fn serve(mut listeners: Listeners, service: Service, exit: &Exit, log: Log) -> Result<()> {
    // One thread is enough to move messages; files are read in others.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_READS)
        .build()
        .context("cannot start the service")?;
    let sockets = std::mem::take(&mut listeners.sockets);
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let incoming = connection::accept(sockets).context("cannot use a socket")?;
        let service = PublicApiServer::new(service)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(MAX_RESPONSE_BYTES);
        let exiting = exit.exiting();
        let server = Server::builder()
            .max_concurrent_streams(MAX_CONNECTION_REQUESTS)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, async { drop(exiting.begun().await) });
        tokio::pin!(server);
        log.print("API service running");
        // Only a service of type `notify` waits for it.
        drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
        tokio::select! {
            ended = &mut server => return ended.context("cannot serve requests"),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        log.print("API service exiting...");
        drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
        exit.begin();
        match tokio::time::timeout(EXIT_PATIENCE, server).await {
            Ok(ended) => ended.context("cannot serve requests"),
            // Whoever does not take its answer is told by the connection's end.
            Err(_) => Ok(()),
        }
    });
    // A request may wait for a lock that somebody holds; the exit does not.
    runtime.shutdown_background();
    drop(listeners);
    result
}
