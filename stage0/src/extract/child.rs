//! The process that extracts one archive: rkt, started once more under the name `extracttar`.
//!
//! Responsible for: taking its one request, confining itself, answering. Must not know: who asked. Follows
//! rkt-reference.md 2.9 ("Extraction"), where this name comes from.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::extraction::extract_here;
use super::wire::{receive_request, send_answer};
use super::{ExtractError, Options, jail};

/// Bytes read from the archive at once; most of an archive's reads are headers.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Descriptors from here on are nobody's: 0 is the socket, 1 and 2 lead nowhere or to the terminal.
const FIRST_OTHER_DESCRIPTOR: libc::c_uint = 3;

/// Serves the request that waits on standard input and returns the exit code.
pub fn run() -> u8 {
    match serve() {
        Ok(()) => 0,
        // rkt has died while the answer was on its way, so nobody waits for words either.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => crate::cli::EXIT_FAILURE,
        Err(error) => {
            let text = format!("extracttar: {error}: this is a part of rkt and not to be run by hand");
            crate::output::complain(&text);
            crate::cli::EXIT_FAILURE
        }
    }
}

/// Errors: only if there is nobody to answer to.
fn serve() -> io::Result<()> {
    close_inherited();
    // Writing goes on after the death of whoever waits for it otherwise, and the next renderer would race with it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (options, descriptors) = receive_request(&mut socket)?;
    let answer = extract_confined(&options, descriptors);
    send_answer(&mut socket, &answer)
}

fn extract_confined(options: &Options, descriptors: Vec<OwnedFd>) -> Result<(), ExtractError> {
    // What follows the two is a lock, held until this process ends.
    let mut descriptors = descriptors.into_iter();
    let (Some(archive), Some(target)) = (descriptors.next(), descriptors.next()) else {
        return Err(ExtractError::Process("its process got no archive".to_owned()));
    };
    let _locks: Vec<OwnedFd> = descriptors.collect();
    // Modes are the archive's business alone.
    rustix::process::umask(rustix::fs::Mode::empty());
    let target = jail::confine(target).map_err(|e| ExtractError::Process(e.to_string()))?;
    // Stays open: the jail tells what was given from what is opened later by its number.
    let archive = File::from(archive);
    extract_here(BufReader::with_capacity(READ_BUFFER_BYTES, &archive), target, options)
}

fn close_inherited() {
    let last = libc::c_uint::MAX;
    // SAFETY: nothing in this process has opened a descriptor above 2 yet, so none that is owned is closed. A kernel
    // before 5.9 does not know the call; then what was inherited without close-on-exec stays, and is never used.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST_OTHER_DESCRIPTOR, last, 0) };
}
