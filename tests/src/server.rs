//! A small HTTP/1.1 server on the loopback, with or without TLS, that serves fixed answers and can misbehave: stop in
//! the middle, never stop, be slow, redirect. As a proxy it is every host that it is asked to connect to. One request a
//! connection, as RFC 9112, section 9.6 allows with `Connection: close`.

mod answer;

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use answer::{Answer, Delivery, header};

use crate::authority::Authority;

/// More than any client of ours sends.
const LARGEST_REQUEST: u64 = 1 << 16;

/// What a server knows and what happened to it.
#[derive(Debug, Default)]
struct State {
    /// Answers by path, or by host and path; the last one stays.
    answers: HashMap<String, VecDeque<Answer>>,
    requests: Vec<String>,
    heads: Vec<String>,
}

/// A running server; it ends with the process.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts a server with a certificate of `authority` on a free port.
    pub fn https(authority: &Authority) -> Self {
        Self::start("https", Some(authority.server_config()))
    }

    /// Starts a server without TLS on a free port.
    pub fn http() -> Self {
        Self::start("http", None)
    }

    /// Starts a proxy on a free port that is all hosts it is asked to connect to: with a certificate of `authority` on port
    /// 443, without TLS elsewhere. [`Self::answer`] takes `HOST/PATH` here.
    pub fn proxy(authority: &Authority) -> Self {
        Self::start("proxy", Some(authority.server_config()))
    }

    fn start(scheme: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = Self { address, scheme, state: Arc::default() };
        let state = Arc::clone(&server.state);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (tls, state) = (tls.clone(), Arc::clone(&state));
                // A client that goes away in the middle is no failure of the server's.
                thread::spawn(move || drop(serve(connection, scheme, tls, &state)));
            }
        });
        server
    }

    /// Sets the answer for a path.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.answers(path, [answer]);
    }

    /// Sets the answers for a path, one after the other; the last one stays.
    pub fn answers(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.state).answers.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// The URL of a path, by the host name `localhost`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    /// `localhost:PORT`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// The value for `HTTPS_PROXY` and `HTTP_PROXY`, of a proxy.
    pub fn as_proxy(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, as `METHOD PATH`, behind a proxy as `METHOD SCHEME://HOST/PATH`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }

    /// The head of every request so far, whole.
    pub fn heads(&self) -> Vec<String> {
        lock(&self.state).heads.clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        let mut state = lock(&self.state);
        state.requests.clear();
        state.heads.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread panics with the lock")
}

fn serve(
    connection: TcpStream,
    scheme: &'static str,
    tls: Option<Arc<ServerConfig>>,
    state: &Mutex<State>,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let (tls, origin) = match scheme {
        "proxy" => {
            let mut reader = BufReader::new(&connection);
            let Some(head) = read_head(&mut reader)? else { return Ok(()) };
            let target = head.split_whitespace().nth(1).unwrap_or_default();
            let (host, port) = target.split_once(':').unwrap_or((target, "443"));
            if !head.starts_with("CONNECT ") {
                return (&connection).write_all(b"HTTP/1.1 405 -\r\nConnection: close\r\n\r\n");
            }
            (&connection).write_all(b"HTTP/1.1 200 -\r\n\r\n")?;
            let is_tls = port == "443";
            let origin = format!("{}://{host}", if is_tls { "https" } else { "http" });
            (tls.filter(|_| is_tls), Some(origin))
        }
        _ => (tls, None),
    };
    match tls {
        None => exchange(connection, origin.as_deref(), state).map(drop),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            let finished = exchange(StreamOwned::new(session, connection), origin.as_deref(), state)?;
            if let Some(mut stream) = finished {
                // Without the closing alert the client could not tell a whole answer from a cut one.
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)?;
                io::copy(&mut stream.sock, &mut io::sink())?;
            }
            Ok(())
        }
    }
}

/// The head of a request; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut limited = reader.take(LARGEST_REQUEST);
        if limited.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// Reads a request and answers it; gives the stream back when the answer was sent whole.
fn exchange<S: Read + Write>(stream: S, origin: Option<&str>, state: &Mutex<State>) -> io::Result<Option<S>> {
    let mut reader = BufReader::new(stream);
    let Some(head) = read_head(&mut reader)? else { return Ok(None) };
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let key = match origin {
        // A page of the host itself has no slash in its name.
        Some(origin) => {
            let host = origin.split("://").nth(1).unwrap_or_default();
            format!("{host}{path}").trim_end_matches('/').to_owned()
        }
        None => path.to_owned(),
    };
    let answer = {
        let mut state = lock(state);
        state.requests.push(format!("{method} {}{target}", origin.unwrap_or_default()));
        state.heads.push(head.clone());
        match state.answers.get_mut(&key) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
    };
    let mut stream = reader.into_inner();
    let is_whole = answer.unwrap_or_else(|| Answer::status(404)).send(&head, &mut stream)?;
    Ok(is_whole.then_some(stream))
}
