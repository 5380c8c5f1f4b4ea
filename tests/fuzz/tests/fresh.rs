//! New inputs with every run: other damages than those of the run before.
//!
//! `RKT_FUZZ_SEED=N` repeats a run, as far as time goes.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rkt_fuzz::mutation::{Sequence, damaged};
use rkt_fuzz::{TARGETS, Target};
use rustix::time::{ClockId, clock_gettime};

/// Processor time of all targets together: what a test run can spare.
const BUDGET: Duration = Duration::from_secs(60);
/// Inputs between two looks at the clock.
const STEP: u64 = 64;
const SEED: &str = "RKT_FUZZ_SEED";

/// Processor time that this thread has used.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(seed) => seed.parse().expect("the seed is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into(),
    }
}

fn inputs(name: &str) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(corpus).expect("each target has a corpus").map(|entry| entry.unwrap().path()).collect();
    // Or a seed would mean something else on another file system.
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What whoever sees nothing but what a test has printed can make a file of: `xxd -r -p`.
fn hex(input: &[u8]) -> String {
    input.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a target for a while. Says how many inputs it had, or which one it did not survive.
fn run((name, act): Target, seed: u64, time: Duration) -> Result<u64, String> {
    let corpus = inputs(name);
    let until = used() + time;
    let mut sequence = Sequence(seed);
    let mut count = 0_u64;
    while !count.is_multiple_of(STEP) || used() < until {
        let input = &corpus[sequence.below(corpus.len())];
        let other = &corpus[sequence.below(corpus.len())];
        let input = damaged(input, other, &mut sequence);
        if catch_unwind(AssertUnwindSafe(|| act(&input))).is_err() {
            return Err(format!("{name}: input {count} of seed {seed}: {}", hex(&input)));
        }
        count += 1;
    }
    Ok(count)
}

#[test]
fn new_inputs_of_every_run_are_survived() {
    let seed = seed();
    println!("{SEED}={seed}");
    let time = BUDGET / u32::try_from(TARGETS.len()).unwrap();
    let waiting = Mutex::new(TARGETS.iter().copied());
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(target) = waiting.lock().unwrap().next() else { break };
                    match run(target, seed, time) {
                        Ok(count) => println!("{}: {count} inputs", target.0),
                        Err(what) => found.lock().unwrap().push(what),
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
