//! What many idle pods cost together, beside as many of QEMU's microvms: 1, 10 and 50 of one virtual CPU and 128 MiB, with the same
//! kernel and program. Run by `cargo xtask bench density`.
//!
//! Times are from the first start to the last one's rest, all of them started at once; sizes are of a moment later, when the guests have
//! given back what they do not need, and proportional, so that what pods share counts once.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::env;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rkt_tests::dist;
use rkt_tests::footprint::{Footprint, IdlePod, IdleQemu, SETTLING};
use rkt_tests::rkt::TestRkt;

/// Pods at once.
const COUNTS: [usize; 3] = [1, 10, 50];
const SMOKE_COUNTS: [usize; 2] = [1, 3];

/// When nothing was heard of the others for so long, they hang. Short runs are by the wall clock.
const STALLED: Duration = Duration::from_secs(15);
const SMOKE_STALLED: Duration = Duration::from_secs(90);

/// How often is looked whether one rests.
const POLL: Duration = Duration::from_millis(2);

/// So many virtual machines at rest.
struct Crowd {
    seconds: f64,
    memory: Footprint,
}

fn main() {
    assert_eq!(
        kvm_machine::place(),
        kvm_machine::Place::Host,
        "run this through `cargo xtask bench density`"
    );
    let counts = if is_smoke() { &SMOKE_COUNTS[..] } else { &COUNTS[..] };
    let rkt = TestRkt::new();
    let image = dist::image("inspect");
    rkt.run(["--insecure-options=image", "fetch", image.to_str().expect("UTF-8")]).expect_code(0);
    let initramfs = IdleQemu::initramfs(&rkt);

    // The first pod renders the image for all that follow.
    pods(&rkt, 1);

    println!("machines        seconds         MiB each     beyond guests");
    for &count in counts {
        let pods = pods(&rkt, count);
        row("pods", count, &pods);
        let qemus = qemus(&initramfs, count);
        row("QEMU", count, &qemus);
        let memory = pods.memory.mebibytes() / qemus.memory.mebibytes();
        println!("ratio {count} time {:.2} memory {memory:.2}", pods.seconds / qemus.seconds);
    }
}

fn is_smoke() -> bool {
    env::args().any(|argument| argument == "--smoke")
}

fn pods(rkt: &TestRkt, count: usize) -> Crowd {
    let start = |number: usize| IdlePod::start(rkt, &format!("idle-{number}"));
    let (seconds, pods) = crowd(count, start, IdlePod::rests, IdlePod::kill);
    let memory = pods.iter().flat_map(IdlePod::footprints).sum();
    pods.into_iter().for_each(IdlePod::end);
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    Crowd { seconds, memory }
}

fn qemus(initramfs: &Path, count: usize) -> Crowd {
    let (seconds, machines) = crowd(count, |_| IdleQemu::start(initramfs), IdleQemu::rests, IdleQemu::end);
    let memory = machines.iter().map(IdleQemu::footprint).sum();
    machines.into_iter().for_each(IdleQemu::end);
    Crowd { seconds, memory }
}

/// Starts so many, and waits until they have settled. Returns also how long it was until the last one rested.
///
/// The emulator stops a guest for good now and then (tests/machine): such a one is replaced when the others rest, and is in no time.
fn crowd<M>(
    count: usize,
    start: impl Fn(usize) -> M,
    rests: impl Fn(&M) -> bool,
    kill: impl Fn(M),
) -> (f64, Vec<M>) {
    let started = Instant::now();
    let mut machines: Vec<(usize, M)> = (0..count).map(|number| (number, start(number))).collect();
    let mut resting = Vec::new();
    let (mut last, mut seconds) = (started, None);
    while !machines.is_empty() {
        let (quiet, busy): (Vec<_>, Vec<_>) = machines.into_iter().partition(|(_, machine)| rests(machine));
        machines = busy;
        if !quiet.is_empty() {
            last = Instant::now();
            resting.extend(quiet.into_iter().map(|(_, machine)| machine));
        } else if last.elapsed() > if is_smoke() { SMOKE_STALLED } else { STALLED } {
            println!("{} of {count} stand still and are started once more", machines.len());
            seconds.get_or_insert((last - started).as_secs_f64());
            machines = machines
                .into_iter()
                .map(|(number, machine)| {
                    kill(machine);
                    (number, start(number))
                })
                .collect();
            last = Instant::now();
        }
        thread::sleep(POLL);
    }
    thread::sleep(SETTLING);
    (seconds.unwrap_or((last - started).as_secs_f64()), resting)
}

fn row(name: &str, count: usize, crowd: &Crowd) {
    let each = crowd.memory.mebibytes() / count as f64;
    let beyond = crowd.memory.rest as f64 / f64::from(1 << 20) / count as f64;
    println!("{count:>3} {name:<8} {:>10.2} {each:>16.1} {beyond:>17.1}", crowd.seconds);
}
