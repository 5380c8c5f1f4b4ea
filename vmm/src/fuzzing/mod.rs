//! Entry points of the fuzz targets in `tests/fuzz`: all that a guest, or a file server that fell, can say to the hypervisor.
//!
//! Responsible for: one function a target, which panics when something is wrong that must hold for every input. It returns whether the
//! input came deep: as far as the bug that `cargo xtask fuzz --planted` plants. Must not know: the fuzzer.

mod fs;
mod kernel;
mod machine;
mod net;
mod platform;
mod rings;
mod script;

pub use fs::file_server_answers;
pub use kernel::kernel;
pub use machine::registers;
pub use net::{Buffer, NetDriver, net, net_headers};
pub use platform::{io_apic, ports};
pub use rings::{balloon, rng, vsock};
