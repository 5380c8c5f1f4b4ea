//! The demo: what a user of signed images does, command by command, on Debian's Redis. Run by `cargo xtask demo` where
//! KVM works.
//!
//! It shows every command as it would be typed, lets its output through, says how long it took, and checks what came
//! out. The publisher's side (key, signatures, HTTPS server, certificate authority) is made for the occasion and thrown
//! away; rkt's own directories are replaced by empty ones in a mount namespace of the demo's.
// A demo that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::panic)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rkt_tests::authority::Authority;
use rkt_tests::gpg::Gpg;
use rkt_tests::rkt::scratch;
use rkt_tests::server::{Answer, Server};
use rkt_tests::{dist, leaks};
use tempfile::TempDir;

/// Whose images these are.
const PUBLISHER: &str = "Redis packager <packager@example.com>";

/// The images, which are also the file names at the publisher's.
const IMAGES: [&str; 2] = ["redis-server", "redis-tools"];

/// Bits of what a command must have said for the demo to be worth something.
type Expected<'a> = &'a [&'a str];

/// The demo's stage.
struct Demo {
    /// The current directory of every command.
    directory: PathBuf,
    /// Steps done, with their time in seconds.
    steps: Vec<(String, f64)>,
    started: Instant,
}

fn main() -> ExitCode {
    // A check that fails panics, and the panic's message is the reason; all that is missing then is the verdict.
    match std::panic::catch_unwind(run) {
        Ok(()) => {
            println!("demo: ok");
            ExitCode::SUCCESS
        }
        Err(_) => {
            println!("demo: FAILED");
            ExitCode::FAILURE
        }
    }
}

fn run() {
    let work = tempfile::Builder::new().prefix("rkt-demo-").tempdir().expect("a directory");
    let mut demo = Demo { directory: work.path().to_owned(), steps: Vec::new(), started: Instant::now() };
    let _private = PrivateDirectories::mount();

    chapter("The publisher builds images from Debian's packages, signs them and puts them on a server");
    let gpg = Gpg::new();
    let authority = Authority::new();
    let server = Server::https(&authority);
    publish(&mut demo, &gpg, &server);

    chapter("The user trusts the publisher's key for its images only");
    let mut rkt = Rkt { authority: authority.certificate() };
    let trust = ["trust", "--prefix=example.com", "--skip-fingerprint-review", "packager.asc"];
    demo.command("trust the key", &mut rkt.command(&trust), 0, &["Added key for prefix"]);

    chapter("The user fetches the images; each signature is checked before the image enters the store");
    for name in IMAGES {
        let url = server.url(&format!("/{name}.aci"));
        let fetch = ["fetch", &url];
        demo.command(
            &format!("fetch {name}"),
            &mut rkt.command(&fetch),
            0,
            &["signature verified", "sha512-"],
        );
    }

    chapter("A virtual machine with server and client: 1,000 keys written and read over the pod's loopback");
    let volume = "--volume=data,kind=empty,uid=101,gid=101";
    let pod = ["run", "--uuid-file-save=pod", volume, "example.com/redis-server", "example.com/redis-tools"];
    let said = ["Ready to accept connections", "wrote 1000 keys", "read 1000 keys back"];
    demo.command("run the pod", &mut rkt.command(&pod), 0, &said);
    let uuid = fs::read_to_string(demo.directory.join("pod")).expect("rkt wrote the pod's UUID");

    chapter("What is left of it, until it is collected");
    demo.command("list", &mut rkt.command(&["list"]), 0, &["redis-server", "redis-tools", "exited"]);
    let codes = ["state=exited", "app-redis-server=0", "app-redis-tools=0"];
    demo.command("status", &mut rkt.command(&["status", &uuid]), 0, &codes);
    demo.command(
        "collect garbage",
        &mut rkt.command(&["gc", "--grace-period=0s"]),
        0,
        &["Garbage collecting pod"],
    );
    let list = demo.command("list again", &mut rkt.command(&["list", "--no-legend"]), 0, &[]);
    assert!(list.trim().is_empty(), "a pod is left after gc: {list}");
    let left = leaks::of_pod(&uuid);
    assert!(left.is_empty(), "left behind: {left:#?}");

    demo.summary();
}

/// An empty /var/lib/rkt and /etc/rkt, for this process and every command it starts, so that the demo neither sees nor
/// changes the host's own pods and keys.
struct PrivateDirectories {
    _place: TempDir,
}

/// Where they appear.
const RKT_DIRECTORIES: [&str; 2] = ["/etc/rkt", "/var/lib/rkt"];

impl PrivateDirectories {
    fn mount() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (the demo runs as root)");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        let place = tempfile::Builder::new().prefix("rkt-demo-").tempdir_in(scratch()).expect("a directory");
        // All sources first: they may lie below one of the targets.
        let sources = RKT_DIRECTORIES.map(|target| place.path().join(target.replace('/', "-")));
        for (source, target) in sources.iter().zip(RKT_DIRECTORIES) {
            fs::create_dir(source).expect("a directory");
            fs::create_dir_all(target).expect("a directory");
        }
        for (source, target) in sources.iter().zip(RKT_DIRECTORIES) {
            mount(Some(source), target, none, MsFlags::MS_BIND, none).expect("a bind mount");
        }
        Self { _place: place }
    }
}

impl Drop for PrivateDirectories {
    fn drop(&mut self) {
        // Uncovers the place that the directory is removed from; without that it stays behind, which is no reason to fail.
        for target in RKT_DIRECTORIES {
            let _ = umount2(target, MntFlags::MNT_DETACH);
        }
    }
}

/// Makes the publisher's key, signs the images and serves all of it.
fn publish(demo: &mut Demo, gpg: &Gpg, server: &Server) {
    for name in IMAGES {
        let image = dist::image(name);
        fs::copy(&image, demo.directory.join(format!("{name}.aci"))).expect("copying an image");
    }
    let started = Instant::now();
    typed(&format!("gpg --quick-generate-key '{PUBLISHER}' ed25519 sign never"));
    let key = gpg.generate("ed25519", PUBLISHER);
    typed("gpg --armor --export packager@example.com >packager.asc");
    gpg.export(&key, &demo.directory.join("packager.asc"));
    for name in IMAGES {
        typed(&format!("gpg --armor --detach-sign --output {name}.aci.asc {name}.aci"));
        let image = demo.directory.join(format!("{name}.aci"));
        let signature = gpg.sign(&key, &image);
        let read = |path: &Path| fs::read(path).expect("reading a file of ours");
        server.answer(&format!("/{name}.aci"), Answer::body(read(&image)));
        server.answer(&format!("/{name}.aci.asc"), Answer::body(read(&signature)));
    }
    println!("serving {}", server.url("/"));
    demo.done("sign and serve", started);
}

/// The product as the user has it: `rkt` on the path, and the authority of the server's certificate among the trusted.
struct Rkt {
    authority: PathBuf,
}

impl Rkt {
    fn command(&mut self, arguments: &[&str]) -> Command {
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
    /// Shows and runs a command, checks its exit code and what it said, and returns its standard output.
    fn command(&mut self, step: &str, command: &mut Command, code: i32, expected: Expected<'_>) -> String {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        typed(&format!("rkt {}", arguments.join(" ")));
        let started = Instant::now();
        let mut child = command
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rkt starts");
        let errors = child.stderr.take().expect("stderr is piped");
        let errors = thread::spawn(move || pass_on(errors, &mut std::io::stderr()));
        let output = pass_on(child.stdout.take().expect("stdout is piped"), &mut std::io::stdout());
        let errors = errors.join().expect("the reader does not panic");
        let status = child.wait().expect("waiting for a child works");
        println!("(exit code {})", status.code().map_or("none".to_owned(), |code| code.to_string()));
        self.done(step, started);
        assert_eq!(status.code(), Some(code), "{step}: {status}");
        for text in expected {
            assert!(output.contains(text) || errors.contains(text), "{step}: rkt did not say {text:?}");
        }
        output
    }

    fn done(&mut self, step: &str, started: Instant) {
        let seconds = started.elapsed().as_secs_f64();
        println!("({step}: {seconds:.1} s)");
        self.steps.push((step.to_owned(), seconds));
    }

    fn summary(&self) {
        chapter("How long it took");
        for (step, seconds) in &self.steps {
            println!("{seconds:7.1} s  {step}");
        }
        println!("{:7.1} s  in all", self.started.elapsed().as_secs_f64());
    }
}

/// A headline.
fn chapter(text: &str) {
    println!("\n== {text}");
}

/// A command as the user would type it.
fn typed(text: &str) {
    println!("$ {text}");
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
