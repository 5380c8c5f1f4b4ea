//! One app: from its specification to its running process.
//!
//! Responsible for: what an app finds when it starts (root file system, user, program, stdio). Must not know: other
//! apps, the control connection. Follows rkt-reference 6.1-6.5.

pub mod cgroup;
pub mod lookup;
pub mod mount;
pub mod root;
pub mod root_dir;
pub mod start;
pub mod stdio;
pub mod users;

#[cfg(test)]
mod lookup_test;
#[cfg(test)]
mod root_dir_test;
#[cfg(test)]
mod stdio_test;
#[cfg(test)]
mod users_test;
