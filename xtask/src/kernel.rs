//! `cargo xtask kernel`: the guest kernel, from Debian's source and the fragments in kernel-config/.
//!
//! Responsible for a `vmlinux` that has every option the fragments ask for, or an error that lists those it has not.
//! The result is kept outside the checkout under the hash of all that went into it, so a branch switch or a fresh
//! clone costs nothing. Follows Documentation/kbuild of Linux.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::process::{run, text};
use crate::progress::{Step, say};
use crate::workspace;

#[cfg(test)]
#[path = "kernel_test.rs"]
mod kernel_test;

const SOURCE_PACKAGE: &str = "linux-source-6.12";

/// Part of the key: raise it when this file makes something else of the same inputs.
const RECIPE: &str = "1";

/// Lines that make prints for the whole kernel, for a rough percentage.
const EXPECTED_LINES: usize = 1950;

/// Lines of make's output that an error shows.
const ERROR_LINES: usize = 30;

/// A kernel source tree.
struct Source {
    /// What identifies it, for the key.
    identity: String,
    /// Where it is; unpacked only when it is needed.
    place: Place,
}

enum Place {
    Directory(PathBuf),
    Archive(PathBuf),
}

/// The guest kernel, built if the cache has it not. Returns its path.
pub(crate) fn ensure() -> Result<PathBuf> {
    let fragments = fragments()?;
    let source = find_source()?;
    let directory = workspace::cache().join(format!("kernel-{}", key(&fragments, &source)?));
    let vmlinux = directory.join("vmlinux");
    if vmlinux.exists() {
        return Ok(vmlinux);
    }
    let tree = unpack(&source)?;
    let build = workspace::cache().join("kernel-build");
    fs::create_dir_all(&build).with_context(|| format!("cannot make {}", build.display()))?;
    configure(&tree, &build, &fragments)?;
    compile(&tree, &build)?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    fs::copy(build.join(".config"), directory.join("config")).context("cannot keep the configuration")?;
    // Renamed last: a key's vmlinux is complete or not there.
    let unfinished = directory.join("vmlinux.new");
    run(Command::new("strip").arg("-o").arg(&unfinished).arg(build.join("vmlinux")))?;
    fs::rename(&unfinished, &vmlinux).context("cannot put the kernel into the cache")?;
    Ok(vmlinux)
}

/// Builds the kernel and prints where it is.
pub(crate) fn command() -> Result<()> {
    crate::setup::ensure()?;
    let vmlinux = ensure()?;
    let size = fs::metadata(&vmlinux).map(|metadata| metadata.len()).unwrap_or_default();
    say(&format!("kernel: {:.1} MB", size as f64 / 1e6));
    println!("{}", vmlinux.display());
    Ok(())
}

/// The fragments, sorted by name.
fn fragments() -> Result<Vec<PathBuf>> {
    let directory = workspace::root().join("kernel-config");
    let mut found: Vec<PathBuf> = fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "config"))
        .collect();
    found.sort();
    Ok(found)
}

fn find_source() -> Result<Source> {
    if let Some(directory) = env::var_os("KERNEL_SRC").map(PathBuf::from) {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("KERNEL_SRC={} is not there", directory.display()))?;
        let makefile = fs::read_to_string(directory.join("Makefile"))
            .with_context(|| format!("KERNEL_SRC={} is not a kernel source tree", directory.display()))?;
        let version: Vec<&str> = makefile.lines().filter(|line| line.contains('=')).take(4).collect();
        let identity = format!("{} {}", directory.display(), version.join(" "));
        return Ok(Source { identity, place: Place::Directory(directory) });
    }
    let archive = PathBuf::from(format!("/usr/src/{SOURCE_PACKAGE}.tar.xz"));
    if !archive.exists() {
        bail!("{} is missing; `cargo xtask setup` installs it", archive.display());
    }
    let version = text(Command::new("dpkg-query").args(["-W", "-f", "${Version}", SOURCE_PACKAGE]))?;
    Ok(Source { identity: format!("{SOURCE_PACKAGE} {version}"), place: Place::Archive(archive) })
}

fn key(fragments: &[PathBuf], source: &Source) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{RECIPE}\0{}\0", source.identity));
    for path in fragments {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(format!("{}\0{}\0", path.file_name().unwrap_or_default().display(), content.len()));
        hash.update(content);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unpack(source: &Source) -> Result<PathBuf> {
    let archive = match &source.place {
        Place::Directory(directory) => return Ok(directory.clone()),
        Place::Archive(archive) => archive,
    };
    let name = source.identity.replace([' ', '/', '~', ':'], "_");
    let directory = workspace::cache().join("src").join(name);
    let tree = directory.join(SOURCE_PACKAGE);
    if tree.exists() {
        return Ok(tree);
    }
    let step = Step::begin("kernel: unpacking the source");
    let unfinished = directory.with_extension("new");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&unfinished))?;
    fs::rename(&unfinished, &directory).context("cannot keep the unpacked source")?;
    step.end();
    Ok(tree)
}

/// tinyconfig, then the fragments, then what they imply; and a check, because a fragment's line whose dependency is
/// missing is dropped in silence.
fn configure(tree: &Path, build: &Path, fragments: &[PathBuf]) -> Result<()> {
    let configuration = build.join(".config");
    run(make(tree, build).arg("tinyconfig").stdout(Stdio::null()))?;
    run(Command::new(tree.join("scripts/kconfig/merge_config.sh"))
        .args(["-m", "-O"])
        .arg(build)
        .arg(&configuration)
        .args(fragments)
        .current_dir(tree)
        .stdout(Stdio::null()))?;
    run(make(tree, build).arg("olddefconfig").stdout(Stdio::null()))?;
    let result = fs::read_to_string(&configuration).context("cannot read the kernel's configuration")?;
    let mut lost = Vec::new();
    for fragment in fragments {
        let asked =
            fs::read_to_string(fragment).with_context(|| format!("cannot read {}", fragment.display()))?;
        let name = fragment.file_name().unwrap_or_default().display().to_string();
        lost.extend(missing_options(&asked, &result).into_iter().map(|line| format!("  {name}: {line}")));
    }
    if lost.is_empty() {
        return Ok(());
    }
    bail!("these options of kernel-config/ did not survive (a dependency is missing):\n{}", lost.join("\n"))
}

/// The lines of `asked` that `result` does not honour. An option asked to be off may also be absent.
pub(crate) fn missing_options(asked: &str, result: &str) -> Vec<String> {
    let lines: std::collections::HashSet<&str> = result.lines().collect();
    let is_set = |name: &str| {
        let assignment = format!("{name}=");
        lines.iter().any(|line| line.starts_with(&assignment))
    };
    asked
        .lines()
        .filter(|line| {
            match line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set")) {
                Some(name) => is_set(&format!("CONFIG_{name}")),
                None => line.starts_with("CONFIG_") && !lines.contains(line),
            }
        })
        .map(str::to_owned)
        .collect()
}

fn compile(tree: &Path, build: &Path) -> Result<()> {
    let jobs = thread::available_parallelism().map_or(2, usize::from);
    let mut step = Step::begin("kernel: compiling (about 5 minutes on two cores, once)");
    let mut child = make(tree, build)
        .args([&format!("-j{jobs}"), "vmlinux"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start make")?;
    let errors = child.stderr.take().context("make has no stderr")?;
    let errors = thread::spawn(move || -> Vec<String> {
        BufReader::new(errors).lines().map_while(Result::ok).collect()
    });
    let output = child.stdout.take().context("make has no stdout")?;
    for (count, _) in BufReader::new(output).lines().map_while(Result::ok).enumerate() {
        step.advance(&format!("{} %", (count * 100 / EXPECTED_LINES).min(99)));
    }
    let status = child.wait().context("cannot wait for make")?;
    let errors = errors.join().unwrap_or_default();
    if !status.success() {
        let tail = errors.len().saturating_sub(ERROR_LINES);
        bail!("the kernel does not build:\n{}", errors.get(tail..).unwrap_or_default().join("\n"));
    }
    step.end();
    Ok(())
}

/// make, told everything that would otherwise differ between two builds of the same source.
fn make(tree: &Path, build: &Path) -> Command {
    let mut command = Command::new("make");
    command.arg("-C").arg(tree).arg(format!("O={}", build.display()));
    command.args(["KBUILD_BUILD_USER=rkt", "KBUILD_BUILD_HOST=rkt", "KBUILD_BUILD_TIMESTAMP=2026-01-01"]);
    // The flags of a surrounding make or cargo are not for this one.
    command.env_remove("MAKEFLAGS").env_remove("CARGO_MAKEFLAGS").env("LC_ALL", "C");
    command
}
