//! Several rkt processes at one store: they fetch, remove, collect, list and run the same images in a random order, and
//! are killed at random moments. Whatever the order, what is in the store is what its name says, and no command fails
//! but for a reason that another one gave it.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use rkt_tests::aci::{self, Aci};
use rkt_tests::cas;
use rkt_tests::command::{Finished, limit};
use rkt_tests::oci::{Image, Layer, Layout, Packing};
use rkt_tests::random::Random;
use rkt_tests::registry::Registry;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{self, run_arguments};

/// How many commands run in all, and how many at a time.
const COMMANDS: usize = 1000;
const PROCESSES: usize = 4;

/// How often a fetch is killed.
const KILLS: usize = 30;

/// Everything that the commands work on.
struct Subjects {
    rkt: TestRkt,
    /// What to fetch.
    sources: Vec<String>,
    /// The images' names.
    names: Vec<String>,
}

impl Subjects {
    /// Two ACIs and two images in a registry that share a layer.
    fn new(registry: &Registry) -> Self {
        let rkt = publisher::rkt();
        // Syncs of a disk would take most of the time.
        mount(Some("tmpfs"), &rkt.data(), Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
        let mut subjects = Self { rkt, sources: Vec::new(), names: Vec::new() };
        for number in 0..2 {
            let name = format!("example.com/aci{number}");
            let image = Aci::new(&aci::manifest(&name)).file("rootfs/app", 0o755, name.as_bytes());
            let path = subjects.rkt.path(&format!("aci{number}.aci"));
            image.write(&path);
            subjects.add(format!("{}", path.display()), name);

            let layout = Layout::of(&layered(number));
            let name = format!("layered{number}");
            registry.push(&layout.reference("latest"), &format!("{name}:latest"));
            subjects.add(registry.reference(&name), format!("{}/{name}", registry.host().replace(':', "_")));
        }
        subjects
    }

    fn add(&mut self, source: String, name: String) {
        self.sources.push(source);
        self.names.push(name);
    }

    /// One command, chosen at random.
    fn step(&self, random: &mut Random) {
        let which = random.below(self.sources.len());
        let (source, name) = (&self.sources[which], &self.names[which]);
        match random.below(20) {
            // Between fetching and rendering, it may have been removed.
            0..8 => or_gone(self.fetch(source)),
            8..11 => or_gone(self.rkt.run(["image", "rm", name])),
            11..13 => fine(self.rkt.run(["image", "gc", "--grace-period=0s"])),
            13..16 => fine(self.rkt.run(["image", "list"])),
            16..19 => or_gone(self.rkt.run(["image", "cat-manifest", name])),
            _ => or_gone(self.rkt.run(run_arguments(&["--insecure-options=image,http", source]))),
        }
    }

    fn fetch(&self, source: &str) -> Finished {
        self.rkt.run(["fetch", "--insecure-options=image,http", source])
    }
}

/// An image whose lower layer is the same whatever the number.
fn layered(number: usize) -> Image {
    let lower = Aci::empty().directory("etc", 0o755).file("etc/shared", 0o644, b"shared");
    let upper = Aci::empty().file("app", 0o755, format!("#!/bin/sh\necho {number}\n").as_bytes());
    Image::new([Layer::new(&lower), Layer::new(&upper).packed(Packing::Zstd)])
}

#[track_caller]
fn fine(output: Finished) {
    output.expect_code(0);
}

/// The command may have found that another one had removed the image.
#[track_caller]
fn or_gone(output: Finished) {
    let gone = ["cannot find", "is not in the store", "no image IDs found"]
        .iter()
        .any(|text| output.err().contains(text));
    assert!(output.code() == 0 || (output.code() == RKT_FAILED && gone), "{output:?}");
}

#[test]
fn a_thousand_commands_at_once_leave_a_store_that_can_be_believed() {
    let (registry, mut random) = (Registry::http(), Random::new());
    let subjects = Subjects::new(&registry);

    thread::scope(|scope| {
        for _ in 0..PROCESSES {
            let (mut random, subjects) = (random.fork(), &subjects);
            scope.spawn(move || (0..COMMANDS / PROCESSES).for_each(|_| subjects.step(&mut random)));
        }
    });

    cas::check(&subjects.rkt.data());
    for source in &subjects.sources {
        fine(subjects.fetch(source));
        fine(subjects.rkt.run(run_arguments(&["--insecure-options=image,http", source])));
    }
    cas::check(&subjects.rkt.data());
    assert_eq!(cas::files(&subjects.rkt.data().join("cas/tmp")), Vec::<PathBuf>::new());
}

#[test]
fn a_fetch_that_is_killed_is_gone_on_with_and_nothing_half_stored_is_believed() {
    let (registry, rkt, mut random) = (Registry::http(), TestRkt::new(), Random::new());
    let layer = |random: &mut Random| Layer::new(&Aci::empty().file("file", 0o644, &random.bytes(3 << 20)));
    let image = Image::new((0..6).map(|_| layer(&mut random)).collect::<Vec<_>>());
    let reference = registry.reference("app");
    registry.push(&Layout::of(&image).reference("latest"), "app:latest");
    let arguments = ["fetch", "--insecure-options=image,http", &reference];
    let started = Instant::now();
    fine(TestRkt::new().run(arguments));
    let whole = started.elapsed();

    for _ in 0..KILLS {
        let fetch = rkt.start(arguments);
        thread::sleep(random.up_to(whole.mul_f64(0.7)));
        fetch.send(Signal::SIGKILL);
        fetch.finish(limit(20));

        cas::check(&rkt.data());
        let before = registry.blobs_sent().len();
        let stored = cas::layers(&rkt.data());
        let output = rkt.run(["image", "list", "--no-legend"]).expect_code(0);
        // What a killed fetch has finished serves the next one.
        if random.below(4) == 0 {
            fine(rkt.run(arguments));
            let sent = registry.blobs_sent().split_off(before);
            let again = image.layers.iter().filter(|layer| stored.contains(&layer.diff_id()));
            let again: Vec<String> =
                again.map(Layer::digest).filter(|digest| sent.contains(digest)).collect();
            assert!(again.is_empty(), "sent again: {again:?}");
            rkt.run(["image", "rm", &format!("{}/app", registry.host().replace(':', "_"))]).expect_code(0);
        } else {
            let listed = output.out();
            assert!(listed.is_empty() || stored.len() == image.layers.len(), "{listed} with {stored:?}");
        }
    }
    fine(rkt.run(arguments));
    cas::check(&rkt.data());
    fine(rkt.run(["image", "gc", "--grace-period=0s"]));
    assert_eq!(cas::files(&rkt.data().join("cas/tmp")), Vec::<PathBuf>::new());
    assert!(whole > Duration::ZERO);
}
