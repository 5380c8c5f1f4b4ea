//! The supervisor's end of the control socket.
//!
//! Responsible for: who is connected, and that nobody who is slow, silent, malformed or gone costs more than a bounded buffer.
//! Must not know: what requests mean. Follows unix(7); limits are named below.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use guest_api::MAX_SESSIONS;
use rustix::event::PollFlags;
use rustix::fs::Mode;

use super::connection::Connection;
use super::protocol::{Reply, Request};
use super::replies::Replies;

/// Connections at once: every command that a pod may run, and room for those who stop it or ask for one too many. Who comes
/// later waits in the socket's queue.
const MAX_CLIENTS: usize = MAX_SESSIONS + 16;

/// How long a connection may take to ask for something. Its client sends the request with the next system call.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nobody is let in after the kernel could not hand out a descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A connection; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What a client did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It asked for something.
    Request(ClientId, Request),
    /// It is gone, or was shown the door.
    Gone(ClientId),
}

#[derive(Debug)]
struct Client {
    connection: Connection<Request>,
    replies: Replies,
    since: Instant,
    has_asked: bool,
    /// Its last reply is queued; whatever else it says is not looked at.
    finishing: bool,
}

impl Client {
    /// Whether it is done with: its last reply is out.
    fn is_finished(&self) -> bool {
        self.finishing && self.replies.is_empty() && !self.connection.has_outgoing()
    }

    /// Moves replies into the socket. False if it cannot be used any more.
    fn flush(&mut self) -> bool {
        loop {
            if self.connection.flush().is_err() {
                return false;
            }
            if self.connection.has_outgoing() {
                return true;
            }
            let Some(reply) = self.replies.pop() else { return true };
            if self.connection.send(&reply).is_err() {
                return false;
            }
        }
    }
}

/// The listening socket and its connections.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    clients: BTreeMap<ClientId, Client>,
    next: u64,
    paused_until: Option<Instant>,
}

impl Server {
    /// Listens at `path`, for the pod's owner only.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let listener = listen_privately(path)?;
        Ok(Self { listener, clients: BTreeMap::new(), next: 0, paused_until: None })
    }

    /// What to wait for. Without `may_read` nobody is listened to: what was said before has to go somewhere first.
    pub fn interests(&self, may_read: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::new();
        if self.clients.len() < MAX_CLIENTS && self.paused_until.is_none() {
            interests.push((self.listener.as_fd(), PollFlags::IN));
        }
        for client in self.clients.values() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, may_read || client.finishing);
            flags.set(PollFlags::OUT, client.connection.has_outgoing());
            if !flags.is_empty() {
                interests.push((client.connection.descriptor(), flags));
            }
        }
        interests
    }

    /// When to come back even if nobody does anything.
    pub fn deadline(&self) -> Option<Instant> {
        let silent = self.clients.values().filter(|client| !client.has_asked);
        silent.map(|client| client.since + REQUEST_TIMEOUT).chain(self.paused_until).min()
    }

    /// Lets clients in, hears what they say, and notices who is gone.
    pub fn serve(&mut self, may_read: bool, now: Instant) -> Vec<Event> {
        self.accept(now);
        let mut events = Vec::new();
        let mut gone = Vec::new();
        for (&id, client) in &mut self.clients {
            let reads = may_read || client.finishing;
            let is_there = !reads || hear(id, client, &mut events);
            let is_silent = !client.has_asked && now >= client.since + REQUEST_TIMEOUT;
            if !is_there || is_silent {
                gone.push(id);
            }
        }
        events.extend(gone.into_iter().filter_map(|id| self.remove(id)));
        events
    }

    /// Queues a reply. What comes after a client's last reply, or for a client that is gone, is dropped.
    pub fn reply(&mut self, id: ClientId, reply: Reply) -> Option<Event> {
        let client = self.clients.get_mut(&id).filter(|client| !client.finishing)?;
        client.finishing = matches!(
            reply,
            Reply::Exited(_)
                | Reply::Failed(_)
                | Reply::PodEnded
                | Reply::Done
                | Reply::NotRunning
                | Reply::Metrics(_)
        );
        match client.replies.push(reply) {
            Ok(()) => None,
            Err(_) => self.remove(id),
        }
    }

    /// Shows a client the door.
    pub fn remove(&mut self, id: ClientId) -> Option<Event> {
        self.clients.remove(&id).map(|_| Event::Gone(id))
    }

    /// Writes what clients take; those that have their last reply are done with.
    pub fn flush(&mut self) -> Vec<Event> {
        let mut done = Vec::new();
        for (&id, client) in &mut self.clients {
            if !client.flush() || client.is_finished() {
                done.push(id);
            }
        }
        done.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Whether somebody has not yet taken the last reply.
    pub fn owes_last_words(&self) -> bool {
        self.clients.values().any(|client| client.finishing)
    }

    fn accept(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
        }
        while self.clients.len() < MAX_CLIENTS && self.paused_until.is_none() {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Ok(connection) = Connection::new(stream) {
                        let (replies, has_asked, finishing) = (Replies::default(), false, false);
                        let client = Client { connection, replies, since: now, has_asked, finishing };
                        self.clients.insert(ClientId(self.next), client);
                        self.next = self.next.wrapping_add(1);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => self.paused_until = Some(now + ACCEPT_PAUSE),
            }
        }
    }
}

/// A socket at `path` that only its owner may connect to. What an earlier, killed supervisor left there is removed.
pub fn listen_privately(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The socket must not be anybody's for even a moment. There is one thread, so nobody else sees this mask.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads once and hands out what that completes. False once the client is gone or talks nonsense.
fn hear(id: ClientId, client: &mut Client, events: &mut Vec<Event>) -> bool {
    if client.connection.fill().is_err() {
        return false;
    }
    loop {
        match client.connection.next_message() {
            Ok(Some(_)) if client.finishing => {}
            Ok(Some(request)) => {
                client.has_asked = true;
                events.push(Event::Request(id, request));
            }
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    !client.connection.is_closed()
}
