//! A small HTTP/1.1 server on the loopback, with or without TLS, that serves fixed answers and can misbehave: stop in
//! the middle, be slow, redirect. One request a connection, as RFC 9112, section 9.6 allows with `Connection: close`.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Authority;

/// More than any client of ours sends.
const LARGEST_REQUEST: u64 = 1 << 16;

/// How a body is sent.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// As it should be.
    Whole,
    /// The connection closes after this many bytes, although all were announced.
    CutAfter(usize),
    /// In pieces of `piece` bytes with a pause after each.
    Slow {
        /// Bytes a piece.
        piece: usize,
        /// Pause after each.
        pause: Duration,
    },
}

/// The answer for one path.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<[u8]>,
    delivery: Delivery,
}

impl Answer {
    /// 200 with a body.
    pub fn body(body: impl Into<Arc<[u8]>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), delivery: Delivery::Whole }
    }

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::body([]) }
    }

    /// With a further header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another way to send the body.
    #[must_use]
    pub fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

/// A running server; it ends with the process.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server with a certificate of `authority` on a free port.
    pub fn https(authority: &Authority) -> Self {
        Self::start(Some(authority.server_config()))
    }

    /// Starts a server without TLS on a free port.
    pub fn http() -> Self {
        Self::start(None)
    }

    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self {
            address: listener.local_addr().expect("a bound socket has an address"),
            scheme: if tls.is_some() { "https" } else { "http" },
            answers: Arc::default(),
            requests: Arc::default(),
        };
        let (answers, requests) = (Arc::clone(&server.answers), Arc::clone(&server.requests));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (tls, answers, requests) = (tls.clone(), Arc::clone(&answers), Arc::clone(&requests));
                // A client that goes away in the middle is no failure of the server's.
                thread::spawn(move || drop(serve(connection, tls, &answers, &requests)));
            }
        });
        server
    }

    /// Sets the answer for a path.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().expect("no thread panics with the lock").insert(path.to_owned(), answer);
    }

    /// The URL of a path, by the host name `localhost`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    /// Every request so far, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no thread panics with the lock").clone()
    }
}

fn serve(
    connection: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answers: &Mutex<HashMap<String, Answer>>,
    requests: &Mutex<Vec<String>>,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    match tls {
        None => exchange(connection, answers, requests).map(drop),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            let finished = exchange(StreamOwned::new(session, connection), answers, requests)?;
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

/// Reads a request and answers it; gives the stream back when the answer was sent whole.
fn exchange<S: Read + Write>(
    stream: S,
    answers: &Mutex<HashMap<String, Answer>>,
    requests: &Mutex<Vec<String>>,
) -> io::Result<Option<S>> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut limited = (&mut reader).take(LARGEST_REQUEST);
        if limited.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    requests.lock().expect("no thread panics with the lock").push(format!("{method} {target}"));
    let answer = answers.lock().expect("no thread panics with the lock").get(path).cloned();
    let answer = answer.unwrap_or_else(|| Answer::status(404));

    let mut stream = reader.into_inner();
    let mut response = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", answer.status);
    response.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    for (name, value) in &answer.headers {
        response.push_str(&format!("{name}: {value}\r\n"));
    }
    response.push_str("\r\n");
    stream.write_all(response.as_bytes())?;
    if method == "HEAD" {
        stream.flush()?;
        return Ok(Some(stream));
    }
    match answer.delivery {
        Delivery::Whole => stream.write_all(&answer.body)?,
        Delivery::CutAfter(length) => {
            stream.write_all(&answer.body[..length.min(answer.body.len())])?;
            stream.flush()?;
            return Ok(None);
        }
        Delivery::Slow { piece, pause } => {
            for piece in answer.body.chunks(piece) {
                stream.write_all(piece)?;
                stream.flush()?;
                thread::sleep(pause);
            }
        }
    }
    stream.flush()?;
    Ok(Some(stream))
}
