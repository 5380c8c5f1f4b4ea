//! The fuzz targets by name.
//!
//! Responsible for: what there is to fuzz. Must not know: the fuzzer; each target is a function that panics when something is wrong, and
//! says whether the input came deep, which is where `cargo xtask fuzz --planted` plants a bug.

mod guest;
pub mod mutation;
mod texts;

/// A name, which is that of its corpus, and what is done with an input.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target: devices and registers, what the file server says and hears, the control connection, what apps say, images and where
/// they come from.
pub const TARGETS: &[Target] = &[
    ("registers", vmm::fuzzing::registers),
    ("ports", vmm::fuzzing::ports),
    ("io-apic", vmm::fuzzing::io_apic),
    ("rng", vmm::fuzzing::rng),
    ("balloon", vmm::fuzzing::balloon),
    ("vsock", vmm::fuzzing::vsock),
    ("net", vmm::fuzzing::net),
    ("net-headers", vmm::fuzzing::net_headers),
    ("kernel", vmm::fuzzing::kernel),
    ("file-server-answers", vmm::fuzzing::file_server_answers),
    ("file-server-requests", file_server::fuzzing::requests),
    ("guest-messages", stage1::fuzzing::guest_messages),
    ("tunnels", guest::tunnels),
    ("app-logs", guest::app_logs),
    ("app-files", guest::app_files),
    ("pod-plan", stage1::fuzzing::pod_plan),
    ("cni", texts::cni),
    ("manifests", texts::manifest),
    ("references", rkt::fuzzing::reference),
    ("archives", rkt::fuzzing::archive),
    ("compressed", rkt::fuzzing::compressed),
    ("registry", rkt::fuzzing::registry_response),
    ("image-signatures", rkt::fuzzing::image_signature),
    ("openpgp", rkt::fuzzing::openpgp),
    ("discovery", rkt::fuzzing::discovery),
    ("http-headers", rkt::fuzzing::http_headers),
    ("forms", rkt::fuzzing::form),
];
