//! The work of `cargo xtask bench fs`: the same few things done to files, wherever it is started, each timed by the clock of
//! the kernel it runs on.
//!
//! `file-work ROOT FILES MEBIBYTES` changes its root directory to ROOT, works in `/work` and `/tree` there, and prints
//! `row NAME NANOSECONDS` lines and `done`. As PID 1 of a virtual machine it first mounts the file system with the tag `bench` and
//! then works in it, by the two numbers in its environment.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::{MsFlags, mount};

/// What programs usually write and read at once.
const CHUNK: usize = 64 << 10;

/// Content of the small files.
const SMALL: [u8; 1024] = [b's'; 1024];

fn main() -> ExitCode {
    let outcome = if process::id() == 1 { in_machine() } else { by_arguments() };
    if let Err(error) = outcome {
        println!("failed: {error}");
        return ExitCode::FAILURE;
    }
    println!("done");
    if process::id() == 1 {
        // PID 1 may not end; whoever reads this ends the machine.
        thread::sleep(Duration::from_secs(3600));
    }
    ExitCode::SUCCESS
}

fn by_arguments() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [root, files, mebibytes] = arguments.as_slice() else {
        return Err(io::Error::other("usage: file-work ROOT FILES MEBIBYTES"));
    };
    work(Path::new(root), number(files)?, number(mebibytes)?)
}

fn in_machine() -> io::Result<()> {
    mount(Some("bench"), "/r", Some("virtiofs"), MsFlags::empty(), None::<&str>)?;
    mount(Some("proc"), "/r/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
    mount(Some("devtmpfs"), "/r/dev", Some("devtmpfs"), MsFlags::empty(), None::<&str>)?;
    let variable = |name| number(&env::var(name).unwrap_or_default());
    work(Path::new("/r"), variable("files")?, variable("mebibytes")?)
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(|_| io::Error::other(format!("{text:?} is no number")))
}

fn work(root: &Path, files: usize, mebibytes: usize) -> io::Result<()> {
    if root != Path::new("/") {
        nix::unistd::chroot(root)?;
    }
    env::set_current_dir("/work")?;
    row("write", || write(mebibytes))?;
    row("read", || read(mebibytes))?;
    fs::remove_file("large")?;
    fs::create_dir("small")?;
    let names: Vec<String> = (0..files).map(|index| format!("small/file-{index}")).collect();
    row("create", || names.iter().try_for_each(|name| fs::write(name, SMALL)))?;
    row("stat", || names.iter().try_for_each(|name| fs::metadata(name).map(drop)))?;
    row("reread", || names.iter().try_for_each(|name| fs::read(name).map(drop)))?;
    row("unlink", || names.iter().try_for_each(fs::remove_file))?;
    fs::remove_dir("small")?;
    // The first one meets a cold cache, the second a warm one.
    row("git-status-cold", status)?;
    row("git-status-warm", status)
}

fn row(name: &str, function: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let started = Instant::now();
    function()?;
    println!("row {name} {}", started.elapsed().as_nanos());
    Ok(())
}

/// Until the bytes are where they would survive this kernel.
fn write(mebibytes: usize) -> io::Result<()> {
    let mut file = File::create("large")?;
    let chunk = vec![b'w'; CHUNK];
    for _ in 0..(mebibytes << 20) / CHUNK {
        file.write_all(&chunk)?;
    }
    file.sync_all()
}

/// Not from this kernel's own cache.
fn read(mebibytes: usize) -> io::Result<()> {
    let mut file = File::open("large")?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    let mut chunk = vec![0; CHUNK];
    let mut sum = 0;
    loop {
        match file.read(&mut chunk)? {
            0 if sum == mebibytes << 20 => return Ok(()),
            0 => return Err(io::Error::other(format!("{sum} bytes in descriptor {}", file.as_raw_fd()))),
            length => sum += length,
        }
    }
}

fn status() -> io::Result<()> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "-C", "/tree", "status", "--porcelain"])
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() && output.stdout.is_empty() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(io::Error::other(format!("git: {}: {}", output.status, String::from_utf8_lossy(&said))))
}
