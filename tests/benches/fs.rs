//! How quick files are, in a pod's root and on a host volume, beside the same work without a virtual machine and in QEMU's microvm with
//! Debian's virtiofsd, the guest kernel and the program being the same. Run by `cargo xtask bench fs`, on the instruction clock
//! where KVM is not real: there a nanosecond is an instruction, so the ratios compare and the figures do not forecast.
//!
//! An app's root is an overlay of the pod's own over the tree of its image, a volume is a directory as it is: the peer is given both,
//! so that each row compares the same work (`peer_overlay` beside `rootfs`, `peer` beside `volume`).
//!
//! Rows: sequential `write` (with fsync) and `read` (past the guest's cache), small files (`create`, `stat`, `reread`,
//! `unlink`), `git status` of a tree of 5,000 files (300 where instructions are emulated), first and second time. Every figure is a
//! median.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rkt_tests::command::{limit, run};
use rkt_tests::dist;
use rkt_tests::microvm::{self, Memory};
use rkt_tests::registry::Registry;
use rkt_tests::rkt::TestRkt;

/// What is done, and how often.
struct Amount {
    rounds: usize,
    /// Small files.
    files: usize,
    /// Size of the large one.
    mebibytes: usize,
    /// Files of the repository.
    tree: usize,
    /// Longest time for a virtual machine, in seconds.
    limit: u64,
}

const WHOLE: Amount = Amount { rounds: 3, files: 300, mebibytes: 32, tree: 5000, limit: LIMIT_SECONDS };
/// On the instruction clock one round is like another. It is a small one: the emulator stops a virtual machine for good once in some
/// 30,000 interrupts (`tests/machine/src/emulator.rs`), and every request for a file is one.
const EMULATED: Amount =
    Amount { rounds: 1, files: 100, mebibytes: 8, tree: 300, limit: EMULATED_LIMIT_SECONDS };
/// On the wall clock.
const SMOKE: Amount = Amount { files: 20, mebibytes: 1, tree: 50, limit: SMOKE_LIMIT_SECONDS, ..EMULATED };

/// Longest time for one place, most of which is the boot of the virtual machine.
const LIMIT_SECONDS: u64 = 240;

/// The same on the instruction clock, several times what a place takes: the clock hardly moves once the virtual machine has stopped.
const EMULATED_LIMIT_SECONDS: u64 = 4;

/// The same on the wall clock, where the emulator is ten times slower than the clock.
const SMOKE_LIMIT_SECONDS: u64 = 60;

/// How often a place is tried.
const ATTEMPTS: usize = 3;

const MEMORY_MIB: u32 = 512;

const IMAGE: &str = "example.com/file-work";

/// Nanoseconds by row.
type Times = BTreeMap<String, u64>;

fn main() {
    let emulated = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"));
    let amount = match env::args().any(|argument| argument == "--smoke") {
        true if emulated => SMOKE,
        true => Amount { limit: LIMIT_SECONDS, ..SMOKE },
        false if emulated => EMULATED,
        false => WHOLE,
    };
    assert_eq!(kvm_machine::place(), kvm_machine::Place::Host, "run this through `cargo xtask bench fs`");
    let rkt = TestRkt::new();
    let root = rkt.path("root");
    make_root(&rkt, &root, &amount);
    let tree = rkt.path("tree");
    for image in [make_image(&rkt, &root), dist::image("inspect")] {
        rkt.run(["--insecure-options=image", "fetch", image.to_str().expect("UTF-8")]).expect_code(0);
    }
    rkt.run(["image", "render", "--rootfs-only", IMAGE, tree.to_str().expect("UTF-8")]).expect_code(0);

    let work: [(&str, &dyn Fn() -> Times); 5] = [
        ("machine", &|| in_machine(&root, &amount)),
        ("volume", &|| in_pod(&rkt, "example.com/inspect", Some(&root), &amount)),
        ("rootfs", &|| in_pod(&rkt, IMAGE, None, &amount)),
        ("peer", &|| in_qemu(&rkt, &root, &amount)),
        ("peer_overlay", &|| in_qemu_over(&rkt, &tree, &amount)),
    ];
    let mut places: BTreeMap<&str, Vec<Times>> = BTreeMap::new();
    for round in 0..amount.rounds {
        for (place, work) in work {
            let times = attempt(work);
            println!("round {round} {place} {times:?}");
            places.entry(place).or_default().push(times);
        }
    }

    let columns = ["machine", "peer", "volume", "peer_overlay", "rootfs"];
    print!("{:16}", "milliseconds");
    columns.iter().for_each(|column| print!(" {column:>12}"));
    println!("  ratios to the peers");
    for row in places["machine"][0].keys() {
        let times = columns.map(|place| median(&places[place], row));
        print!("{row:16}");
        times.iter().for_each(|time| print!(" {time:12.2}"));
        let [_, peer, volume, peer_overlay, rootfs] = times;
        println!("  volume {:.2} rootfs {:.2}", volume / peer, rootfs / peer_overlay);
    }
}

/// Does the work in a place, once more if its virtual machine did not live to the end of it.
fn attempt(work: &dyn Fn() -> Times) -> Times {
    let tried = |_| panic::catch_unwind(AssertUnwindSafe(work)).ok();
    (0..ATTEMPTS).find_map(tried).expect("a virtual machine gets to its end")
}

fn median(rounds: &[Times], row: &str) -> f64 {
    let mut times: Vec<u64> = rounds.iter().filter_map(|times| times.get(row)).copied().collect();
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1e6
}

/// A root directory with Debian's git, the working program, and a repository.
fn make_root(rkt: &TestRkt, root: &Path, amount: &Amount) {
    let storage = dist::image_registry();
    let list = fs::read(storage.join("images.json")).expect("the list of images");
    let images: Vec<serde_json::Value> = serde_json::from_slice(&list).expect("the list is JSON");
    let git = images.iter().find(|image| image["name"] == "git").expect("the image of git");
    let registry = Registry::serving(&storage);
    let reference = registry.reference(git["reference"].as_str().expect("a reference"));
    let output = rkt.run(["--insecure-options=image,http", "fetch", "--full", &reference]).expect_code(0);
    let id = output.out().trim().to_owned();
    rkt.run(["image", "render", "--rootfs-only", &id, root.to_str().expect("UTF-8")]).expect_code(0);
    let inspect = rkt.path("inspect");
    fs::create_dir(&inspect).expect("creating");
    command(
        Command::new("tar")
            .arg("-xf")
            .arg(dist::image("inspect"))
            .arg("-C")
            .arg(&inspect)
            .arg("rootfs/file-work"),
    );
    fs::copy(inspect.join("rootfs/file-work"), root.join("file-work")).expect("copying");
    for directory in ["work", "tree", "proc", "dev", "etc", "tmp"] {
        fs::create_dir_all(root.join(directory)).expect("creating");
    }
    for index in 0..amount.tree {
        let directory = root.join(format!("tree/d{}", index / 100));
        fs::create_dir_all(&directory).expect("creating");
        fs::write(directory.join(format!("f{index}")), format!("{index}\n")).expect("writing");
    }
    // git does not work without; pods and the virtual machine have their own.
    for (name, minor) in [("null", "3"), ("urandom", "9")] {
        command(
            Command::new("mknod")
                .args(["-m", "666"])
                .arg(root.join("dev").join(name))
                .args(["c", "1", minor]),
        );
    }
    // The tree of an image has other inodes than the directory that it was made from, and git would read every file again.
    let script = "export PATH=/usr/bin:/bin HOME=/tmp; cd /tree && git init -q . && \
                  git config core.checkStat minimal && git config core.trustctime false && git add . && \
                  git -c user.name=b -c user.email=b@example.com commit -qm b && sleep 1 && git status --porcelain";
    command(Command::new("chroot").arg(root).args(["/bin/sh", "-c", script]));
}

/// The same root as an image.
fn make_image(rkt: &TestRkt, root: &Path) -> PathBuf {
    let staging = rkt.path("staging");
    fs::create_dir(&staging).expect("creating");
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/file-work",
        "labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],
        "app":{"exec":["/file-work"],"user":"0","group":"0"}}"#;
    fs::write(staging.join("manifest"), manifest).expect("writing");
    let image = rkt.path("file-work.aci");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&image).arg("-C").arg(&staging).arg("manifest").arg("-C");
    tar.arg(root.parent().expect("a parent")).args([
        "--transform",
        "s,^root,rootfs,",
        "--exclude=root/dev/*",
        "root",
    ]);
    command(&mut tar);
    image
}

fn in_machine(root: &Path, amount: &Amount) -> Times {
    let mut work = Command::new(root.join("file-work"));
    work.arg(root).args([amount.files.to_string(), amount.mebibytes.to_string()]);
    times(&String::from_utf8_lossy(&run(&mut work, limit(LIMIT_SECONDS)).expect_code(0).stdout))
}

fn in_pod(rkt: &TestRkt, image: &str, volume: Option<&Path>, amount: &Amount) -> Times {
    let mut arguments = vec!["--insecure-options=image,paths".to_owned(), "run".into(), "--net=none".into()];
    arguments.push("--uuid-file-save=pod".into());
    arguments.extend(volume.map(|path| format!("--volume=r,kind=host,source={}", path.display())));
    arguments.push(image.into());
    if volume.is_some() {
        arguments.extend(["--exec=/file-work".to_owned(), "--mount=volume=r,target=/r".into()]);
    }
    arguments.extend(["--memory=384Mi", "--", if volume.is_some() { "/r" } else { "/" }].map(str::to_owned));
    arguments.extend([amount.files.to_string(), amount.mebibytes.to_string()]);
    let output = run(&mut rkt.command(&arguments), Duration::from_secs(amount.limit)).expect_code(0);
    rkt.run(["rm", &rkt.uuid("pod")]).expect_code(0);
    times(&String::from_utf8_lossy(&output.stdout))
}

/// QEMU's microvm and Debian's virtiofsd with their defaults; the kernel is the pods', PID 1 the working program.
fn in_qemu(rkt: &TestRkt, root: &Path, amount: &Amount) -> Times {
    let initramfs = rkt.path("initramfs");
    fs::write(&initramfs, peer_initramfs(root)).expect("writing");
    let socket = rkt.path("virtiofsd.sock");
    let _ = fs::remove_file(&socket);
    let mut server = Command::new(virtiofsd());
    server
        .arg(format!("--socket-path={}", socket.display()))
        .arg("-o")
        .arg(format!("source={}", root.display()));
    let mut server =
        Ended(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("virtiofsd starts"));
    while !socket.exists() {
        let ended = server.0.try_wait().expect("waiting works");
        assert!(ended.is_none(), "virtiofsd ended: {ended:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let line = format!(
        "{} rdinit=/init files={} mebibytes={}",
        microvm::KERNEL_PARAMETERS,
        amount.files,
        amount.mebibytes
    );
    // A guest that does not get as far as its work ends with this, not with the machine's patience.
    let mut qemu = Command::new("timeout");
    qemu.args([&amount.limit.to_string(), microvm::QEMU]);
    qemu.args(microvm::arguments(Memory::File, MEMORY_MIB, &initramfs, &line));
    qemu.arg("-chardev").arg(format!("socket,id=fs,path={}", socket.display()));
    qemu.args(["-device", "vhost-user-fs-device,chardev=fs,tag=bench,queue-size=1024"]);
    let mut qemu = Ended(qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("QEMU starts"));
    let output = BufReader::new(qemu.0.stdout.take().expect("stdout is piped"));
    let mut text = String::new();
    for line in output.lines() {
        let line = line.expect("reading QEMU's output");
        if line.trim() == "done" {
            break;
        }
        text.push_str(line.trim());
        text.push('\n');
    }
    times(&text)
}

/// The same with an overlay of its own over a tree, as rkt makes one for an app.
fn in_qemu_over(rkt: &TestRkt, tree: &Path, amount: &Amount) -> Times {
    let overlay = Overlay::over(rkt, tree);
    in_qemu(rkt, &overlay.0, amount)
}

fn peer_initramfs(root: &Path) -> Vec<u8> {
    let program = fs::read(root.join("file-work")).expect("reading");
    let mut archive = kvm_machine::cpio::Writer::new(Vec::new());
    for directory in ["dev", "r"] {
        archive.directory(directory, 0o755).expect("packing");
    }
    archive.character_device("dev/console", 0o600, 5, 1).expect("packing");
    archive.file("init", 0o755, &program).expect("packing");
    archive.finish().expect("packing")
}

/// Where Debian has had it: with QEMU first, later in a package of its own.
fn virtiofsd() -> PathBuf {
    let places = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"].map(PathBuf::from);
    places.into_iter().find(|path| path.exists()).expect("virtiofsd is installed (cargo xtask setup)")
}

/// The rows of a working program's output, labelled by rkt or not.
fn times(text: &str) -> Times {
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_once("row ")?.1.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    });
    let times: Times = rows.collect();
    assert_eq!(times.len(), 8, "rows are missing: {text}");
    times
}

fn command(command: &mut Command) {
    run(command, limit(LIMIT_SECONDS)).expect_code(0);
}

/// An overlay that is mounted for as long as this exists.
struct Overlay(PathBuf);

impl Overlay {
    fn over(rkt: &TestRkt, tree: &Path) -> Self {
        let place = rkt.path("overlay");
        let _ = fs::remove_dir_all(&place);
        let [upper, work, target] = ["upper", "work", "target"].map(|name| place.join(name));
        for directory in [&upper, &work, &target] {
            fs::create_dir_all(directory).expect("creating");
        }
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", tree.display(), upper.display(), work.display());
        command(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(&target));
        Self(target)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        command(Command::new("umount").arg(&self.0));
    }
}

/// A process that ends with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Not SIGKILL, which timeout(1) could not pass on.
        let _ = signal::kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
