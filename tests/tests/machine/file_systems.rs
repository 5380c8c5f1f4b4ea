//! What file systems answer in a pod: the table of `tests/inspect/src/bin/files`, case by case, on the machine's own ext4, and
//! in a pod on its root, and what is written down of it on a volume of that same ext4 and on an empty volume.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use rkt_tests::command::limit;
use rkt_tests::dist;

use crate::pod::{INSPECT, Pod, fresh_path, said};

/// Verdicts that are not those of a local ext4, and why; nothing else may differ.
const DIFFERENCES: [(&str, &str); 6] = [
    ("open/tmpfile", "the file server has no unnamed files; programs fall back to named ones"),
    ("open/tmpfile-exclusive", "as above"),
    ("open/tmpfile-owner", "as above"),
    ("tmpfile/appears-when-linked", "as above"),
    (
        "write/keeps-setgid-without-execute",
        "the file server, which clears the bit, is in none of the file's groups",
    ),
    (
        "fallocate/keeps-set-id-for-root",
        "the request does not say whose it is, so the bits go as they do for somebody who may not keep them",
    ),
];

/// A thousand cases, and in two further places hundreds, in a machine where a process takes 30 ms to make.
const LIMIT: u64 = 240;

/// ext4 on loop devices: a usual one, and one with next to no room.
struct Disks {
    directory: PathBuf,
}

impl Disks {
    fn new() -> Self {
        let directory = fresh_path("disks");
        fs::create_dir(&directory).expect("creating");
        let disks = Self { directory };
        // Where it is built into the kernel this fails, and is not needed.
        let _ = Command::new("modprobe").arg("loop").status();
        disks.mount("large", 64 << 20, &["-b", "4096"]);
        disks.mount("tiny", 512 << 10, &["-O", "^has_journal", "-N", "32"]);
        let read_only = disks.path("large/read-only");
        fs::create_dir_all(read_only.join("d")).expect("creating");
        fs::write(read_only.join("f"), "").expect("writing");
        symlink("f", read_only.join("l")).expect("linking");
        nix::unistd::mkfifo(&read_only.join("p"), Mode::from_bits_truncate(0o644)).expect("making a fifo");
        for base in ["control", "volume"] {
            let path = disks.path("large").join(base);
            fs::create_dir(&path).expect("creating");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("chmod");
        }
        disks
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn mount(&self, name: &str, size: u64, options: &[&str]) {
        let (image, point) = (self.path(&format!("{name}.image")), self.path(name));
        fs::File::create(&image).and_then(|file| file.set_len(size)).expect("making an image");
        fs::create_dir(&point).expect("creating");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).args(options).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point));
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for name in ["large/control", "large/read-only", "large", "tiny"] {
            let _ = Command::new("umount").arg("-q").arg(self.path(name)).status();
        }
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("starting");
    assert!(status.success(), "{command:?}: {status}");
}

/// Verdicts of one directory by case.
type Verdicts = BTreeMap<String, String>;

fn verdicts<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, Verdicts> {
    let mut places = BTreeMap::<String, Verdicts>::new();
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (Some(place), Some(case), Some(verdict)) = (words.next(), words.next(), words.next()) else {
            panic!("no verdict: {line:?}");
        };
        places.entry(place.to_owned()).or_default().insert(case.to_owned(), verdict.to_owned());
    }
    places
}

/// The program of the image, run on the machine itself.
fn control(disks: &Disks) -> Verdicts {
    let (image, place) = (dist::image("inspect"), disks.path("program"));
    fs::create_dir(&place).expect("creating");
    run(Command::new("tar").arg("-xf").arg(image).arg("-C").arg(&place).arg("rootfs/files"));
    let (base, read_only) = (disks.path("large/control"), disks.path("large/read-only"));
    // Mount points both, as volumes are.
    run(Command::new("mount").arg("--bind").arg(&base).arg(&base));
    let output = Command::new("unshare")
        .args(["--mount", "--", "sh", "-c"])
        .arg("mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec \"$0\" \"$@\"")
        .args([place.join("rootfs/files"), read_only, disks.path("tiny"), base])
        .output()
        .expect("starting the control");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {}", output.status, wrong(&text));
    verdicts(text.lines()).into_values().next().expect("verdicts")
}

fn wrong(text: &str) -> String {
    text.lines().filter(|line| line.contains("(Linux: ")).collect::<Vec<_>>().join("\n")
}

fn volume(name: &str, source: &Path, more: &str) -> String {
    format!("--volume={name},kind=host,source={}{more}", source.display())
}

#[test]
fn a_pods_file_systems_answer_as_a_local_one_does() {
    let disks = Disks::new();
    let control = control(&disks);
    let volumes = [
        volume("v", &disks.path("large/volume"), ""),
        volume("ro", &disks.path("large/read-only"), ",readOnly=true"),
        volume("tiny", &disks.path("tiny"), ""),
        "--volume=e,kind=empty,mode=0777".to_owned(),
    ];
    let mut arguments: Vec<&str> = volumes.iter().map(String::as_str).collect();
    arguments.extend([INSPECT, "--exec=/files"]);
    let mounts = ["v", "ro", "tiny", "e"].map(|name| format!("--mount=volume={name},target=/{name}"));
    arguments.extend(mounts.iter().map(String::as_str));
    arguments.extend(["--", "/ro", "/tiny", "/", "written:/v", "written:/e"]);

    let output = Pod::start(&arguments).finish_within(limit(LIMIT));

    let lines = said(&output.stdout, "inspect");
    let places = verdicts(lines.iter().map(String::as_str));
    assert_eq!(places.len(), 3, "{}", String::from_utf8_lossy(&output.stderr));
    let mut differences = Vec::new();
    for (place, found) in &places {
        assert!(found.len() == control.len() || place != "/", "{place}: {} cases", found.len());
        for (case, verdict) in found {
            let expected = &control[case];
            let allowed = DIFFERENCES.iter().any(|(name, _)| case == name);
            if verdict != expected && !allowed {
                differences.push(format!("{place} {case}: {verdict}, on the host {expected}"));
            }
        }
    }
    assert!(control.len() >= 400, "{} cases", control.len());
    let same_after_all = DIFFERENCES
        .map(|(name, _)| name)
        .into_iter()
        .filter(|name| places.values().all(|found| found.get(*name) == control.get(*name)));
    assert_eq!(same_after_all.collect::<Vec<_>>(), [""; 0]);
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// The table runs beside volumes of the host, where the file server looks at a file's mode before every write. Here it goes by what the
/// guest was told.
#[test]
fn set_id_bits_stay_in_a_pod_that_has_its_files_for_itself() {
    let script = "cp /bin/busybox /f; all() { [ -u /f ] && [ -g /f ] && echo $1 kept || echo $1 lost; }; \
                  chmod 6755 /f; all chmod; echo x >> /f; all append; : > /f; all truncate; \
                  echo y 1<> /f; all write; busybox truncate -s 9 /f; all size";
    let output = Pod::start(&["example.com/busybox", "--", "-c", script]).finish();

    let said = said(&output.stdout, "busybox");
    assert_eq!(said, ["chmod kept", "append kept", "truncate kept", "write kept", "size kept"]);
}
