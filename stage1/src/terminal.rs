//! The caller's terminal while somebody else's program uses it.
//!
//! Responsible for: raw mode, its end on every way out that a program has a say in, the window's size. Must not know: whose bytes
//! pass. Follows termios(3) and tty_ioctl(4).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Mutex;

use guest_api::WindowSize;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// What a terminal is taken to be that does not say.
const DEFAULT_SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

/// What the caller is not asked about is what every terminal since understands.
const DEFAULT_TYPE: &str = "vt100";

/// The terminal that is in raw mode and how it was before: a panic aborts without running destructors.
static IN_RAW_MODE: Mutex<Option<(RawFd, Termios)>> = Mutex::new(None);

/// Gives the terminal back in a panic, before the message is printed. Called once.
pub fn restore_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        print(panic);
    }));
}

fn restore() {
    let Ok(mut raw) = IN_RAW_MODE.try_lock() else { return };
    if let Some((number, before)) = raw.take() {
        // SAFETY: whoever owns the descriptor drops its `RawMode` first, which empties the place this number came from.
        let terminal = unsafe { BorrowedFd::borrow_raw(number) };
        // The terminal may be gone, and the caller's shell sets its own mode anyway.
        let _ = tcsetattr(terminal, OptionalActions::Now, &before);
    }
}

/// The window's size; a terminal without one (a serial line) has the traditional one.
pub fn window_size(terminal: BorrowedFd<'_>) -> WindowSize {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            WindowSize { rows: size.ws_row, columns: size.ws_col }
        }
        _ => DEFAULT_SIZE,
    }
}

/// The caller's terminal, as far as a program that gets one in its place has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallersTerminal {
    /// Its window.
    pub size: WindowSize,
    /// Its `TERM`.
    pub kind: String,
}

/// The terminal that standard input and standard output are. With its output in a file or a pipe a program is no conversation,
/// and a terminal's line ends have no place there.
pub fn of_caller() -> Option<CallersTerminal> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let both = isatty(&stdin) && isatty(&stdout);
    both.then(|| CallersTerminal { size: window_size(stdin.as_fd()), kind: kind() })
}

/// The caller's `TERM`.
pub fn kind() -> String {
    std::env::var("TERM").ok().filter(|it| !it.is_empty()).unwrap_or_else(|| DEFAULT_TYPE.to_owned())
}

/// A terminal in raw mode, until this is dropped. There is at most one.
#[derive(Debug)]
pub struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
}

impl<'fd> RawMode<'fd> {
    /// Every key becomes a byte, no byte a signal, nothing is echoed.
    pub fn enter(terminal: BorrowedFd<'fd>) -> Result<Self, Errno> {
        let before = tcgetattr(terminal)?;
        if let Ok(mut raw) = IN_RAW_MODE.lock() {
            *raw = Some((terminal.as_fd().as_raw_fd(), before));
        }
        let mode = Self { terminal };
        mode.renew()?;
        Ok(mode)
    }

    /// Once more: a shell that had this process stopped has changed the mode meanwhile.
    pub fn renew(&self) -> Result<(), Errno> {
        let mut mode = tcgetattr(self.terminal)?;
        mode.make_raw();
        tcsetattr(self.terminal, OptionalActions::Now, &mode)
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        restore();
    }
}
