//! The metadata service from its start to its end.
//!
//! Responsible for: the runtime, taking connections, signals, an orderly exit. Must not know: what a request asks for. Follows
//! rkt-reference.md 6.10.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

use super::connection;
use super::hmac::Signer;
use super::listen::Sockets;
use super::peers::{Peer, Peers};
use super::public::{self, Service};
use super::registration;
use super::state::{MAX_HELD_BYTES, Pods};
use crate::error::{Context, Result};
use crate::log::Log;
use crate::sockets::Listener;

/// Connections to a registration socket at a time: as many pods that start at once. More wait in the socket's queue.
const MAX_REGISTRATION_CONNECTIONS: usize = 64;
/// Connections to each public socket at a time. A pod has at most 32.
const MAX_PUBLIC_CONNECTIONS: usize = 1024;
/// Descriptors for all of those.
const DESCRIPTORS: u64 = 8192;
/// Pause after a connection could not be taken. Descriptors that ran out do not come back sooner by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests that are being answered when the service is told to exit have this long.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

/// Serves requests until SIGTERM or SIGINT.
pub fn serve(mut sockets: Sockets, log: Log) -> Result<()> {
    want_descriptors();
    let pods = Arc::new(Pods::new(MAX_HELD_BYTES));
    let service = Service { pods: Arc::clone(&pods), signer: Signer::new()? };
    let registration = connection::guarded(registration::router(pods), log);
    let public = connection::guarded(public::router(Arc::new(service)), log);
    // One thread is enough: nothing is read or written but sockets.
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the service")?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
        let (exit, exiting) = watch::channel(false);
        // Every connection holds the sender until it ends.
        let (connected, mut all_gone) = mpsc::channel::<()>(1);
        let client = Client { exiting, connected };
        for listener in std::mem::take(&mut sockets.registration) {
            accept(listener, MAX_REGISTRATION_CONNECTIONS, &registration, &client)
                .context("cannot use a socket")?;
        }
        for listener in std::mem::take(&mut sockets.public) {
            accept(listener, MAX_PUBLIC_CONNECTIONS, &public, &client).context("cannot use a socket")?;
        }
        drop(client);
        log.print("metadata service running...");
        // Only a service of type `notify` waits for it.
        drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        log.print("metadata service exiting...");
        drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
        let _ = exit.send(true);
        // Whoever does not take its answer is told by the connection's end.
        drop(tokio::time::timeout(EXIT_PATIENCE, all_gone.recv()).await);
        Ok(())
    });
    runtime.shutdown_background();
    drop(sockets);
    result
}

/// What every connection gets.
#[derive(Clone)]
struct Client {
    exiting: watch::Receiver<bool>,
    connected: mpsc::Sender<()>,
}

/// Takes connections from a socket. Must be called in a runtime.
fn accept(listener: Listener, limit: usize, router: &Router, client: &Client) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let take = async move || {
                let (stream, address) = listener.accept().await?;
                Ok((stream, Peer::Address(address.ip())))
            };
            tokio::spawn(accept_each(take, limit, router.clone(), client.clone()));
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            let take = async move || {
                let (stream, _) = listener.accept().await?;
                let process = stream.peer_cred()?.pid();
                // Outside of this one's name space all are 0, and together one.
                Ok((stream, Peer::Process(process.unwrap_or(0))))
            };
            tokio::spawn(accept_each(take, limit, router.clone(), client.clone()));
        }
    }
    Ok(())
}

async fn accept_each<S>(
    take: impl AsyncFn() -> io::Result<(S, Peer)>,
    limit: usize,
    router: Router,
    client: Client,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limit));
    let peers = Peers::default();
    let mut exiting = client.exiting.clone();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let taken = tokio::select! {
            taken = take() => taken,
            _ = exiting.wait_for(|exiting| *exiting) => return,
        };
        match taken {
            Ok((stream, peer)) => {
                // Closed at once: who has so many need not be told why.
                let Some(place) = peers.enter(peer) else { continue };
                let (router, client) = (router.clone(), client.clone());
                tokio::spawn(async move {
                    connection::serve(stream, router, client.exiting).await;
                    drop((permit, place, client.connected));
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Usual limits are less than the connections. With fewer the service works as long as they last, and then waits.
fn want_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}
