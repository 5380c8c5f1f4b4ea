//! `cargo xtask setup`: the Debian packages that building and testing need.
//!
//! Responsible for having them, and for saying what is installed and why. It must not fetch anything but packages;
//! the machine's kernel is a package too and is fetched, not installed, by kvm-machine.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::{Step, say};

/// What is needed, and what for.
const PACKAGES: &[(&str, &[&str])] = &[
    ("compiling", &["gcc", "libc6-dev", "pkg-config", "git", "ca-certificates", "curl", "xz-utils"]),
    (
        "the guest kernel",
        &["linux-source-6.12", "make", "flex", "bison", "bc", "libelf-dev", "libssl-dev", "cpio", "kmod"],
    ),
    ("the file server", &["libcap-ng-dev"]),
    (
        "the network plugins",
        &["golang-go", "golang-github-containernetworking-plugins-dev", "containernetworking-plugins"],
    ),
    ("the tests of the network plugins", &["iproute2", "iptables"]),
    ("the KVM machine", &["qemu-system-x86", "busybox-static", "e2fsprogs", "kmod", "mount", "util-linux"]),
    (
        "images, signatures and servers of the tests",
        &["gnupg", "openssl", "skopeo", "umoci", "docker-registry", "appc-spec"],
    ),
    ("looking at networks and packet filters", &["iproute2", "nftables"]),
    ("the bench of the network", &["iperf3", "iproute2"]),
    ("checking completion scripts, manual pages and unit files", &["zsh", "fish", "mandoc", "systemd"]),
];

/// What fuzzing needs beyond that: the fuzzer is C++.
const FUZZER_PACKAGES: &[(&str, &[&str])] = &[("fuzzing", &["g++"])];

/// Installs what is missing; says nothing when nothing is.
pub(crate) fn ensure() -> Result<()> {
    install(PACKAGES)
}

/// The same for fuzzing, which no test run does.
pub(crate) fn ensure_fuzzer() -> Result<()> {
    install(FUZZER_PACKAGES)
}

fn install(wanted: &[(&str, &[&'static str])]) -> Result<()> {
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    for (purpose, packages) in wanted {
        let of_these: Vec<&str> = packages.iter().copied().filter(|name| missing.contains(name)).collect();
        if !of_these.is_empty() {
            say(&format!("setup: missing for {purpose}: {}", of_these.join(" ")));
        }
    }
    let step = Step::begin(&format!("setup: installing {} packages with apt-get", missing.len()));
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(missing);
    apt(&install)?;
    step.end();
    Ok(())
}

/// Installs what is missing and fetches the machine's kernel; says so when there was nothing to do.
pub(crate) fn command() -> Result<()> {
    ensure()?;
    kvm_machine::prepare(&crate::workspace::cache().join("machine"), &|line| say(line))?;
    say("setup: everything is there");
    say(&format!("tests that need KVM run {}", crate::machine::place()));
    Ok(())
}

fn missing(wanted: &[(&str, &[&'static str])]) -> Vec<&'static str> {
    let mut names: Vec<&str> = wanted.iter().flat_map(|(_, packages)| packages.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    // One query for all; a package that dpkg never heard of is simply not printed.
    let known = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package}\n"])
        .args(&names)
        .stderr(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    names
        .into_iter()
        .filter(|name| !known.lines().any(|line| line.strip_prefix("installed ") == Some(name)))
        .collect()
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("setup: cannot start apt-get; this needs Debian 12 or its like")?;
    if status.success() {
        return Ok(());
    }
    bail!("setup: `apt-get {}` failed; installing packages needs root", arguments.join(" "))
}
