//! The last words of a process that made a system call its filter does not allow.
//!
//! Responsible for: saying which call it was, in the signal handler that the kernel runs in place of the call, unless somebody answers the
//! call there. Must not know: filters.
//! Follows seccomp(2), SECCOMP_RET_TRAP; signal-safety(7).
//!
//! The filter could have the kernel kill the process without a word, and nobody would learn why a pod ended. The process is no
//! freer for the handler: no filter lets it be replaced, and its second refused call, in the handler, is one that the kernel kills for.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use syscalls::Sysno;

use super::PANIC_REPORT;

/// A call that was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its number.
    pub call: u32,
    /// Its first three arguments.
    pub arguments: [u64; 3],
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, arguments: [first, second, third] } = self;
        let name = Sysno::new(*call as usize).map_or_else(|| call.to_string(), |call| call.to_string());
        write!(
            formatter,
            "it made a system call that it has no use for, {name}({first:#x}, {second:#x}, {third:#x}), and was ended \
             for that"
        )
    }
}

/// A refused call as somebody sees it who may answer it in the kernel's place.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number.
    pub number: u32,
    /// Its first four arguments.
    pub arguments: [u64; 4],
}

/// What a refused call returns, where that is not the end: a result, or an error's number less than zero. It is run in a signal's handler.
pub type Answer = fn(&Call) -> Option<i64>;

static ANSWER: OnceLock<Answer> = OnceLock::new();

/// Has refused calls answered by `answer` first, for good.
pub fn answer_refused_calls(answer: Answer) {
    // A second one is a bug; its calls end the process.
    let _ = ANSWER.set(answer);
}

/// `Report::Refused` among the variants of that type.
const REFUSED: u8 = 2;

/// Bytes of an encoded refusal at most: length, variant, number, arguments.
const FRAME_BYTES: usize = 4 + 1 + 5 + 3 * 10;

/// A frame that needs no memory but its own.
pub(super) struct Frame {
    bytes: [u8; FRAME_BYTES],
    used: usize,
}

impl Frame {
    /// The report that says so, as [`guest_api::encode`] would write it.
    pub(super) fn of(refusal: &Refusal) -> Self {
        let mut frame = Self { bytes: [0; FRAME_BYTES], used: size_of::<u32>() };
        frame.push(REFUSED);
        frame.push_number(refusal.call.into());
        for argument in refusal.arguments {
            frame.push_number(argument);
        }
        let payload = frame.used.saturating_sub(size_of::<u32>()) as u32;
        for (slot, byte) in frame.bytes.iter_mut().zip(payload.to_le_bytes()) {
            *slot = byte;
        }
        frame
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.used) {
            *slot = byte;
            self.used += 1;
        }
    }

    /// Seven bits a byte, the lowest first, the highest bit of all but the last set.
    fn push_number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.push(number as u8);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

/// Makes a refused call end this process with a report. Also leaves faults to the kernel: a handler of theirs would make calls that
/// are refused, and the report would be of those.
pub fn report_refused_calls() -> io::Result<()> {
    let handler = on_refusal as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    act(libc::SIGSYS, handler as usize, libc::SA_SIGINFO)?;
    act(libc::SIGSEGV, libc::SIG_DFL, 0)?;
    act(libc::SIGBUS, libc::SIG_DFL, 0)
}

fn act(signal: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) -> io::Result<()> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeroes are a valid value of the structure: the default action, no flags, an empty set.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handler, where there is one, takes these arguments and does only what a handler may; the structure lives through
    // the call.
    match unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_refusal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a handler with SA_SIGINFO the context that it interrupted, valid until the handler returns.
    let mut context = unsafe { context.cast::<libc::ucontext_t>().as_mut() };
    let registers = context.as_ref().map(|context| context.uc_mcontext.gregs).unwrap_or_default();
    let register = |index: libc::c_int| {
        usize::try_from(index)
            .ok()
            .and_then(|index| registers.get(index))
            .map_or(0, |value| value.cast_unsigned())
    };
    let call = Call {
        number: register(libc::REG_RAX) as u32,
        arguments: [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10].map(register),
    };
    if let Some(result) = ANSWER.get().and_then(|answer| answer(&call))
        && let Some(slot) = context.as_mut().and_then(|context| {
            context.uc_mcontext.gregs.get_mut(usize::try_from(libc::REG_RAX).unwrap_or(usize::MAX))
        })
    {
        *slot = result;
        return;
    }
    let [first, second, third, _] = call.arguments;
    let refusal = Refusal { call: call.number, arguments: [first, second, third] };
    let reporter = PANIC_REPORT.load(Ordering::Relaxed);
    if reporter >= 0 {
        // SAFETY: a child's reporting pipe stays open until the process ends.
        let reporter = unsafe { BorrowedFd::borrow_raw(reporter) };
        // Nobody is left to tell that even this failed.
        let _ = rustix::io::write(reporter, Frame::of(&refusal).bytes());
    }
    // Where even this is refused, the kernel ends the process: the signal is blocked here.
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(libc::SIGSYS) }
}
