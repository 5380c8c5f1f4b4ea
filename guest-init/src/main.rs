//! PID 1 of a pod's VM.
//!
//! Responsible for: the order in which an anonymous VM becomes a pod. Must not know: how any of the steps is done.
//! Follows docs/architecture.md, "Inside the VM".
//!
//! There is no Rust `main`: before it, the standard library opens /dev/null for standard descriptors that are closed and
//! aborts if it cannot. PID 1 starts with all of them closed when the VM has no console, and without a /dev/null.

#![no_main]

use std::ffi::{c_char, c_int};

use guest_api::{Destination, Hello, PROTOCOL_VERSION, PodSpec, ToGuest, ToHost};
use guest_init::app::limits;
use guest_init::control::Control;
use guest_init::{
    InitError, console, control, identity, loopback, metadata_service, mounts, network, reap, sentence,
    shutdown, supervise,
};
use nix::sys::signalfd::SignalFd;
use tunnels::{Side, Tunnels};

/// Where the C library's start code goes.
// SAFETY: the one `main` of this executable, with the signature the C library calls.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argument_count: c_int, _arguments: *const *const c_char) -> c_int {
    if std::process::id() != 1 {
        eprintln!("guest-init is PID 1 of a pod's VM and does nothing elsewhere; see rkt run");
        return libc::EXIT_FAILURE;
    }
    console::first_line();
    console::occupy_low_descriptors();
    shutdown::reset_on_panic();
    match Control::connect() {
        Ok(control) => boot(control),
        Err(error) => {
            console::say("no control connection");
            console::say(&sentence(&error));
            shutdown::reset()
        }
    }
}

fn boot(mut control: Control) -> ! {
    match become_pod(&mut control) {
        Ok((spec, signals, tunnels)) => supervise::run(&spec, control, signals, tunnels),
        Err(error) => shutdown::fail(control, &error),
    }
}

fn become_pod(control: &mut Control) -> Result<(PodSpec, SignalFd, Tunnels), InitError> {
    say_hello(control)?;
    // The host composes its answer meanwhile.
    mounts::leave_initial_root()?;
    mounts::mount_kernel_file_systems()?;
    loopback::bring_up()?;
    let signals = reap::listen()?;
    limits::raise_own().map_err(InitError::kernel("raise the limit on descriptors"))?;
    let mut spec = configuration(control)?;
    identity::assume(&mut spec.identity)?;
    network::configure(&spec.network)?;
    mounts::mount_share()?;
    // Before any app could take its place.
    let mut tunnels = Tunnels::new(Side::Guest);
    if spec.metadata_service {
        tunnels
            .listen(Destination::MetadataService, metadata_service::listen()?)
            .map_err(InitError::kernel("wait for connections to the metadata service"))?;
    }
    Ok((spec, signals, tunnels))
}

fn say_hello(control: &mut Control) -> Result<(), InitError> {
    let kernel_release = rustix::system::uname().release().to_string_lossy().into_owned();
    control.queue(&ToHost::Hello(Hello { protocol: PROTOCOL_VERSION, kernel_release }));
    control.flush()
}

/// The one message that everything else follows from.
fn configuration(control: &mut Control) -> Result<PodSpec, InitError> {
    match control.wait_for_message()? {
        ToGuest::Configure(spec) => distinct(spec),
        other => Err(InitError::UnexpectedMessage(control::name(&other))),
    }
}

/// Every later message names an app by its number alone.
fn distinct(spec: PodSpec) -> Result<PodSpec, InitError> {
    let numbers: std::collections::BTreeSet<_> = spec.apps.iter().map(|app| app.id).collect();
    if numbers.len() == spec.apps.len() {
        Ok(spec)
    } else {
        Err(InitError::Specification("two apps have the same number".to_owned()))
    }
}
