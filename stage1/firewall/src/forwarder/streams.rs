//! TCP connections through the forwarder.
//!
//! Responsible for: a connection to the pod for each that is accepted, and bytes both ways until both directions have ended. Must not
//! know: what the bytes are. Follows tcp(7).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Connections at a time, of all of a pod's ports together: two threads each. More are closed at once.
const MAX_CONNECTIONS: usize = 256;

/// How long the pod may take to answer: it is on this host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Stack of a thread that moves bytes: its buffer and some calls.
const STACK_BYTES: usize = 128 * 1024;

/// Bytes moved at a time.
const BUFFER_BYTES: usize = 32 * 1024;

/// All listening sockets.
#[derive(Debug)]
pub struct Streams {
    listeners: Vec<(TcpListener, SocketAddr)>,
    connections: Arc<AtomicUsize>,
}

/// One connection more, as long as this lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    /// Listeners, and where the connections of each lead.
    pub fn new(listeners: Vec<(TcpListener, SocketAddr)>) -> Self {
        Self { listeners, connections: Arc::default() }
    }

    /// What to wait for.
    pub fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(|(listener, _)| listener.as_fd())
    }

    /// Accepts what there is.
    pub fn accept(&self) {
        for (listener, target) in &self.listeners {
            // Any error is about one connection, or says that there are no more.
            while let Ok((client, _)) = listener.accept() {
                self.start(client, *target);
            }
        }
    }

    /// Closes the connection if it cannot be carried.
    fn start(&self, client: TcpStream, target: SocketAddr) {
        let counted = Counted(self.connections.clone());
        if counted.0.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            return;
        }
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        // Without a thread the closure is dropped, and with it the connection.
        let _ = thread.spawn(move || {
            let _counted = counted;
            carry(&client, target)
        });
    }
}

/// Whoever is told of a failure is the client: by the connection's end.
fn carry(client: &TcpStream, target: SocketAddr) -> Option<()> {
    let pod = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT).ok()?;
    for side in [client, &pod] {
        side.set_nonblocking(false).ok()?;
        side.set_nodelay(true).ok()?;
        // A peer that is gone without a word would hold its place for ever.
        rustix::net::sockopt::set_socket_keepalive(side, true).ok()?;
    }
    let (from, to) = (client.try_clone().ok()?, pod.try_clone().ok()?);
    let forth = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || copy(&from, &to)).ok()?;
    copy(&pod, client);
    forth.join().ok()
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let Some(bytes) = buffer.get(..count) else { break };
                if to.write_all(bytes).is_err() {
                    // Nothing can be delivered any more, so nothing need be said.
                    let _ = from.shutdown(Shutdown::Read);
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // It may be closed already.
    let _ = to.shutdown(Shutdown::Write);
}
