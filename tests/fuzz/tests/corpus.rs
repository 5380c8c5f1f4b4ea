//! Replays what fuzzing found worth keeping, and a fixed sequence of small damages to each of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

use rkt_fuzz::mutation::{Sequence, damaged};

/// Damaged copies of each input.
const DAMAGES: u64 = 16;

#[test]
fn every_corpus_is_replayed_without_a_panic_and_no_seed_shows_a_planted_bug() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, act) in rkt_fuzz::TARGETS {
        let (mut inputs, mut seeds) = (0, 0);
        let mut last = Vec::new();
        for entry in fs::read_dir(corpora.join(name)).expect("each target has a corpus") {
            let entry = entry.unwrap();
            let input = fs::read(entry.path()).unwrap();
            let deep = act(&input);
            // `cargo xtask fuzz --planted` starts from these.
            let is_seed = entry.file_name().to_string_lossy().starts_with("seed-");
            assert!(!(deep && is_seed), "{name}: {:?} shows the planted bug", entry.file_name());
            seeds += usize::from(is_seed);
            for seed in 0..DAMAGES {
                act(&damaged(&input, &last, &mut Sequence(seed)));
            }
            last = input;
            inputs += 1;
        }
        assert!(inputs > 0 && seeds > 0, "{name}: {inputs} inputs, {seeds} of them written by hand");
    }
}
