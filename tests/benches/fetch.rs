//! What fetching, verifying and rendering a large image costs, beside skopeo and umoci with the same content, in interleaved
//! rounds on this host. Run by `cargo xtask bench fetch`.
//!
//! The content is 450 MB in 6,000 files. rkt fetches it as a signed, gzipped ACI from disk and over loopback, and as an image
//! of ten layers from Debian's docker-registry; `skopeo copy` and `umoci unpack` fetch and unpack the latter. CPU is user and
//! system time of the commands and their children; the registry's and the server's are not theirs. Peak memory is the largest
//! sum of resident memory over a command's processes.
//!
//! Everything lies in memory: what a disk's file system does with the files that the round before removed would be charged
//! to whoever makes files next.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use rkt_tests::aci::{self, Aci};
use rkt_tests::gpg::Gpg;
use rkt_tests::oci::{Image, Layer, Layout, Packing};
use rkt_tests::registry::Registry;
use rkt_tests::rkt::TestRkt;
use rkt_tests::server::{Answer, Server};

/// Rounds that count; one with a cold page cache comes before them.
const ROUNDS: usize = 5;
const LAYERS: usize = 10;
/// How often resident memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(4);

/// How much content there is.
struct Size {
    files: usize,
    bytes: usize,
}

const FULL: Size = Size { files: 6_000, bytes: 450_000_000 };
const SMOKE: Size = Size { files: 60, bytes: 1_000_000 };

/// What one command, or two in sequence, cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu: f64,
    wall: f64,
    peak_mib: f64,
}

impl Cost {
    fn then(self, next: Self) -> Self {
        Self {
            cpu: self.cpu + next.cpu,
            wall: self.wall + next.wall,
            peak_mib: self.peak_mib.max(next.peak_mib),
        }
    }
}

/// One way to get the content into a directory.
struct Way {
    name: &'static str,
    costs: Vec<Cost>,
}

impl Way {
    fn new(name: &'static str) -> Self {
        Self { name, costs: Vec::new() }
    }

    fn median(&self, value: impl Fn(&Cost) -> f64) -> f64 {
        let mut values: Vec<f64> = self.costs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn peak(&self) -> f64 {
        self.costs.iter().map(|cost| cost.peak_mib).fold(0.0, f64::max)
    }

    fn print(&self) {
        println!(
            "{:14} cpu {:6.2} s   wall {:6.2} s   peak {:5.0} MiB   n={}",
            self.name,
            self.median(|cost| cost.cpu),
            self.median(|cost| cost.wall),
            self.peak(),
            self.costs.len()
        );
    }
}

fn main() {
    let smoke = env::args().any(|argument| argument == "--smoke");
    work_in_memory();
    let (size, rounds) = if smoke { (SMOKE, 1) } else { (FULL, ROUNDS) };
    let content = content(&size);
    let registry = Registry::http();
    let server = Server::http();
    let gpg = Gpg::new();
    let key = gpg.generate("ed25519", "Publisher <publisher@example.com>");
    let directory =
        tempfile::Builder::new().prefix("rkt-bench-").tempdir_in("/var/tmp").expect("a directory");
    let key_file = directory.path().join("key.asc");
    gpg.export(&key, &key_file);
    let image = publish(&content, directory.path(), &registry);
    let signature = gpg.sign(&key, &image);
    server.answer("/content.aci", Answer::body(fs::read(&image).expect("reading the image")));
    server.answer("/content.aci.asc", Answer::body(fs::read(signature).expect("reading the signature")));
    let zstd = publish_layers(&content, Packing::Zstd, &registry, "content-zstd");
    drop(content);

    let mut ways = ["aci_disk", "aci_loopback", "docker", "docker_zstd", "skopeo_umoci"].map(Way::new);
    for round in 0..=rounds {
        let costs = [
            rkt_fetch(&key_file, &[image.to_str().expect("UTF-8")]),
            rkt_fetch(&key_file, &[&server.url("/content.aci")]),
            rkt_fetch(&key_file, &["--insecure-options=image,http", &registry.reference("content:v1")]),
            rkt_fetch(&key_file, &["--insecure-options=image,http", &registry.reference(&zstd)]),
            skopeo_and_umoci(&registry, directory.path()),
        ];
        for (way, cost) in ways.iter_mut().zip(costs) {
            println!("round {round}  {:14} cpu {:6.2} s   wall {:6.2} s", way.name, cost.cpu, cost.wall);
            if round > 0 || smoke {
                way.costs.push(cost);
            }
        }
    }
    ways.iter().for_each(Way::print);
    let [disk, loopback, docker, zstd, peer] = ways;
    let ratio = |way: &Way, value: fn(&Cost) -> f64| way.median(value) / peer.median(value);
    println!("ratio aci_disk_cpu/skopeo_umoci_cpu {:.2}", ratio(&disk, |cost| cost.cpu));
    println!("ratio aci_loopback_cpu/skopeo_umoci_cpu {:.2}", ratio(&loopback, |cost| cost.cpu));
    println!("ratio fetch_wall/skopeo_umoci_wall {:.2}", ratio(&docker, |cost| cost.wall));
    println!("ratio fetch_cpu/skopeo_umoci_cpu {:.2}", ratio(&docker, |cost| cost.cpu));
    let peak = [&disk, &loopback, &docker, &zstd].map(Way::peak).into_iter().fold(0.0, f64::max);
    println!("peak_mib {peak:.0}");
}

/// Gives this process a `/var/tmp` in memory, which nobody else sees.
fn work_in_memory() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace; this needs root");
    let nothing = None::<&str>;
    if mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).is_err() {
        // The root of a chroot is no mount, so what is mounted below it would be seen outside.
        println!("working on disk, because the root directory is no mount point");
        return;
    }
    mount(Some("tmpfs"), "/var/tmp", Some("tmpfs"), MsFlags::empty(), nothing).expect("mounting a tmpfs");
}

/// File names and contents. The words are few, so that gzip finds about as much as it does in software.
fn content(size: &Size) -> Vec<(String, Vec<u8>)> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words: Vec<u8> = (0..4096).flat_map(|_| random().to_le_bytes()).collect();
    let average = size.bytes / size.files;
    let files = (0..size.files).map(|number| {
        // From a tenth to nearly twice the average.
        let length = average / 10 + random() as usize % (average * 18 / 10);
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            let value = random();
            let at = value as usize % 2048 * 16;
            bytes.extend_from_slice(&words[at..at + 4 + (value >> 32) as usize % 12]);
        }
        (format!("d{:02}/file-{number:05}", number % 60), bytes)
    });
    files.collect()
}

/// Makes the content available in every form. Returns the image on disk.
fn publish(content: &[(String, Vec<u8>)], directory: &Path, registry: &Registry) -> PathBuf {
    let mut archive = Aci::new(&aci::manifest("example.com/content")).directory("rootfs", 0o755);
    for (name, bytes) in content {
        archive = archive.file(&format!("rootfs/{name}"), 0o644, bytes);
    }
    let image = directory.join("content.aci");
    fs::write(&image, archive.gzip()).expect("writing the image");
    publish_layers(content, Packing::Gzip, registry, "content:v1");
    image
}

/// Pushes the content in ten layers.
fn publish_layers(
    content: &[(String, Vec<u8>)],
    packing: Packing,
    registry: &Registry,
    name: &str,
) -> String {
    let layers: Vec<Layer> = content
        .chunks(content.len().div_ceil(LAYERS))
        .map(|files| {
            let mut layer = Aci::empty();
            for (name, bytes) in files {
                layer = layer.file(name, 0o644, bytes);
            }
            Layer::new(&layer).packed(packing)
        })
        .collect();
    registry.push(&Layout::of(&Image::new(layers)).reference("latest"), name);
    name.to_owned()
}

/// Fetches into an empty store, the tree included.
fn rkt_fetch(key: &Path, arguments: &[&str]) -> Cost {
    let rkt = TestRkt::new();
    let trust = ["trust", "--root", "--skip-fingerprint-review", key.to_str().expect("UTF-8")];
    rkt.run(trust).expect_code(0);
    let mut words = vec!["fetch"];
    words.extend(arguments);
    let cost = measure(&mut rkt.command(words));
    let trees = fs::read_dir(rkt.data().join("cas/tree")).expect("trees").count();
    assert_eq!(trees, 1, "rkt fetch renders");
    cost
}

fn skopeo_and_umoci(registry: &Registry, directory: &Path) -> Cost {
    let (layout, bundle) = (directory.join("layout"), directory.join("bundle"));
    let copy = measure(
        Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--src-tls-verify=false"])
            .arg(registry.reference("content:v1"))
            .arg(format!("oci:{}:v1", layout.display())),
    );
    let unpack = measure(
        Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!("{}:v1", layout.display()))
            .arg(&bundle),
    );
    for path in [layout, bundle] {
        fs::remove_dir_all(path).expect("removing what skopeo and umoci made");
    }
    copy.then(unpack)
}

fn measure(command: &mut Command) -> Cost {
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    };
    let (before, started) = (cpu(), Instant::now());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("starting a command");
    let sampler = Sampler::start(&child);
    let status = child.wait().expect("waiting for a command");
    let wall = started.elapsed().as_secs_f64();
    assert!(status.success(), "{command:?}: {status}");
    Cost { cpu: cpu() - before, wall, peak_mib: sampler.peak_mib() }
}

/// Watches how much memory a process and its descendants have.
struct Sampler {
    ended: Arc<AtomicBool>,
    thread: thread::JoinHandle<u64>,
}

impl Sampler {
    fn start(child: &Child) -> Self {
        let (ended, pid) = (Arc::new(AtomicBool::new(false)), child.id());
        let flag = ended.clone();
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !flag.load(Ordering::Relaxed) {
                peak = peak.max(resident_kib(pid));
                thread::sleep(SAMPLE_EVERY);
            }
            peak
        });
        Self { ended, thread }
    }

    fn peak_mib(self) -> f64 {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler") as f64 / 1024.0
    }
}

/// Resident memory of a process and its descendants, files it maps included.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let own = own.and_then(|value| value.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>());
    own.unwrap_or(0) + children.map(resident_kib).sum::<u64>()
}
