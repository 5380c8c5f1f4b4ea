//! rkt stage1: runs a pod in a virtual machine.
//!
//! A library so that fuzz targets reach what reads a guest's bytes; the program is `main.rs`. Nothing of the product links it: stage0
//! and stage1 meet in the stage1 ABI alone.
//!
//! Responsible for: choosing the entrypoint by argv\[0\], printing its failure, ending with its exit code. Must not know: what
//! entrypoints do. Follows rkt-reference 4.1: one file of the image, several names.

mod activation;
mod app_end;
mod app_root;
mod apps;
mod attachments;
mod control;
mod control_socket;
mod deadline;
mod device_nodes;
mod diagnostics;
mod entrypoints;
mod environment;
mod error;
mod escapes;
mod exit;
mod fault;
mod file_server;
mod flags;
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod guest;
mod host_clock;
mod hypervisor_options;
mod isolation;
mod jail;
mod journal;
mod kubernetes_log;
mod kvm_device;
mod lifecycle;
mod line_cutter;
mod log_files;
mod logs;
mod metrics;
mod name_files;
mod network;
mod output;
mod plan;
mod pod_directory;
mod port_forwarder;
mod prefill;
mod process;
mod runtime_config;
mod seccomp;
mod service_manager;
mod shares;
mod signals;
mod sink;
mod sizing;
mod status;
mod stdio;
mod streams;
mod supervisor;
mod terminal;
mod users;
mod vmm_process;
mod volumes;

#[cfg(test)]
mod activation_test;
#[cfg(test)]
mod app_end_test;
#[cfg(test)]
mod app_root_test;
#[cfg(test)]
mod apps_test;
#[cfg(test)]
mod control_test;
#[cfg(test)]
mod deadline_test;
#[cfg(test)]
mod diagnostics_test;
#[cfg(test)]
mod environment_test;
#[cfg(test)]
mod escapes_test;
#[cfg(test)]
mod exit_test;
#[cfg(test)]
mod file_server_test;
#[cfg(test)]
mod flags_test;
#[cfg(test)]
mod guest_test;
#[cfg(test)]
mod hypervisor_options_test;
#[cfg(test)]
mod isolation_test;
#[cfg(test)]
mod jail_escape_test;
#[cfg(test)]
mod jail_test;
#[cfg(test)]
mod journal_test;
#[cfg(test)]
mod kubernetes_log_test;
#[cfg(test)]
mod kvm_device_test;
#[cfg(test)]
mod lifecycle_test;
#[cfg(test)]
mod log_files_test;
#[cfg(test)]
mod name_files_test;
#[cfg(test)]
mod output_test;
#[cfg(test)]
mod plan_test;
#[cfg(test)]
mod port_forwarder_test;
#[cfg(test)]
mod prefill_test;
#[cfg(test)]
mod process_test;
#[cfg(test)]
mod runtime_config_test;
#[cfg(test)]
mod service_manager_test;
#[cfg(test)]
mod shares_test;
#[cfg(test)]
mod sink_test;
#[cfg(test)]
mod sizing_test;
#[cfg(test)]
mod stdio_test;
#[cfg(test)]
mod streams_test;
#[cfg(test)]
mod users_test;
#[cfg(test)]
mod volumes_test;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode as ProcessExitCode;

use control_socket::protocol::Request;
use error::EntrypointError;
use exit::ExitCode;
use flags::{AppFlags, AttachFlags, EnterFlags, GcFlags, RunFlags, StopFlags};

/// Runs the entrypoint that argv\[0\] names.
pub fn main() -> ProcessExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let own = arguments.iter().take_while(|argument| *argument != "--");
    let debug =
        own.filter_map(|argument| argument.to_str()).any(|it| it == "--debug" || it == "--debug=true");
    process::report_panics_of_children();
    terminal::restore_on_panic();
    let code = dispatch(name, &program, arguments).unwrap_or_else(|error| {
        diagnostics::complain(subsystem(name), &error, debug);
        ExitCode::RKT_FAILED
    });
    ProcessExitCode::from(code.0)
}

fn dispatch(name: &str, program: &OsStr, arguments: Vec<OsString>) -> Result<ExitCode, EntrypointError> {
    let texts = || arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    match name {
        "init" => entrypoints::run::run(&RunFlags::parse(texts())?),
        "gc" => entrypoints::gc::run(&GcFlags::parse(texts())?),
        "attach" => entrypoints::attach::run(&AttachFlags::parse(texts())?),
        "enter" => entrypoints::enter::run(EnterFlags::parse(arguments)?),
        "metrics" => entrypoints::metrics::run(),
        "stop" => entrypoints::stop::run(&StopFlags::parse(texts())?),
        "app_add" => entrypoints::app::run(AppFlags::parse(texts())?, Request::AddApp),
        "app_start" => entrypoints::app::run(AppFlags::parse(texts())?, Request::StartApp),
        "app_stop" => entrypoints::app::run(AppFlags::parse(texts())?, Request::StopApp),
        "app_rm" => entrypoints::app::run(AppFlags::parse(texts())?, Request::RemoveApp),
        _ => Err(EntrypointError::UnknownEntrypoint(program.to_string_lossy().into_owned())),
    }
}

/// Prefix of the entrypoint's failure: `attach`, `enter` and `stop` speak to a person about the command that the person gave.
fn subsystem(name: &str) -> &str {
    match name {
        "attach" | "enter" | "metrics" | "stop" => name,
        _ => diagnostics::STAGE1,
    }
}
