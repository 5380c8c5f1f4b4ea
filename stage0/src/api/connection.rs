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
use tokio::time::{Instant, Sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::sockets::Listener;

/// Connections at a time; more wait in the sockets' queues. Half of the usual 1,024 descriptors: the others are for
/// files.
const MAX_CONNECTIONS: usize = 512;
/// Pause after a connection could not be taken. Descriptors that ran out do not come back sooner by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every client begins with, "PRI * HTTP/2.0" and so on (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
/// Time for that. A client that says nothing must not hold its place; one that has said it is asked whether it is still there.
const PREFACE_PATIENCE: Duration = Duration::from_secs(10);

/// The connections that arrive, as tonic takes them.
pub type Incoming = ReceiverStream<io::Result<Connection>>;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    preface: Option<Preface>,
    _permit: OwnedSemaphorePermit,
}

/// As much of its beginning as a client has not sent yet.
#[derive(Debug)]
struct Preface {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
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
                if sender.send(Ok(Connection::new(socket, permit, PREFACE_PATIENCE))).await.is_err() {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

impl Connection {
    /// Must be called in a runtime.
    fn new(socket: Socket, permit: OwnedSemaphorePermit, patience: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(Instant::now() + patience));
        Connection { socket, preface: Some(Preface { missing: PREFACE_BYTES, deadline }), _permit: permit }
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
        let before = buffer.filled().len();
        let read = match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
        };
        let Some(preface) = &mut self.preface else { return read };
        preface.missing = preface.missing.saturating_sub(buffer.filled().len().saturating_sub(before));
        if preface.missing == 0 {
            self.preface = None;
        } else if read.is_pending() && preface.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    async fn read(connection: &mut Connection) -> io::Result<usize> {
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|context| Pin::new(&mut *connection).poll_read(context, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }

    #[test]
    fn a_client_that_says_nothing_loses_its_place_and_one_that_has_spoken_may_be_silent() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

        runtime.block_on(async {
            let permits = Arc::new(Semaphore::new(2));
            let connect = || {
                let (client, socket) = UnixStream::pair().unwrap();
                let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
                (client, Connection::new(Socket::Unix(socket), permit, PATIENCE))
            };
            let ((mute, mut unheard), (client, mut heard)) = (connect(), connect());
            mute.try_write(b"PRI").unwrap();
            client.try_write(&[b'x'; PREFACE_BYTES]).unwrap();

            assert_eq!(read(&mut unheard).await.unwrap(), 3);
            assert_eq!(read(&mut unheard).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(read(&mut heard).await.unwrap(), PREFACE_BYTES);
            assert!(tokio::time::timeout(2 * PATIENCE, read(&mut heard)).await.is_err());
        });
    }
}
