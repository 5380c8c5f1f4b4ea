//! Pods on disk: where they are, what state they are in, how they move from one state to the next.
//!
//! Responsible for: pod directories, their locks and names, everything `rkt` writes into them. Must not know: how
//! images are fetched, what stage1 does with a pod. Follows rkt-reference.md 2.1 to 2.7.

pub mod app_add;
pub mod app_files;
pub mod app_root;
pub mod app_start;
pub mod app_state;
pub mod assemble;
pub mod cgroup;
pub mod collect;
pub mod copy;
pub mod egress;
pub mod environment;
pub mod first_process;
pub mod inspect;
pub mod launch;
pub mod lifecycle;
pub mod locate;
pub mod lock;
pub mod log_file;
pub mod logs;
pub mod machine_size;
pub mod manifest;
pub mod memory;
pub mod metadata_service;
pub mod mounts;
pub mod name_files;
pub mod overlay;
pub mod ports;
pub mod prepare;
pub mod prepared;
pub mod remove;
pub mod report;
pub mod sandbox;
pub mod state;
pub mod stop;
pub mod user_range;
pub mod uuid_file;

#[cfg(test)]
mod copy_test;
#[cfg(test)]
mod lifecycle_test;
#[cfg(test)]
mod locate_test;
#[cfg(test)]
mod logs_test;
#[cfg(test)]
mod manifest_test;
#[cfg(test)]
mod name_files_test;
#[cfg(test)]
mod remove_test;
