//! What a pod counts, and when it came how far.
//!
//! Responsible for: the numbers of all of a pod's processes as Prometheus' text, and the times of its phases. Must not know: how they
//! get to whoever asks (`control_socket`), who asks. Follows docs/metrics.md and Prometheus' text format 0.0.4.

use std::fmt::Write;
use std::fs;

use uuid::Uuid;
use vmm::metrics::{Counter, Mark, monotonic_ns};
use vmm::{ConsoleTail, Metrics};

/// `CLOCK_MONOTONIC`, in nanoseconds, of when the user's command began.
const STARTED_VARIABLE: &str = "RKT_STARTED_NS";

/// How far the pod came, in the order in which it does. What the machine marks lies between `networks` and `init`.
#[derive(Debug, Default)]
pub struct Marks {
    /// stage1 was executed.
    pub stage1: Mark,
    /// The pod's networks are there.
    pub networks: Mark,
    /// guest-init has called.
    pub init: Mark,
    /// The first app's program was executed.
    pub app: Mark,
    /// The first byte of an app was handed on.
    pub first_byte: Mark,
    /// The pod's end.
    pub exit: Mark,
}

/// What the supervisor counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages of the guest's.
    pub messages: Counter,
    /// Bytes that apps wrote.
    pub output_bytes: Counter,
    /// Requests over the control socket.
    pub requests: Counter,
}

/// All numbers of a pod.
#[derive(Debug)]
pub struct PodMetrics {
    /// When the user's command began.
    begun_ns: u64,
    machine: &'static Metrics,
    /// How far the pod came.
    pub marks: Marks,
    /// What the supervisor counts.
    pub counts: Counts,
}

/// A process of the pod's on the host.
#[derive(Clone, Copy, Debug)]
pub struct PodProcess {
    /// Who it is.
    pub name: &'static str,
    /// Its number.
    pub pid: u32,
}

impl PodMetrics {
    /// Of a pod that begins, whose machine counts there.
    pub fn new(machine: &'static Metrics) -> Self {
        let marks = Marks::default();
        marks.stage1.set();
        let began = std::env::var(STARTED_VARIABLE).ok().and_then(|text| text.parse().ok());
        let now = monotonic_ns();
        // Whoever runs stage1 without rkt has no such variable, and one of another boot's is no time of this one's.
        let begun_ns = began.filter(|time| (1..=now).contains(time)).unwrap_or(now);
        Self { begun_ns, machine, marks, counts: Counts::default() }
    }

    /// What the guest's kernel said last.
    pub fn console(&self) -> &'static ConsoleTail {
        &self.machine.console
    }

    /// Names and times of the phases so far.
    fn phases(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let machine = &self.machine.marks;
        let marks = [
            ("stage1", &self.marks.stage1),
            ("networks", &self.marks.networks),
            ("machine", &machine.built),
            ("kernel", &machine.entered),
            ("init", &self.marks.init),
            ("app", &self.marks.app),
            ("first_byte", &self.marks.first_byte),
            ("exit", &self.marks.exit),
        ];
        marks.into_iter().filter_map(|(name, mark)| Some((name, mark.get()?.saturating_sub(self.begun_ns))))
    }

    /// The phases as a JSON object: microseconds from the beginning of the user's command by name.
    pub fn phases_json(&self) -> String {
        let members: Vec<String> =
            self.phases().map(|(name, time)| format!("\"{name}\":{}", time / 1000)).collect();
        format!("{{{}}}\n", members.join(","))
    }

    /// Everything as Prometheus' text. `cards` is how many network cards the machine has, `group` what its control group is charged with and
    /// may be.
    pub fn text(
        &self,
        uuid: Uuid,
        cards: usize,
        processes: &[PodProcess],
        group: Option<(u64, u64)>,
    ) -> String {
        let mut text = Text { uuid, family: String::new(), text: String::new() };
        let machine = self.machine;
        let exits = &machine.exits;
        text.family(
            "rkt_pod_exits_total",
            "counter",
            "Exits of the pod's virtual CPUs that the VMM dealt with.",
        );
        for (kind, counter) in [
            ("port_read", &exits.port_reads),
            ("port_write", &exits.port_writes),
            ("mmio_read", &exits.mmio_reads),
            ("mmio_write", &exits.mmio_writes),
            ("interruption", &exits.interruptions),
        ] {
            text.sample(&[("kind", kind)], counter.get());
        }
        text.family(
            "rkt_pod_notifications_total",
            "counter",
            "Notifications of virtqueues that the VMM heard.",
        );
        for (device, counters) in
            [("vsock", &machine.vsock), ("rng", &machine.rng), ("balloon", &machine.balloon)]
        {
            text.sample(&[("device", device)], counters.notifications.get());
        }
        for (number, counters) in machine.net.iter().take(cards).enumerate() {
            text.sample(&[("device", &format!("net{number}"))], counters.notifications.get());
        }
        self.network(&mut text, cards);
        self.own(&mut text);
        text.family(
            "rkt_pod_memory_pss_bytes",
            "gauge",
            "Memory of the pod's processes, shared pages in part.",
        );
        for process in processes {
            if let Some(bytes) = proportional_set_size(process.pid) {
                text.sample(&[("process", process.name)], bytes);
            }
        }
        if let Some((bytes, limit)) = group {
            text.family(
                "rkt_pod_memory_cgroup_bytes",
                "gauge",
                "Memory that the pod's control group is charged with, that of files included.",
            );
            text.sample(&[], bytes);
            text.family("rkt_pod_memory_cgroup_limit_bytes", "gauge", "What it can be charged with at most.");
            text.sample(&[], limit);
        }
        text.text
    }

    fn network(&self, text: &mut Text, cards: usize) {
        let cards = || self.machine.cards.iter().take(cards).enumerate();
        let mut family =
            |name: &str, help: &str, kinds: &[(&str, &str)], count: fn(&vmm::NetCounters, &str) -> u64| {
                text.family(name, "counter", help);
                for (number, counters) in cards() {
                    for (label, kind) in kinds {
                        text.sample(&[("card", &number.to_string()), (label, kind)], count(counters, kind));
                    }
                }
            };
        let directions = [("direction", "receive"), ("direction", "transmit")];
        family("rkt_pod_network_frames_total", "Frames that passed.", &directions, |card, direction| {
            if direction == "receive" { &card.received_frames } else { &card.transmitted_frames }.get()
        });
        family("rkt_pod_network_bytes_total", "Bytes of them.", &directions, |card, direction| {
            if direction == "receive" { &card.received_bytes } else { &card.transmitted_bytes }.get()
        });
        family(
            "rkt_pod_network_throttled_total",
            "Waits for the limit of the rate.",
            &directions,
            |card, direction| {
                if direction == "receive" { &card.receive_throttled } else { &card.transmit_throttled }.get()
            },
        );
        family("rkt_pod_network_stalled_total", "Waits for room.", &directions, |card, direction| {
            if direction == "receive" { &card.receive_stalled } else { &card.transmit_stalled }.get()
        });
        let reasons = [
            "receive_oversized",
            "receive_malformed",
            "transmit_malformed",
            "transmit_bad_header",
            "transmit_refused",
            "control_refused",
        ]
        .map(|reason| ("reason", reason));
        family(
            "rkt_pod_network_dropped_total",
            "Frames, buffers and commands that were dropped.",
            &reasons,
            |card, reason| {
                match reason {
                    "receive_oversized" => &card.receive_oversized,
                    "receive_malformed" => &card.receive_malformed,
                    "transmit_malformed" => &card.transmit_malformed,
                    "transmit_bad_header" => &card.transmit_bad_header,
                    "transmit_refused" => &card.transmit_refused,
                    _ => &card.control_refused,
                }
                .get()
            },
        );
    }

    /// What the supervisor knows by itself.
    fn own(&self, text: &mut Text) {
        let counts = &self.counts;
        text.family("rkt_pod_guest_messages_total", "counter", "Messages of guest-init to the supervisor.");
        text.sample(&[], counts.messages.get());
        text.family("rkt_pod_output_bytes_total", "counter", "Bytes that the pod's apps wrote.");
        text.sample(&[], counts.output_bytes.get());
        text.family("rkt_pod_control_requests_total", "counter", "Requests over the pod's control socket.");
        text.sample(&[], counts.requests.get());
        text.family(
            "rkt_pod_phase_seconds",
            "gauge",
            "From the beginning of the user's command to the phase.",
        );
        for (name, time) in self.phases() {
            let seconds = format!("{}.{:06}", time / 1_000_000_000, time / 1000 % 1_000_000);
            text.sample(&[("phase", name)], seconds);
        }
    }
}

/// Prometheus' text, as far as it is written.
struct Text {
    uuid: Uuid,
    /// Name of the values that are being written.
    family: String,
    text: String,
}

impl Text {
    /// What follows is of this name.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        name.clone_into(&mut self.family);
    }

    /// One value of the last family. Labels are names of ours, which need no escapes.
    fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "{}{{pod=\"{}\"", self.family, self.uuid);
        for (label, content) in labels {
            let _ = write!(self.text, ",{label}=\"{content}\"");
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}

/// Bytes of a process's memory, each shared page divided by its users (proc(5), `smaps_rollup`).
fn proportional_set_size(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
