//! Runs a command on a terminal of its own (pty(7)), reads what it prints and types answers, so that what asks a person is
//! tested as a person meets it. Does not know what the command is.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::command::limit;

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(10);

/// A command on a terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts the command with the terminal as its input and both outputs.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let pty = openpty(None, None).expect("a terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("another handle"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the command starts");
        // The screen ends when nobody holds the other end any more; the command keeps its own handles.
        drop((command, pty.slave));
        let keyboard = File::from(pty.master);
        let mut output = keyboard.try_clone().expect("another handle");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                shown.lock().expect("nobody panics with the lock").extend_from_slice(&chunk[..length]);
            }
        });
        Self { child, keyboard, screen, reader }
    }

    /// Everything on the screen so far.
    pub fn screen(&self) -> String {
        let screen = self.screen.lock().expect("the reader does not panic");
        String::from_utf8_lossy(&screen).replace("\r\n", "\n")
    }

    /// Waits until the screen has shown `text` so many times.
    #[track_caller]
    pub fn wait_for(&self, text: &str, times: usize) {
        let deadline = Instant::now() + limit(30);
        while self.screen().matches(text).count() < times {
            assert!(Instant::now() < deadline, "no {times} {text:?} on the screen: {}", self.screen());
            thread::sleep(POLL);
        }
    }

    /// Gives the window another size, and tells the command, which a terminal does for the process group in its foreground.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).expect("a terminal has a size");
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process ID fits i32"));
        signal::kill(pid, Signal::SIGWINCH).expect("signalling a child works");
    }

    /// Types keys, as they are.
    pub fn type_keys(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("typing");
    }

    /// Types a line.
    pub fn type_line(&mut self, text: &str) {
        self.keyboard.write_all(format!("{text}\n").as_bytes()).expect("typing");
    }

    /// Waits for the end: the exit code and everything on the screen, typed text included. The terminal must be as it was.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let deadline = Instant::now() + limit(30);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting for a child works") {
                break status;
            }
            if Instant::now() >= deadline {
                self.child.kill().expect("killing a child works");
                panic!("the command did not end: {}", self.screen());
            }
            thread::sleep(POLL);
        };
        let modes = tcgetattr(&self.keyboard).expect("a terminal has modes").local_modes;
        let normal = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        assert!(modes.contains(normal), "the terminal is left in another mode: {modes:?}");
        while !self.reader.is_finished() {
            assert!(Instant::now() < deadline, "something holds the terminal open");
            thread::sleep(POLL);
        }
        (status.code().expect("an exit code"), self.screen())
    }
}
