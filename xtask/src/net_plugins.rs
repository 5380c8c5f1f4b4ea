//! The CNI plugins that stage1-kvm.aci carries for its built-in networks, from Debian's source package.
//!
//! Responsible for: one static executable that is each of them. Must not know: which network uses which plugin. The result
//! is kept outside the checkout under the hash of all that went into it, as the kernel is; follows
//! stage1/net-plugins/main.go, and sources.list(5) for where sources are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::process::{run, text};
use crate::progress::Step;
use crate::workspace;

/// The names under which the executable is to be found.
pub(crate) const NAMES: [&str; 2] = ["host-local", "ptp"];

/// Each plugin: its name, where it is in the source, and its identifier in Go.
const PLUGINS: [(&str, &str, &str); 2] =
    [(NAMES[0], "plugins/ipam/host-local", "hostlocal"), (NAMES[1], "plugins/main/ptp", "ptp")];

/// The package with the plugins for the tests; its source is ours, too.
const BINARY_PACKAGE: &str = "containernetworking-plugins";
const SOURCE_PACKAGE: &str = "golang-github-containernetworking-plugins";

/// Where Debian's packages of Go libraries put them.
const LIBRARIES: &str = "/usr/share/gocode";

/// Part of the key: raise it when this file makes something else of the same inputs.
const RECIPE: &str = "1";

/// The executable, built if the cache has it not. Returns its path.
pub(crate) fn ensure() -> Result<PathBuf> {
    let version = version_of(BINARY_PACKAGE, "${source:Version}")?;
    let dispatcher = fs::read(workspace::root().join("stage1/net-plugins/main.go"))
        .context("cannot read stage1/net-plugins/main.go")?;
    let directory = workspace::cache().join(format!("net-plugins-{}", key(&version, &dispatcher)?));
    let executable = directory.join("net-plugins");
    if executable.exists() {
        return Ok(executable);
    }
    let step = Step::begin("network plugins: compiling (once)");
    let work = tempfile::tempdir().context("cannot make a directory to build in")?;
    let source = fetch(work.path(), &version)?;
    let tree = work.path().join("go/src/rkt/net-plugins");
    for (name, place, identifier) in PLUGINS {
        adapt(&source.join(place), &tree.join(name), identifier)?;
    }
    fs::write(tree.join("main.go"), &dispatcher).context("cannot write main.go")?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let unfinished = directory.join("net-plugins.new");
    compile(work.path(), &tree, &unfinished)?;
    fs::rename(&unfinished, &executable).context("cannot put the network plugins into the cache")?;
    step.end();
    Ok(executable)
}

/// What goes into it: our own file, the plugins, the libraries, the compiler.
fn key(version: &str, dispatcher: &[u8]) -> Result<String> {
    let libraries =
        text(Command::new("dpkg-query").args(["-W", "-f", "${Package} ${Version}\n", "golang-*"]))?;
    let mut hash = Sha256::new();
    hash.update(format!("{RECIPE}\0{version}\0{libraries}\0"));
    hash.update(dispatcher);
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn version_of(package: &str, field: &str) -> Result<String> {
    let version = text(Command::new("dpkg-query").args(["-W", "-f", field, package]))?;
    Ok(version.trim().to_owned())
}

/// Downloads and unpacks the source package. Few machines have lists of sources, so apt is given lists of its own, of the
/// mirror that the binary package comes from; it checks what it downloads against Debian's key.
fn fetch(work: &Path, version: &str) -> Result<PathBuf> {
    let download = text(Command::new("apt-get").args(["download", "--print-uris", BINARY_PACKAGE]))?;
    let mirror = download.trim_start_matches('\'').split("/pool/").next().unwrap_or_default().to_owned();
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.context("/etc/os-release names no release of Debian")?;
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let list = work.join("sources.list");
    fs::write(&list, format!("deb-src [signed-by={key}] {mirror} {suite} main\n"))
        .context("cannot write a sources.list")?;
    let lists = work.join("lists");
    fs::create_dir_all(lists.join("partial")).context("cannot make a directory for apt")?;
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(["-qq", "-o", "APT::Sandbox::User=root", "-o", "Dir::Etc::SourceParts=/dev/null"])
            .args(["-o", &format!("Dir::Etc::SourceList={}", list.display())])
            .args(["-o", &format!("Dir::State::Lists={}", lists.display())])
            .args(arguments)
            .current_dir(work))
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", &format!("{SOURCE_PACKAGE}={version}")])?;
    let source = work.join("source");
    fs::create_dir(&source).context("cannot make a directory for the source")?;
    for entry in fs::read_dir(work).context("cannot list the source package")? {
        let path = entry.context("cannot list the source package")?.path();
        if path.to_string_lossy().contains(".orig.tar.") {
            run(Command::new("tar")
                .arg("-xf")
                .arg(&path)
                .arg("-C")
                .arg(&source)
                .arg("--strip-components=1"))?;
            return Ok(source);
        }
    }
    bail!("the source package {SOURCE_PACKAGE} {version} has no .orig.tar")
}

/// Makes of a plugin's program a package whose `Main` is that program.
fn adapt(from: &Path, to: &Path, identifier: &str) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", from.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".go") || name.ends_with("_test.go") {
            continue;
        }
        let go = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let go = go.replacen("\npackage main\n", &format!("\npackage {identifier}\n"), 1).replacen(
            "\nfunc main() {",
            "\n// Main is the plugin.\nfunc Main() {",
            1,
        );
        fs::write(to.join(&name), go).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Static, and the same bytes from the same inputs: no paths of this machine, no build ID.
fn compile(work: &Path, tree: &Path, to: &Path) -> Result<()> {
    let cache = work.join("cache");
    run(Command::new("go")
        .args(["build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o"])
        .arg(to)
        .arg(".")
        .current_dir(tree)
        .env("GOPATH", env::join_paths([work.join("go"), PathBuf::from(LIBRARIES)]).context("a GOPATH")?)
        .env("GOCACHE", &cache)
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", "0"))
}
