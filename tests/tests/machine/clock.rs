//! Time and randomness in a pod: right from an app's first instruction on, and right again after the machine stood still or the
//! host's clock was set.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{self, Signal};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use nix::unistd::Pid;
use rkt_tests::command::limit;

use crate::pod::{INSPECT, Pod, rkt, said};

/// How far the clocks may be apart. The host's is read before and after the guest's, so that it does not matter how long that
/// takes.
const TOLERANCE: Duration = Duration::from_secs(1);

/// For how long the machine stands still: a clock that does so too is far off.
const STOPPED: Duration = Duration::from_secs(6);

/// By how much the host's clock is set.
const SET_BY: Duration = Duration::from_secs(600);

fn host_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970")
}

/// What an app said of a clock or the generator.
#[track_caller]
fn value<'a>(output: &'a str, key: &str) -> &'a str {
    output.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {output:?}"))
}

fn is_between(guest: &str, before: Duration, after: Duration) -> bool {
    let guest = Duration::from_nanos(guest.parse().expect("nanoseconds"));
    before.saturating_sub(TOLERANCE) <= guest && guest <= after + TOLERANCE
}

/// Whether the guest's clock shows the host's time.
#[track_caller]
fn is_right(pod: &Pod) -> bool {
    let before = host_clock();
    let output = rkt().run(["enter", &pod.uuid, "/inspect", "print-clock"]).expect_code(0).out();
    is_between(value(&output, "clock="), before, host_clock())
}

#[track_caller]
fn wait_until_right(pod: &Pod) {
    let deadline = Instant::now() + limit(5);
    while !is_right(pod) {
        assert!(Instant::now() < deadline, "the guest does not follow the host's clock");
    }
}

/// Sets the host's clock, and sets it back.
struct Forward(Duration);

impl Forward {
    fn by(time: Duration) -> Self {
        set_host_clock(|now| now + TimeSpec::from_duration(time));
        Self(time)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        set_host_clock(|now| now - TimeSpec::from_duration(self.0));
    }
}

fn set_host_clock(change: impl Fn(TimeSpec) -> TimeSpec) {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("the time");
    clock_settime(ClockId::CLOCK_REALTIME, change(now)).expect("setting the clock");
}

#[test]
fn an_apps_first_instructions_find_the_time_and_randomness_that_no_other_pod_has() {
    let steps = ["print-random", "print-clock"];
    let mut random = BTreeSet::new();

    for _ in 0..2 {
        let before = host_clock();
        let output = Pod::start(&[&[INSPECT, "--"], &steps[..]].concat()).finish().expect_code(0);
        let after = host_clock();

        let said = said(&output.stdout, "inspect").join("\n");
        assert!(
            is_between(value(&said, "clock="), before, after),
            "{said}, not within {before:?} to {after:?}"
        );
        random.insert(value(&said, "random=").to_owned());
    }
    assert_eq!(random.len(), 2, "{random:?}");
}

#[test]
fn the_clock_is_right_after_the_machine_stood_still_and_after_the_hosts_clock_was_set() {
    let mut pod = Pod::start(&["--debug", INSPECT, "--", "print-msg", "up", "sleep", "100000"]);
    pod.wait_for("up");
    assert!(is_right(&pod));

    let mut processes: Vec<Pid> = pod.helpers().into_iter().map(|(pid, _)| pid).collect();
    processes.insert(0, pod.running().pid());
    processes.iter().for_each(|pid| signal::kill(*pid, Signal::SIGSTOP).expect("it runs"));
    thread::sleep(STOPPED);
    processes.iter().for_each(|pid| signal::kill(*pid, Signal::SIGCONT).expect("it is there"));
    assert!(is_right(&pod), "after a stop");

    let forward = Forward::by(SET_BY);
    wait_until_right(&pod);
    drop(forward);
    wait_until_right(&pod);

    rkt().run(["stop", "--force", &pod.uuid]).expect_code(0);
    let output = pod.finish();
    assert!(!output.err().contains("stall"), "{}", output.err());
}
