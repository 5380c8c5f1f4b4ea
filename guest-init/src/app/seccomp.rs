//! An app's filter of system calls.
//!
//! Responsible for: putting it in force, and learning why a program was not executed from a process that may not say so
//! itself. Must not know: what a filter allows. Follows seccomp(2) and execve(2).

use std::convert::Infallible;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use guest_api::{FILTER_INSTRUCTION_BYTES, MAX_FILTER_BYTES};
use rustix::io::Errno;

use crate::InitError;

/// A filter as the kernel takes it.
#[derive(Debug)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Takes the bytes that the host sent.
    pub fn new(bytes: &[u8]) -> Result<Self, InitError> {
        let (instructions, rest) = bytes.as_chunks::<FILTER_INSTRUCTION_BYTES>();
        if instructions.is_empty() || !rest.is_empty() || bytes.len() > MAX_FILTER_BYTES {
            let reason = format!("a seccomp filter of {} bytes", bytes.len());
            return Err(InitError::Specification(reason));
        }
        let instruction = |[code, code_high, jt, jf, k @ ..]: &[u8; FILTER_INSTRUCTION_BYTES]| {
            let code = u16::from_le_bytes([*code, *code_high]);
            libc::sock_filter { code, jt: *jt, jf: *jf, k: u32::from_le_bytes(*k) }
        };
        Ok(Self(instructions.iter().map(instruction).collect()))
    }

    /// Puts it in force for the calling thread and what it executes. Needs no_new_privs or CAP_SYS_ADMIN.
    fn load(&self) -> Result<(), Errno> {
        let len = libc::c_ushort::try_from(self.0.len()).map_err(|_| Errno::INVAL)?;
        let program = libc::sock_fprog { len, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: `program` points to `len` instructions, which live until the call returns; the kernel copies them.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if result == 0 { Ok(()) } else { Err(super::last_errno()) }
    }
}

/// Why a program is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The kernel does not take the filter.
    Filter(Errno),
    /// It does not execute the program.
    Execution(Errno),
}

/// How often the thread that waits looks. Only a start that fails lasts so long.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Enough for the sentence that says why.
const STACK_BYTES: usize = 256 * 1024;

/// Puts `filter` in force and calls `execute`, which returns only when it fails and must not allocate memory. `failed` hears
/// why, and ends the process.
///
/// After that the filter may forbid everything, even to end. So it holds for one thread, which only waits then; another one,
/// which execve(2) ends where it succeeds, says what happened.
pub fn execute_within(
    filter: &Filter,
    execute: impl FnOnce() -> Errno,
    failed: impl Fn(Failure) -> Infallible + Sync,
) -> ! {
    let outcome = OnceLock::new();
    thread::scope(|scope| {
        let watch = || loop {
            match outcome.get() {
                None => thread::sleep(LOOK_AGAIN),
                Some(failure) => match failed(*failure) {},
            }
        };
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, watch);
        let failure = match filter.load() {
            Ok(()) => Failure::Execution(execute()),
            Err(error) => Failure::Filter(error),
        };
        // An app that has as many as it may have can be entered all the same; why not, is said if its filter allows that.
        if thread.is_err() {
            match failed(failure) {}
        }
        // Nobody waits for it, so nobody is woken, which would be a system call.
        let _ = outcome.set(failure);
        loop {
            std::hint::spin_loop();
        }
    })
}
