//! Replays what fuzzing found worth keeping, and a fixed sequence of small damages to each of it.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

/// Damaged copies of each input.
const DAMAGES: u64 = 64;

/// A reproducible sequence (SplitMix64).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from(z ^ (z >> 31)).unwrap()
    }
}

fn damaged(input: &[u8], seed: u64) -> Vec<u8> {
    let mut sequence = Sequence(seed);
    let mut bytes = input.to_vec();
    for _ in 0..=sequence.next() % 4 {
        let at = sequence.next() % (bytes.len() + 1);
        match sequence.next() % 4 {
            0 if at < bytes.len() => bytes[at] = sequence.next().to_le_bytes()[0],
            1 => bytes.truncate(at),
            2 => bytes.insert(at, sequence.next().to_le_bytes()[0]),
            _ => {
                let piece = bytes[at / 2..at].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn every_corpus_is_replayed_without_a_panic() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, act) in rkt_fuzz::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpora.join(name)).expect("each target has a corpus") {
            let input = fs::read(entry.unwrap().path()).unwrap();
            act(&input);
            (0..DAMAGES).for_each(|seed| act(&damaged(&input, seed)));
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}
