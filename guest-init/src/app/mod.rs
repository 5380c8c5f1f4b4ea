//! One app: from its specification to its running process.
//!
//! Responsible for: what an app, or a command in it, finds when it starts (root file system, user, program, stdio). Must
//! not know: other apps, the control connection. Follows rkt-reference 6.1-6.5.

pub mod cgroup;
pub mod descriptors;
pub mod input;
pub mod limits;
pub mod lookup;
pub mod mount;
pub mod notify;
pub mod output;
pub mod protection;
pub mod pty;
pub mod report;
pub mod rights;
pub mod root;
pub mod root_dir;
pub mod seccomp;
pub mod start;
pub mod users;

#[cfg(test)]
mod cgroup_test;
#[cfg(test)]
mod input_test;
#[cfg(test)]
mod lookup_test;
#[cfg(test)]
mod notify_test;
#[cfg(test)]
mod output_test;
#[cfg(test)]
mod pty_test;
#[cfg(test)]
mod report_test;
#[cfg(test)]
mod root_dir_test;
#[cfg(test)]
mod seccomp_test;
#[cfg(test)]
mod users_test;

/// What the last request of the C library failed with.
pub fn last_errno() -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(rustix::io::Errno::IO)
}
