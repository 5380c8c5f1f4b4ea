//! Tier host: everything of rkt that needs root but no virtual machine, with real gpg, real TLS and a stub stage1.
//! Run by `cargo xtask test host`.
// The lints know tests by their attribute, not the functions that tests share.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod api_churn;
mod api_client;
mod api_events;
mod api_images;
mod api_listen;
mod api_pods;
mod archives;
mod cat_manifest;
mod command_line;
mod completion;
mod concurrency;
mod config;
mod crash_points;
mod discovery;
mod disk_full;
mod dist;
mod docker;
mod enter;
mod export;
mod fetch;
mod formats;
mod group;
mod held_pod;
mod http;
mod image_commands;
mod image_gc;
mod image_output;
mod isolator_flags;
mod key_policy;
mod lying_registry;
mod manifests;
mod manual;
mod metadata_registration;
mod names;
mod pod_concurrency;
mod pod_flags;
mod pod_manifest;
mod pod_trouble;
mod pods;
mod ports;
mod prepare;
mod private_users;
mod publisher;
mod registries;
mod rendering;
mod resume;
mod signatures;
mod site;
mod states;
mod stop;
mod store_crash;
mod store_races;
mod trust;
