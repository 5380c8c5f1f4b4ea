//! Several rkts that fetch, remove and collect the same images at once, in a random order that a seed repeats as far as
//! the kernel's scheduling allows.

use std::time::Duration;

use nix::mount::{MsFlags, mount};
use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{Finished, limit};
use rkt_tests::oci::{Image, Layer, Layout};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{NAME, files_below};
use crate::store_crash::{expect_no_unfinished_files, expect_whole_files};

const ROUNDS: u64 = 100;
/// Processes at once.
const PROCESSES: u64 = 3;
/// To run the rounds of one that failed again.
const SEED_VARIABLE: &str = "RKT_TEST_SEED";

/// What one process may be asked to do.
struct Commands {
    fetches: Vec<Vec<String>>,
    others: Vec<Vec<String>>,
}

impl Commands {
    /// An image of its own, and two of layers of which they share one.
    fn new(rkt: &TestRkt, layouts: &[Layout; 2]) -> Self {
        Aci::new(&aci::manifest(NAME)).file("rootfs/f", 0o644, &[7; 100_000]).write(&rkt.path("app.aci"));
        let references = layouts.each_ref().map(|layout| layout.reference("latest"));
        let images = ["./app.aci", references[0].as_str(), references[1].as_str()];
        let fetch = |image: &str| words(&["--insecure-options=image", "fetch", image]);
        let others = [
            &["image", "rm", NAME][..],
            &["image", "gc", "--grace-period=0s"],
            &["image", "gc", "--grace-period=1h"],
            &["image", "list"],
            &["image", "cat-manifest", NAME],
        ];
        Self { fetches: images.map(fetch).into(), others: others.map(words).into() }
    }

    fn choose(&self, random: u64) -> &[String] {
        let list = if random.is_multiple_of(2) { &self.fetches } else { &self.others };
        &list[(random / 2) as usize % list.len()]
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn layouts() -> [Layout; 2] {
    let layer = |name: &str| Layer::new(&Aci::empty().file(name, 0o644, name.as_bytes()));
    ["own0", "own1"].map(|own| Layout::of(&Image::new([layer("shared"), layer(own)])))
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The one failure that another process explains: the image went while it was being used.
fn is_explained(output: &Finished) -> bool {
    let gone =
        ["is not in the store", "not found in the store", "cannot find", "no image IDs found", "not found"];
    output.code() == RKT_FAILED && gone.iter().any(|text| output.err().contains(text))
}

#[test]
fn images_fetched_removed_and_collected_at_once_are_whole_or_absent() {
    let rkt = TestRkt::new();
    // Syncs of a disk would take most of the time.
    mount(Some("tmpfs"), &rkt.data(), Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    let layouts = layouts();
    let commands = Commands::new(&rkt, &layouts);
    let given = std::env::var(SEED_VARIABLE).ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));

    let mut state = seed;
    for round in 0..ROUNDS {
        let mut running = Vec::new();
        for _ in 0..PROCESSES {
            let command = commands.choose(random(&mut state));
            running.push((command, rkt.start(command)));
            std::thread::sleep(Duration::from_micros(random(&mut state) % 20_000));
        }
        for (command, process) in running {
            let output = process.finish(limit(60));
            assert!(
                output.code() == 0 || is_explained(&output),
                "seed {seed}, round {round}: {command:?} {output:?}"
            );
        }
        expect_whole_files(&rkt);
        expect_no_unfinished_files(&rkt);
    }

    for command in &commands.fetches {
        rkt.run(command).expect_code(0);
    }
    rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);
    let left: Vec<_> = ["blob", "imageManifest", "layer", "imagelocks", "tmp"]
        .iter()
        .flat_map(|name| files_below(&rkt.data().join("cas").join(name)))
        .collect();
    assert!(left.is_empty(), "something is in the store that nobody can remove: {left:?}");
}
