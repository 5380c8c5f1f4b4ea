//! Having an archive extracted by a jailed process.
//!
//! Responsible for: starting rkt once more as `extracttar`, feeding it, and telling how it ended. Must not know: tar.
//! Follows rkt-reference.md 2.9 ("Extraction"); the other end is `child.rs`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{Mode, OFlags};

use super::wire::{receive_answer, send_request};
use super::{ExtractError, Options};

/// The name under which rkt is the jailed process.
pub const PROGRAM_NAME: &str = "extracttar";
/// Bytes on their way to the process: more in a pipe means fewer switches between the two.
const PIPE_BYTES: usize = 1024 * 1024;
/// Bytes moved into the pipe at once.
const COPY_BYTES: usize = 256 * 1024;

/// Where an archive comes from.
pub enum Source<'a> {
    /// An open file, from where it stands. The process reads it by itself.
    File(File),
    /// Anything else; passed on through a pipe.
    Stream(&'a mut dyn Read),
}

/// Writes the wanted entries of an archive into the directory `target`, in a process that can do nothing else. What is
/// already there is replaced; directories are kept and get the entry's owner, mode and time. A stream is read to its end.
///
/// `lock` stays locked until the process has ended, whatever becomes of this one. Owners, devices and privileged
/// attributes need root; without it, owners are left alone.
pub fn extract(
    source: Source<'_>,
    target: &Path,
    options: &Options,
    lock: Option<BorrowedFd<'_>>,
) -> Result<(), ExtractError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(target, flags, Mode::empty())
        .map_err(|e| ExtractError::write("open", target.as_os_str().as_bytes(), e))?;
    match source {
        Source::File(file) => Extractor::start(file.into(), &target, options, lock)?.finish(Ok(())),
        Source::Stream(stream) => {
            let (read_end, write_end) = io::pipe().map_err(process_error)?;
            // Larger than the default is a courtesy that a user's limit may refuse.
            let _ = rustix::pipe::fcntl_setpipe_size(&write_end, PIPE_BYTES);
            let extractor = Extractor::start(read_end.into(), &target, options, lock)?;
            let fed = feed(stream, write_end);
            extractor.finish(fed)
        }
    }
}

/// A process at work.
struct Extractor {
    child: Child,
    socket: UnixStream,
}

impl Extractor {
    /// Consumes the archive's descriptor: a pipe ends when only the process holds it.
    fn start(
        archive: OwnedFd,
        target: &OwnedFd,
        options: &Options,
        lock: Option<BorrowedFd<'_>>,
    ) -> Result<Self, ExtractError> {
        let (mut socket, theirs) = UnixStream::pair().map_err(process_error)?;
        let theirs = OwnedFd::from(theirs);
        let child = spawn(&theirs)?;
        drop(theirs);
        let mut descriptors = vec![archive.as_fd(), target.as_fd()];
        descriptors.extend(lock);
        // A process that has ended already says why by its status.
        let _ = send_request(&mut socket, options, &descriptors);
        Ok(Self { child, socket })
    }

    /// Waits for the end. `fed` tells how passing on the archive went.
    fn finish(mut self, fed: io::Result<()>) -> Result<(), ExtractError> {
        if let Err(error) = fed {
            // What it wrote is of no use, and its complaint would be that the archive ends early.
            let _ = self.child.kill();
            let _ = self.child.wait();
            return Err(ExtractError::Read(error));
        }
        let answer = receive_answer(self.socket);
        let status = self.child.wait().map_err(process_error)?;
        match answer {
            Some(answer) if status.success() => answer,
            _ => Err(ExtractError::Process(describe(status))),
        }
    }
}

fn spawn(socket: &OwnedFd) -> Result<Child, ExtractError> {
    let start = |program: &OsStr| {
        let mut command = Command::new(program);
        command
            .arg0(PROGRAM_NAME)
            .env_clear()
            .stdin(Stdio::from(socket.try_clone()?))
            // Nothing is ever written there, and /dev/null may not be there.
            .stdout(Stdio::from(io::pipe()?.1))
            .stderr(Stdio::inherit());
        #[cfg(test)]
        super::jail_test::be_the_test_binary(&mut command);
        command.spawn()
    };
    match start(OsStr::new("/proc/self/exe")) {
        // Without /proc, the name this program was started by has to do.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let name = std::env::args_os().next().unwrap_or_default();
            start(&name).map_err(|e| {
                ExtractError::Process(format!(
                    "its process cannot be started: /proc is not mounted, and running {name:?} instead fails: {e}"
                ))
            })
        }
        other => other.map_err(process_error),
    }
}

/// Passes the archive on. A process that reads no further has its reasons and tells them.
fn feed(source: &mut dyn Read, mut pipe: io::PipeWriter) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        match pipe.write_all(buffer.get(..count).unwrap_or_default()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
}

fn process_error(error: io::Error) -> ExtractError {
    ExtractError::Process(format!("its process cannot be started: {error}"))
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGSYS) => {
            "its process was killed by SIGSYS: it tried something that extracting does not take".to_owned()
        }
        Some(signal) => format!("its process was killed by signal {signal}"),
        None => format!("its process ended without an answer ({status})"),
    }
}
