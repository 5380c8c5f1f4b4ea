//! Several stores over one directory, used at once in a random order that a seed repeats as far as threads allow.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha512};

use super::test_place::{Place, diff_id, files_below, image, import_layered, layer};
use super::{ImageStore, Import, Key, StoreError};

const INTERLEAVINGS: u64 = 1000;
const THREADS: u64 = 3;
const STEPS: usize = 2;
/// To run one that failed again.
const SEED_VARIABLE: &str = "RKT_TEST_SEED";

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

struct Subjects {
    images: [Vec<u8>; 2],
    shared: Vec<u8>,
    own: [Vec<u8>; 2],
}

impl Subjects {
    fn new() -> Self {
        Self {
            images: ["a.com/plain0", "a.com/plain1"].map(image),
            shared: layer(b"shared"),
            own: [layer(b"own0"), layer(b"own1")],
        }
    }

    /// What one thread does in one step. Only what another thread's removal explains may fail.
    fn step(&self, store: &ImageStore, random: &mut Random) {
        let which = random.below(2) as usize;
        match random.below(8) {
            0 | 1 => {
                store.import(&self.images[which][..], &Import::default()).unwrap();
            }
            2 | 3 => {
                let layers: [&[u8]; 2] = [&self.shared, &self.own[which]];
                import_layered(store, &format!("a.com/layered{which}"), &layers).unwrap();
            }
            4 => {
                let half = &self.images[which][..1000];
                assert!(store.import(half, &Import::default()).is_err());
                let layers = store.layers().unwrap();
                if let Some(import) = layers.begin(&diff_id(&self.own[which])).unwrap() {
                    assert!(matches!(import.write(half), Err(StoreError::WrongLayer { .. })));
                }
            }
            5 => {
                let name = ["plain0", "plain1", "layered0", "layered1"][random.below(4) as usize];
                let name = format!("a.com/{name}").parse().unwrap();
                if let Some(key) = store.get_by_name(&name, &Default::default()).unwrap() {
                    match read_whole(store, &key) {
                        Ok(()) | Err(StoreError::NoImage(_) | StoreError::NoLayer(_)) => {}
                        Err(e) => panic!("{key} was found and cannot be read: {e}"),
                    }
                }
            }
            6 => {
                let images = store.images().unwrap();
                if !images.is_empty() {
                    let image = &images[random.below(images.len() as u64) as usize];
                    match store.remove(&image.key) {
                        Ok(removed) => assert!(!removed.stale_files),
                        Err(e) => assert!(matches!(e, StoreError::NoKey), "{e}"),
                    }
                }
            }
            _ => {
                let grace = Duration::from_secs(random.below(2) * 60);
                assert!(!store.collect_images(grace, &HashSet::new()).unwrap().stale_files);
            }
        }
    }
}

/// Reads an image and its layers to their ends, hashing them.
fn read_whole(store: &ImageStore, key: &Key) -> Result<(), StoreError> {
    let mut content = Vec::new();
    store.read(key)?.read_to_end(&mut content).unwrap();
    assert_eq!(Key::of(Sha512::new_with_prefix(&content)), *key, "a blob is not what its name says");
    store.manifest(key)?;
    for layer in store.layers_of(key)? {
        // Reading to the end compares the hash.
        store.open_layer(&layer)?.read_to_end(&mut Vec::new()).unwrap();
    }
    Ok(())
}

fn run(place: &Place, subjects: &Subjects, seed: u64) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let store = ImageStore::open(place.data_dir()).unwrap();
                let mut random = Random(seed.wrapping_mul(THREADS).wrapping_add(thread));
                (0..STEPS).for_each(|_| subjects.step(&store, &mut random));
            });
        }
    });
    for image in place.store.images().unwrap() {
        read_whole(&place.store, &image.key).unwrap();
    }
    assert_eq!(files_below(&place.cas(), &["tmp"]), Vec::<String>::new(), "a failed import left something");
}

#[test]
fn what_is_found_is_whole_in_a_thousand_interleavings() {
    // A write of the database takes two syncs: tens of milliseconds on a disk.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { Place::below(memory) } else { Place::new() };
    let subjects = Subjects::new();
    let given = std::env::var(SEED_VARIABLE).ok().map(|seed| seed.parse::<u64>().unwrap());
    let first = given.unwrap_or_else(|| u64::from(std::process::id()) * INTERLEAVINGS);
    let count = if given.is_some() { 1 } else { INTERLEAVINGS };
    for seed in first..first + count {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&place, &subjects, seed)));
        assert!(outcome.is_ok(), "interleaving {seed} failed: run it again with {SEED_VARIABLE}={seed}");
    }
    place.store.collect_images(Duration::ZERO, &HashSet::new()).unwrap();
    assert_eq!(place.files(), Vec::<String>::new(), "something is in the store that nobody can remove");
}
