//! One fuzzer for all targets: the environment says which, and whether a bug is planted in it. `cargo xtask fuzz` builds and starts it.

#![no_main]

use std::sync::LazyLock;

/// Set by `cargo xtask fuzz`.
const CHOICE: &str = "RKT_FUZZ_TARGET";
/// With this, an input that comes deep is one that shows a bug.
const PLANTED: &str = "RKT_FUZZ_PLANTED";

static TARGET: LazyLock<(fn(&[u8]) -> bool, bool)> = LazyLock::new(|| {
    let choice = std::env::var(CHOICE).unwrap_or_default();
    let target = rkt_fuzz::TARGETS.iter().find(|(name, _)| *name == choice);
    let target = target.map_or_else(|| panic!("{CHOICE} names no target: {choice:?}"), |(_, act)| *act);
    (target, std::env::var_os(PLANTED).is_some())
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (target, planted) = *TARGET;
    let deep = target(data);
    assert!(!(planted && deep), "the planted bug");
});
