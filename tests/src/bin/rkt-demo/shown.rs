//! Commands as a user types them: shown, run, timed, and checked.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rkt_tests::authority::Authority;
use rkt_tests::command::limit;
use rkt_tests::dist;

/// Bits of what a command must have said for the demo to be worth something.
pub type Expected<'a> = &'a [&'a str];

/// Where a line that was typed is broken.
const LINE_WIDTH: usize = 110;

/// What was shown so far.
pub struct Demo {
    /// The current directory of every command.
    directory: PathBuf,
    /// Steps done, with their time in seconds.
    steps: Vec<(String, f64)>,
    started: Instant,
}

/// A command that runs while others do.
pub struct Background {
    child: Child,
    output: JoinHandle<String>,
    errors: JoinHandle<String>,
}

/// The product as the user has it: `rkt` on the path, and the authority of the server's certificate among the trusted.
pub struct Rkt {
    authority: PathBuf,
}

impl Rkt {
    /// The user whose system trusts this authority.
    pub fn new(authority: &Authority) -> Self {
        Self { authority: authority.certificate() }
    }

    /// An rkt command.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut directories = vec![dist::directory()];
        directories.extend(env::split_paths(&path));
        let mut command = Command::new(dist::file("rkt"));
        command.args(arguments).env("SSL_CERT_FILE", &self.authority);
        command.env("PATH", env::join_paths(directories).expect("a path without colons"));
        command
    }
}

impl Demo {
    /// Begins in this directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), steps: Vec::new(), started: Instant::now() }
    }

    /// A file of the demo's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What is in a file that a command has written.
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Waits until a command in the background has written a file.
    pub fn await_file(&self, name: &str) {
        let deadline = Instant::now() + limit(60);
        while fs::metadata(self.path(name)).map_or(0, |file| file.len()) == 0 {
            assert!(Instant::now() < deadline, "there is no file {name}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Shows and runs a command of rkt's, checks its exit code and what it said, and returns its standard output.
    pub fn command(
        &mut self,
        step: &str,
        command: &mut Command,
        code: i32,
        expected: Expected<'_>,
    ) -> String {
        typed(&words(command));
        self.run(step, command, code, expected)
    }

    /// The same for a line of shell.
    pub fn shell(&mut self, step: &str, line: &str, code: i32, expected: Expected<'_>) -> String {
        typed(line);
        self.run(step, Command::new("sh").args(["-c", line]), code, expected)
    }

    fn run(&mut self, step: &str, command: &mut Command, code: i32, expected: Expected<'_>) -> String {
        let started = Instant::now();
        let running = Background::start(command, &self.directory);
        let (status, output, errors) = running.wait();
        println!("(exit code {})", status.code().map_or("none".to_owned(), |code| code.to_string()));
        self.done(step, started);
        assert_eq!(status.code(), Some(code), "{step}: {status}");
        for text in expected {
            assert!(output.contains(text) || errors.contains(text), "{step}: it did not say {text:?}");
        }
        output
    }

    /// Shows and starts a command of rkt's that goes on.
    pub fn background(&self, command: &mut Command) -> Background {
        typed(&format!("{} &", words(command)));
        Background::start(command, &self.directory)
    }

    /// Notes how long a step took.
    pub fn done(&mut self, step: &str, started: Instant) {
        let seconds = started.elapsed().as_secs_f64();
        println!("({step}: {seconds:.1} s)");
        self.steps.push((step.to_owned(), seconds));
    }

    /// All steps with their times.
    pub fn summary(&self) {
        chapter("How long it took");
        for (step, seconds) in &self.steps {
            println!("{seconds:7.1} s  {step}");
        }
        println!("{:7.1} s  in all", self.started.elapsed().as_secs_f64());
    }
}

impl Background {
    fn start(command: &mut Command, directory: &Path) -> Self {
        let mut child = command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let errors = child.stderr.take().expect("stderr is piped");
        let errors = thread::spawn(move || pass_on(errors, &mut std::io::stderr()));
        let output = child.stdout.take().expect("stdout is piped");
        let output = thread::spawn(move || pass_on(output, &mut std::io::stdout()));
        Self { child, output, errors }
    }

    /// Waits for its end; returns what it said.
    pub fn wait(mut self) -> (ExitStatus, String, String) {
        let status = self.child.wait().expect("waiting for a child works");
        let said = |reader: JoinHandle<String>| reader.join().expect("the reader does not panic");
        (status, said(self.output), said(self.errors))
    }

    /// Asks it to end, when the demo has failed and nobody else will.
    pub fn interrupt(&self) {
        // Its number is not given to anybody else before it was waited for.
        let _ = signal::kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
    }
}

/// A command of rkt's as it is typed.
fn words(command: &Command) -> String {
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    format!("rkt {}", arguments.join(" "))
}

/// A headline.
pub fn chapter(text: &str) {
    println!("\n== {text}");
}

/// A command as the user would type it, long ones on several lines.
pub fn typed(text: &str) {
    let mut line = "$".to_owned();
    for word in text.split(' ') {
        if line.len() + word.len() > LINE_WIDTH {
            println!("{line} \\");
            line = "     ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    println!("{line}");
}

/// Lets a stream through line by line, and keeps what it said.
fn pass_on(stream: impl Read, to: &mut impl Write) -> String {
    let mut reader = BufReader::new(stream);
    let mut kept = Vec::new();
    loop {
        let before = kept.len();
        match reader.read_until(b'\n', &mut kept) {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                // The demo goes on when nobody watches any more.
                let _ =
                    kept.get(before..).map_or(Ok(()), |line| to.write_all(line)).and_then(|()| to.flush());
            }
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
