//! What processes that do not end are doing, so that a hang that happens once in a thousand runs explains itself: every
//! thread's state, where in the kernel it waits, and what changes within a second. Looks at /proc and at KVM's
//! counters; does not know what the processes are for.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Between the two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// KVM's counters that tell a guest that waits from one that runs in circles, and a lost interrupt from both.
const COUNTERS: &[&str] =
    &["exits", "halt_exits", "irq_exits", "irq_injections", "irq_window_exits", "io_exits", "mmio_exits"];

/// Innermost frames of a kernel stack.
const FRAMES: usize = 8;

/// Two looks at a process and its descendants.
pub fn of(pid: i32) -> String {
    let family = family(pid);
    let mut text = String::new();
    for (look, title) in ["now", "a second later"].into_iter().enumerate() {
        if look > 0 {
            thread::sleep(INTERVAL);
        }
        let _ = writeln!(text, "--- {title}");
        for member in &family {
            describe(*member, look == 0, &mut text);
        }
    }
    text
}

/// The process and its descendants, parents first.
pub(crate) fn family(pid: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, stat_field(&format!("/proc/{pid}/stat"), 4)?.parse().ok()?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(pid, of)| *of == parent && !found.contains(pid));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        found.extend(children);
        next += 1;
    }
    found
}

fn describe(pid: i32, first: bool, text: &mut String) {
    let arguments = read(format!("/proc/{pid}/cmdline")).replace('\0', " ");
    let _ = writeln!(text, "process {pid}: {}", arguments.get(..100).unwrap_or(&arguments).trim());
    for task in entries(format!("/proc/{pid}/task")) {
        let stat = task.join("stat").to_string_lossy().into_owned();
        let field = |number| stat_field(&stat, number).unwrap_or_default();
        let name = read(task.join("comm"));
        // State, then user and system time in ticks of 10 ms; a virtual CPU's time in the guest is user time.
        let _ = writeln!(
            text,
            "  {} {}: {} user {} system {} waits in {:?}, system call {}",
            task.file_name().unwrap_or_default().to_string_lossy(),
            name.trim(),
            field(3),
            field(14),
            field(15),
            read(task.join("wchan")),
            read(task.join("syscall")).trim(),
        );
        if first {
            for frame in read(task.join("stack")).lines().take(FRAMES) {
                let _ = writeln!(text, "    {frame}");
            }
        }
    }
    for machine in entries("/sys/kernel/debug/kvm".into()) {
        let ours = machine.file_name().unwrap_or_default().to_string_lossy().starts_with(&format!("{pid}-"));
        if ours {
            let counter = |name: &&str| format!("{name} {}", read(machine.join(name)).trim());
            let _ = writeln!(text, "  KVM: {}", COUNTERS.iter().map(counter).collect::<Vec<_>>().join(", "));
        }
    }
}

/// A field of a stat file, counted from 1 as in proc(5), from the third on: the second may contain anything.
fn stat_field(path: &str, number: usize) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(number - 3).map(str::to_owned)
}

fn entries(directory: String) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    found
}

/// What is not there, or not for us to read, is empty.
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
