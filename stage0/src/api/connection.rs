//! Connections to the API, from accept to close.
//!
//! Responsible for: taking connections from several sockets of both kinds, no more than the service can bear. Must not
//! know: gRPC, pods. Follows rkt-reference.md 7.1.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::listen::Listener;

/// Connections at a time; more wait in the sockets' queues. Half of the usual 1,024 descriptors: the others are for
/// files.
const MAX_CONNECTIONS: usize = 512;
/// Pause after a connection could not be taken. Descriptors that ran out do not come back sooner by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that arrive, as tonic takes them.
pub type Incoming = ReceiverStream<io::Result<Connection>>;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Takes connections from all sockets. Must be called in a runtime.
pub fn accept(listeners: Vec<Listener>) -> io::Result<Incoming> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (sender, receiver) = mpsc::channel(1);
    for listener in listeners {
        match listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                let take = async move || Ok(Socket::Tcp(listener.accept().await?.0));
                tokio::spawn(accept_each(take, Arc::clone(&permits), sender.clone()));
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                let take = async move || Ok(Socket::Unix(listener.accept().await?.0));
                tokio::spawn(accept_each(take, Arc::clone(&permits), sender.clone()));
            }
        }
    }
    Ok(ReceiverStream::new(receiver))
}

/// Takes connections until nobody wants them any more.
async fn accept_each(
    take: impl AsyncFn() -> io::Result<Socket>,
    permits: Arc<Semaphore>,
    sender: Sender<io::Result<Connection>>,
) {
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match take().await {
            Ok(socket) => {
                if sender.send(Ok(Connection { socket, _permit: permit })).await.is_err() {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Socket::Unix(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
