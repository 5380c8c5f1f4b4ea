use std::convert::Infallible;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::io::Errno;

use super::seccomp::{Failure, Filter, execute_within};

/// A test runs itself again under this name, to be filtered: a filter stays for good.
const CHILD: &str = "RKT_TEST_FILTERED_CHILD";

/// `ld [nr]; jeq EXECVE allow; ret KILL_PROCESS; allow: ret ALLOW`.
fn nothing_but_execve() -> Vec<u8> {
    let instruction =
        |code: u16, jt: u8, k: u32| [&code.to_le_bytes()[..], &[jt, 0], &k.to_le_bytes()[..]].concat();
    let execve = u32::try_from(libc::SYS_execve).unwrap();
    [
        instruction(0x20, 0, 0),
        instruction(0x15, 1, execve),
        instruction(0x06, 0, 0x8000_0000),
        instruction(0x06, 0, 0x7fff_0000),
    ]
    .concat()
}

/// Runs the test in a process of its own.
fn filtered(test: &str) -> ExitStatus {
    let this = std::env::current_exe().unwrap();
    let arguments = ["--exact", "--nocapture", test];
    Command::new(this).args(arguments).env(CHILD, "1").output().unwrap().status
}

fn fail_with(failure: Failure) -> Infallible {
    let code = if failure == Failure::Execution(Errno::NOENT) { 42 } else { 43 };
    // SAFETY: ends this process, which has nothing left to do.
    unsafe { libc::_exit(code) }
}

fn execute(program: &std::ffi::CStr) -> Errno {
    let arguments = [program.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: a C string and two arrays that end with a null pointer, all of which outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    super::last_errno()
}

fn execute_filtered(program: &std::ffi::CStr) -> ! {
    rustix::thread::set_no_new_privs(true).unwrap();
    let filter = Filter::new(&nothing_but_execve()).unwrap();
    execute_within(&filter, || execute(program), fail_with)
}

#[test]
fn program_that_cannot_be_executed_is_told_although_its_process_may_say_nothing() {
    if std::env::var_os(CHILD).is_some() {
        execute_filtered(c"/nowhere");
    }
    let name =
        "app::seccomp_test::program_that_cannot_be_executed_is_told_although_its_process_may_say_nothing";

    assert_eq!(filtered(name).code(), Some(42));
}

#[test]
fn program_is_executed_within_its_filter() {
    if std::env::var_os(CHILD).is_some() {
        execute_filtered(c"/bin/true");
    }
    let name = "app::seccomp_test::program_is_executed_within_its_filter";

    assert_eq!(filtered(name).signal(), Some(libc::SIGSYS));
}

#[test]
fn filters_that_are_none_are_refused() {
    assert!(Filter::new(&[]).is_err());
    assert!(Filter::new(&[0; 7]).is_err());
    assert!(Filter::new(&vec![0; guest_api::MAX_FILTER_BYTES + 8]).is_err());
    assert!(Filter::new(&vec![0; guest_api::MAX_FILTER_BYTES]).is_ok());
}
