//! A metadata service that takes every registration and remembers it (rkt's metadata service, registration side). It
//! listens in a directory of the test's; a command is shown that directory in the place of `/run/rkt`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `PUT /pods/…`.
    pub line: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// A service that listens.
#[derive(Debug)]
pub struct MetadataService {
    directory: PathBuf,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl MetadataService {
    /// Starts one whose socket is in `directory`. It ends with the test's process. Answers with this status line's code
    /// and text, for example `200 OK`.
    pub fn start(directory: &Path, status: &'static str) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let listener = UnixListener::bind(directory.join("metadata-svc.sock")).expect("a socket");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that only tries whether somebody listens sends nothing.
                if let Some(request) = answer(&stream, status) {
                    seen.lock().expect("nobody panics with the lock").push(request);
                }
            }
        });
        Self { directory: directory.to_owned(), requests }
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panics with the lock").clone()
    }

    /// The same command where this service is the host's.
    pub fn seen_by(&self, command: &Command) -> Command {
        with_run_rkt(&self.directory, command)
    }
}

/// The same command where `/run/rkt` is `directory`. Nobody else sees that.
pub fn with_run_rkt(directory: &Path, command: &Command) -> Command {
    let script = "mkdir -p /run/rkt && mount --bind \"$0\" /run/rkt && exec \"$@\"";
    let mut showing = Command::new("unshare");
    showing.args(["--mount", "--propagation", "slave", "sh", "-c", script]).arg(directory);
    showing.arg(command.get_program()).args(command.get_args());
    showing.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(place) = command.get_current_dir() {
        showing.current_dir(place);
    }
    showing
}

fn answer(mut stream: &UnixStream, status: &str) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    Some(Request { line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), body })
}
