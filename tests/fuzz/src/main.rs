//! One fuzzer for all targets: the environment says which. `cargo xtask fuzz` builds and starts it.

#![no_main]

use std::sync::LazyLock;

/// Set by `cargo xtask fuzz`.
const CHOICE: &str = "RKT_FUZZ_TARGET";

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let choice = std::env::var(CHOICE).unwrap_or_default();
    let target = rkt_fuzz::TARGETS.iter().find(|(name, _)| *name == choice);
    target.map_or_else(|| panic!("{CHOICE} names no target: {choice:?}"), |(_, act)| *act)
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
