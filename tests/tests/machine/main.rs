//! Tier machine: whole pods with our VMM, our kernel and our init. Run by `cargo xtask test machine`, in the KVM machine
//! where the host has no KVM of its own.
// The lints know tests by their attribute, not the functions that tests share.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod alone;
mod app_files;
mod clock;
mod concurrency;
mod confinement;
mod crash_points;
mod docker_images;
mod enter;
mod environment;
mod failures;
mod file_systems;
mod filters;
mod foreign_stage0;
mod groups;
mod hostile_apps;
mod hostile_guest;
mod interactive;
mod isolation;
mod life;
mod lifecycle;
mod logs;
mod memory;
mod metadata;
mod metrics;
mod mutable;
mod network;
mod network_cards;
mod network_plugins;
mod output;
mod pod;
mod ports;
mod processors;
mod redis;
mod seccomp;
mod socket_activation;
mod stdio;
mod stop;
mod tenants;
mod volumes;
mod walkthrough;
