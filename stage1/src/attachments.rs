//! Programs on the host that are attached to apps' standard streams.
//!
//! Every client of an output gets all of it from the moment it connects, as it is; what clients of an input say is merged in the
//! order in which it comes. Nobody's memory grows: an output is kept once, as much of it as the slowest reader still has to
//! take, and the guest sends no more than that leaves room for.
//!
//! Responsible for: who is connected to what, credit in both directions, bounds. Must not know: the guest's life; what rkt's own
//! output and the log make of the same bytes. Follows rkt-reference 7.5 and 7.6, docs/attach.md.

pub mod broadcast;
pub mod client;
pub mod directory;

#[cfg(test)]
mod attachments_test;
#[cfg(test)]
mod broadcast_test;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guest_api::{AppId, INITIAL_INPUT_CREDIT_BYTES, Process, StdioStream, ToGuest};
use rustix::event::PollFlags;

use crate::guest::Violation;
use crate::output::Written;
use crate::streams::{Mode, Streams};
use broadcast::Broadcast;
use client::{Client, Heard, Input};
use directory::{Directory, Endpoints};

/// Clients of a pod at once: as many as commands. Who comes later waits in the socket's queue.
const MAX_CLIENTS: usize = guest_api::MAX_SESSIONS;

/// How long an app waits for a client that takes nothing of its output, if nobody says otherwise. Longer than anybody holds a terminal
/// with Ctrl-S to read something, short enough that a forgotten one stops no service for good.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long nobody is let in after the kernel could not hand out a descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const STREAMS: [StdioStream; 2] = [StdioStream::Stdout, StdioStream::Stderr];

/// A client; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

/// What attached programs have taken.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What everybody has taken.
    pub taken: Vec<Written>,
    /// For the person at rkt's terminal.
    pub warnings: Vec<String>,
}

#[derive(Debug)]
struct Listener {
    name: &'static str,
    socket: UnixListener,
    takes_input: bool,
    output: Option<StdioStream>,
}

#[derive(Debug)]
struct App {
    id: AppId,
    name: String,
    directory: Option<Directory>,
    /// Empty once the app has ended.
    listeners: Vec<Listener>,
    clients: BTreeMap<ClientId, Client>,
    stdout: Broadcast,
    stderr: Broadcast,
    input_is_pipe: bool,
    /// What the guest has room for.
    input_credit: u32,
    /// Somebody said that there is no more, and nobody else was left to say something.
    input_closed: bool,
    ended: bool,
    /// The guest knows nothing of it any more; clients have still to take what it said.
    forgotten: bool,
}

/// All of a pod.
#[derive(Debug)]
pub struct Attachments {
    /// Where apps' directories are.
    root: PathBuf,
    /// How long an app waits for a client that takes nothing.
    patience: Duration,
    apps: Vec<App>,
    next: u64,
    paused_until: Option<Instant>,
}

impl Attachments {
    /// Of a pod whose apps have not been started, with their sockets below `root`.
    pub fn new(root: PathBuf, patience: Duration) -> Self {
        Self { root, patience, apps: Vec::new(), next: 0, paused_until: None }
    }

    /// An app runs, or the first of its processes: whoever wants to attach to it is let in. `Err` if nobody can be; the app does
    /// not need them.
    pub fn started(&mut self, id: AppId, name: &str, streams: &Streams) -> io::Result<()> {
        if self.app(id).is_some_and(|app| !app.ended) {
            return Ok(());
        }
        let mut app = App {
            id,
            name: name.to_owned(),
            directory: None,
            listeners: Vec::new(),
            clients: BTreeMap::new(),
            stdout: Broadcast::default(),
            stderr: Broadcast::default(),
            input_is_pipe: streams.stdin == Mode::Stream,
            input_credit: INITIAL_INPUT_CREDIT_BYTES,
            input_closed: false,
            ended: false,
            forgotten: false,
        };
        let listening = app.listen(streams, &self.root);
        self.apps.retain(|other| other.id != id || other.forgotten);
        self.apps.push(app);
        listening
    }

    /// The next bytes of an output.
    pub fn push(&mut self, app: AppId, stream: StdioStream, data: &[u8]) {
        if let Some(app) = self.app(app) {
            app.broadcast(stream).push(data);
        }
    }

    /// So many bytes come of an output that is rkt's own, and nobody else's.
    pub fn skip(&mut self, app: AppId, stream: StdioStream, bytes: usize) {
        if let Some(app) = self.app(app) {
            app.broadcast(stream).skip(bytes);
        }
    }

    /// rkt's own output has taken bytes; says what everybody has.
    pub fn own_output_took(&mut self, written: Written) -> Option<Written> {
        let Some(app) = self.app(written.app) else { return Some(written) };
        let broadcast = app.broadcast(written.stream);
        broadcast.own_output_took(written.bytes);
        Some(broadcast.taken()).filter(|bytes| *bytes > 0).map(|bytes| Written { bytes, ..written })
    }

    /// Nothing more comes from the output; its clients get the rest of it and their end.
    pub fn close(&mut self, app: AppId, stream: StdioStream) {
        if let Some(app) = self.app(app) {
            app.broadcast(stream).close();
        }
    }

    /// Nothing more comes from anybody.
    pub fn close_all(&mut self) {
        for app in &mut self.apps {
            app.end();
            STREAMS.into_iter().for_each(|stream| app.broadcast(stream).close());
        }
    }

    /// The app has ended: nobody is let in any more, and its input is gone. Its descendants may still write.
    pub fn ended(&mut self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.end();
        }
    }

    /// Nothing more comes from the app, and its number may be given to another one. Its clients get all of what it said.
    pub fn forget(&mut self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.end();
            STREAMS.into_iter().for_each(|stream| app.broadcast(stream).close());
            app.forgotten = true;
        }
    }

    /// The app has taken so many bytes of its input.
    pub fn grant(&mut self, app: AppId, bytes: u32) -> Result<(), Violation> {
        let app = self.app(app).ok_or(Violation::BeyondInput)?;
        let credit = app.input_credit.checked_add(bytes).filter(|it| *it <= INITIAL_INPUT_CREDIT_BYTES);
        app.input_credit = credit.ok_or(Violation::BeyondInput)?;
        Ok(())
    }

    /// What to wait for. Without `may_read` nobody is listened to: what was said before has to go somewhere first.
    pub fn interests(&self, may_read: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::new();
        let is_full = self.clients() >= MAX_CLIENTS || self.paused_until.is_some();
        for app in &self.apps {
            if !is_full {
                interests.extend(app.listeners.iter().map(|it| (it.socket.as_fd(), PollFlags::IN)));
            }
            for client in app.clients.values() {
                let reads = client.input == Input::Ended || (may_read && app.input_credit > 0);
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, reads && !client.has_shut_down);
                flags.set(PollFlags::OUT, client.waits());
                interests.extend(client.descriptor().map(|descriptor| (descriptor, flags)));
            }
        }
        interests
    }

    /// Whether somebody has left something unsaid that can be heard without waiting for it.
    pub fn has_bequests(&self) -> bool {
        self.apps.iter().flat_map(|app| app.clients.values()).any(|client| client.hung_up)
    }

    /// When to come back even if nobody does anything.
    pub fn deadline(&self) -> Option<Instant> {
        let clients = self.apps.iter().flat_map(|app| app.clients.values());
        clients.filter_map(Client::deadline).chain(self.paused_until).min()
    }

    /// Whether something waits for a client.
    pub fn is_waiting(&self) -> bool {
        self.apps.iter().flat_map(|app| app.clients.values()).any(Client::waits)
    }

    /// Lets clients in, hears what they say and notices who is gone.
    pub fn hear(&mut self, may_read: bool, now: Instant) -> Vec<ToGuest> {
        self.accept(now);
        let mut messages = Vec::new();
        self.apps.iter_mut().for_each(|app| app.hear(may_read, &mut messages));
        messages
    }

    /// Writes what clients take, and says what everybody has taken.
    pub fn flush(&mut self, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        for app in &mut self.apps {
            app.write(now, &mut outcome);
            // Nobody waits for what is taken of one that is forgotten.
            let waited_for = !app.forgotten;
            for stream in STREAMS.into_iter().filter(|_| waited_for) {
                let bytes = app.broadcast(stream).taken();
                if bytes > 0 {
                    outcome.taken.push(Written { app: app.id, stream, bytes });
                }
            }
        }
        self.apps.retain(|app| !app.forgotten || !app.clients.is_empty());
        outcome
    }

    fn clients(&self) -> usize {
        self.apps.iter().map(|app| app.clients.len()).sum()
    }

    fn app(&mut self, id: AppId) -> Option<&mut App> {
        self.apps.iter_mut().find(|app| app.id == id && !app.forgotten)
    }

    fn accept(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
        }
        let mut room = MAX_CLIENTS.saturating_sub(self.clients());
        for app in &mut self.apps {
            for listener in &app.listeners {
                while room > 0 && self.paused_until.is_none() {
                    let stream = match listener.socket.accept() {
                        Ok((stream, _)) => stream,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                        Err(_) => {
                            self.paused_until = now.checked_add(ACCEPT_PAUSE);
                            break;
                        }
                    };
                    // Of a stream that has ended, there is nothing to get and nothing to give.
                    let takes_input = listener.takes_input && !app.input_closed;
                    let Ok(client) = Client::new(stream, takes_input, listener.output, self.patience) else {
                        continue;
                    };
                    let id = ClientId(self.next);
                    self.next = self.next.wrapping_add(1);
                    match listener.output {
                        Some(StdioStream::Stdout) => app.stdout.attach(id),
                        Some(StdioStream::Stderr) => app.stderr.attach(id),
                        None => {}
                    }
                    app.clients.insert(id, client);
                    room -= 1;
                }
            }
        }
    }
}

impl App {
    fn broadcast(&mut self, stream: StdioStream) -> &mut Broadcast {
        match stream {
            StdioStream::Stdout => &mut self.stdout,
            StdioStream::Stderr => &mut self.stderr,
        }
    }

    fn listen(&mut self, streams: &Streams, root: &Path) -> io::Result<()> {
        let mut wanted: Vec<(&'static str, bool, Option<StdioStream>)> = Vec::new();
        if streams.stdin == Mode::Stream {
            wanted.push(("stdin", true, None));
        }
        for (name, stream, mode) in
            [("stdout", StdioStream::Stdout, streams.stdout), ("stderr", StdioStream::Stderr, streams.stderr)]
        {
            if mode == Mode::Stream {
                wanted.push((name, false, Some(stream)));
            }
        }
        if [streams.stdin, streams.stdout, streams.stderr].contains(&Mode::Tty) {
            let takes_input = streams.stdin == Mode::Tty;
            wanted.push(("tty", takes_input, streams.in_guest(None).terminal_stream()));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let directory = Directory::create(root, &self.name)?;
        for (name, takes_input, output) in &wanted {
            let (name, takes_input, output) = (*name, *takes_input, *output);
            self.listeners.push(Listener { name, socket: directory.listen(name)?, takes_input, output });
        }
        let names: Vec<&str> = wanted.iter().map(|(name, ..)| *name).collect();
        directory.publish(&Endpoints::new(&self.name, &names))?;
        crate::fault::point("attach.endpoints.published");
        self.directory = Some(directory);
        Ok(())
    }

    fn end(&mut self) {
        for listener in self.listeners.drain(..) {
            if let Some(directory) = &self.directory {
                directory.remove_socket(listener.name);
            }
        }
        (self.input_closed, self.ended) = (true, true);
        for client in self.clients.values_mut() {
            client.input = Input::Ended;
        }
    }

    /// Hears every client once. Whoever is gone is forgotten at once; only what it said before still counts.
    fn hear(&mut self, may_read: bool, messages: &mut Vec<ToGuest>) {
        let process = Process::App(self.id);
        let mut gone = Vec::new();
        let mut shut_down = false;
        for (&id, client) in &mut self.clients {
            if client.has_hung_up() {
                // It waits for nothing any more, so nobody waits for it.
                client.hung_up = true;
                client.output = None;
                self.stdout.detach(id);
                self.stderr.detach(id);
            }
            // Of one that has hung up nothing more will be said to be there.
            while let Some(room) = client.room(may_read, self.input_credit) {
                match client.hear(room) {
                    Heard::Data(data) if client.input == Input::Open => {
                        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
                        self.input_credit = self.input_credit.saturating_sub(bytes);
                        messages.push(ToGuest::Input { process, data });
                    }
                    Heard::Data(_) => {}
                    Heard::Nothing => break,
                    Heard::Shutdown => {
                        shut_down |= client.input == Input::Open;
                        client.input = Input::Ended;
                        client.has_shut_down = true;
                    }
                    Heard::Gone => {
                        client.hung_up = true;
                        client.input = Input::Ended;
                        break;
                    }
                }
                if !client.hung_up {
                    break;
                }
            }
            if client.hung_up && client.input == Input::Ended {
                gone.push(id);
            }
        }
        let is_open = |client: &Client| client.input == Input::Open;
        if shut_down && self.input_is_pipe && !self.input_closed && !self.clients.values().any(is_open) {
            self.input_closed = true;
            messages.push(ToGuest::InputClosed(process));
        }
        gone.into_iter().for_each(|id| self.forget(id));
    }

    /// Writes what clients take; those that have everything are done with.
    fn write(&mut self, now: Instant, outcome: &mut Outcome) {
        let mut done = Vec::new();
        for (&id, client) in &mut self.clients {
            let Some(stream) = client.output else {
                if client.input == Input::Ended {
                    done.push(id);
                }
                continue;
            };
            let broadcast = match stream {
                StdioStream::Stdout => &mut self.stdout,
                StdioStream::Stderr => &mut self.stderr,
            };
            let mut took_some = false;
            let is_there = loop {
                let waiting = broadcast.waiting(id);
                if waiting.is_empty() {
                    break true;
                }
                match client.write(waiting) {
                    Some(0) => break true,
                    Some(count) => broadcast.took(id, count),
                    None => break false,
                }
                took_some = true;
            };
            client.note(!broadcast.waiting(id).is_empty(), took_some, now);
            let is_late = client.deadline().is_some_and(|at| now >= at);
            if is_late {
                outcome.warnings.push(format!(
                    "warning: a client attached to app {:?} has taken nothing of its output for {} s and was dropped",
                    self.name,
                    client.patience.as_secs()
                ));
            }
            if !is_there || is_late || broadcast.is_over_for(id) {
                done.push(id);
            }
        }
        done.into_iter().for_each(|id| self.forget(id));
    }

    fn forget(&mut self, id: ClientId) {
        self.stdout.detach(id);
        self.stderr.detach(id);
        self.clients.remove(&id);
    }
}
