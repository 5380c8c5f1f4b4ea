//! A web server for tests: one thread, scripted answers, a list of what was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Path to whole response.
type Answers = Arc<Mutex<HashMap<String, Vec<u8>>>>;

pub(super) struct TestServer {
    address: String,
    answers: Answers,
    requests: Arc<Mutex<Vec<String>>>,
}

impl TestServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = Answers::default();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers_of_thread, requests_of_thread) = (answers.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut request = Vec::new();
                while let Some(Ok(line)) =
                    lines.next().filter(|line| line.as_ref().is_ok_and(|l| !l.is_empty()))
                {
                    request.push(line);
                }
                let path = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("").to_owned();
                requests_of_thread.lock().unwrap().push(request.join("\n"));
                let missing =
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
                let answer = answers_of_thread.lock().unwrap().get(&path).cloned().unwrap_or(missing);
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, answers, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn serve(&self, path: &str, headers: &str, body: &[u8]) {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        self.raw(path, [head.as_bytes(), body].concat());
    }

    pub fn raw(&self, path: &str, response: Vec<u8>) {
        self.answers.lock().unwrap().insert(path.to_owned(), response);
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}
