//! `cargo xtask dist`: the finished product in target/dist.
//!
//! Responsible for the static binaries, the initramfs, the manual pages and stage1-kvm.aci (rkt's stage1 ABI: rootfs layout
//! and annotations). The same inputs give the same bytes. What example images contain is `images`' subject.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use kvm_machine::cpio;
use serde_json::json;
use tar::{EntryType, Header};

use crate::cargo::cargo;
use crate::process::run;
use crate::progress::{Step, say};
use crate::{images, kernel, net_plugins, reference, workspace};

/// Named even though it is the host's own, so that build scripts and macros are not linked statically.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The version of the interface between rkt and stage1 that our stage1 speaks.
const STAGE1_INTERFACE_VERSION: &str = "6";

/// Where stage1 finds its built-in networks, and the plugins that they need.
const NETWORKS: &str = "etc/rkt/net.d";
const NETWORK_PLUGINS: &str = "usr/lib/rkt/plugins/net";

/// The directories of the stage1 image, parents first.
const STAGE1_DIRECTORIES: [&str; 14] = [
    "",
    "etc",
    "etc/rkt",
    NETWORKS,
    "opt",
    "opt/stage2",
    "rkt",
    "rkt/env",
    "rkt/status",
    "usr",
    "usr/lib",
    "usr/lib/rkt",
    "usr/lib/rkt/plugins",
    NETWORK_PLUGINS,
];

/// What is compiled together: a part alone would have its dependencies compiled again, with fewer features.
pub(crate) const PRODUCT: [&str; 7] =
    ["--package", "rkt", "--package", "stage1", "--package", "guest-init", "--bins"];

/// Everything that belongs to the product, in `target/dist`.
pub(crate) fn build() -> Result<()> {
    let dist = workspace::dist();
    fs::create_dir_all(dist.join("images")).context("cannot make target/dist")?;
    let vmlinux = kernel::ensure()?;
    let step = Step::begin("dist: compiling rkt, stage1 and guest-init");
    compile(&PRODUCT)?;
    compile(&["--package", "vmm", "--example", "vmm-boot"])?;
    step.end();

    place(&built("rkt"), &dist.join("rkt"))?;
    place(&built("examples/vmm-boot"), &dist.join("vmm-boot"))?;
    place(&vmlinux, &dist.join("vmlinux"))?;
    for binary in ["rkt", "vmm-boot"] {
        check_static(&dist.join(binary))?;
    }
    for binary in ["stage1", "guest-init"] {
        check_static(&built(binary))?;
    }
    write(&dist.join("initramfs"), &initramfs(&built("guest-init"))?)?;

    let step = Step::begin("dist: packing stage1-kvm.aci");
    let aci = stage1_aci(&built("stage1"), &vmlinux, &dist.join("initramfs"))?;
    write(&dist.join("stage1-kvm.aci"), &aci)?;
    step.end();
    let step = Step::begin("dist: manual pages");
    manual(&dist.join("man"))?;
    step.end();
    images::build_all()?;
    Ok(())
}

/// Where the compiler leaves a binary of the product.
pub(crate) fn built(name: &str) -> PathBuf {
    workspace::target().join(TARGET).join("release").join(name)
}

/// A page for each command; those of commands that are no more go.
fn manual(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).context("cannot remove the earlier manual pages")?;
    }
    run(reference::program()?.arg("man").arg(directory))
}

/// Builds the product and lists it.
pub(crate) fn command() -> Result<()> {
    crate::setup::ensure()?;
    build()?;
    say(&format!("dist: {}", workspace::dist().display()));
    Ok(())
}

/// Static, and random numbers by system call: the `getrandom` crate finds the C library's function with dlsym(3), which a
/// static program does not have, and would fall back to `/dev/random`, which a chroot or a build root may not have.
pub(crate) const RUSTFLAGS: &str =
    "-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"";

pub(crate) fn compile(what: &[&str]) -> Result<()> {
    run(cargo()
        .args(["build", "--release", "--quiet", "--target", TARGET])
        .args(what)
        .env("RUSTFLAGS", RUSTFLAGS))
}

/// The guest's first root: guest-init, and what it needs before it has mounted anything.
fn initramfs(guest_init: &Path) -> Result<Vec<u8>> {
    let binary = read(guest_init)?;
    let mut archive = cpio::Writer::new(Vec::with_capacity(binary.len() + 4096));
    let packed: io::Result<Vec<u8>> = (|| {
        for directory in ["dev", "newroot", "proc", "run", "sys", "tmp"] {
            archive.directory(directory, 0o755)?;
        }
        archive.character_device("dev/console", 0o600, 5, 1)?;
        archive.file("init", 0o755, &binary)?;
        archive.finish()
    })();
    packed.context("cannot pack the initramfs")
}

pub(crate) fn stage1_aci(stage1: &Path, vmlinux: &Path, initramfs: &Path) -> Result<Vec<u8>> {
    let manifest = json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "coreos.com/rkt/stage1-kvm",
        "labels": [
            {"name": "version", "value": env!("CARGO_PKG_VERSION")},
            {"name": "os", "value": "linux"},
            {"name": "arch", "value": "amd64"},
        ],
        "annotations": [
            {"name": "coreos.com/rkt/stage1/run", "value": "/init"},
            {"name": "coreos.com/rkt/stage1/gc", "value": "/gc"},
            {"name": "coreos.com/rkt/stage1/enter", "value": "/enter"},
            {"name": "coreos.com/rkt/stage1/stop", "value": "/stop"},
            {"name": "coreos.com/rkt/stage1/app/add", "value": "/app_add"},
            {"name": "coreos.com/rkt/stage1/app/rm", "value": "/app_rm"},
            {"name": "coreos.com/rkt/stage1/app/start", "value": "/app_start"},
            {"name": "coreos.com/rkt/stage1/app/stop", "value": "/app_stop"},
            {"name": "coreos.com/rkt/stage1/attach", "value": "/attach"},
            {"name": "coreos.com/rkt/stage1/metrics", "value": "/metrics"},
            {"name": "coreos.com/rkt/stage1/interface-version", "value": STAGE1_INTERFACE_VERSION},
            // Every pod's processes have host users of their own, whatever `--private-users` says.
            {"name": "coreos.com/rkt/stage1/private-users", "value": "always"},
            // For which it mounts the roots of apps itself.
            {"name": "coreos.com/rkt/stage1/app-overlays", "value": "stage1"},
        ],
    });
    let networks = networks()?;
    let plugins = net_plugins::ensure()?;
    check_static(&plugins)?;
    // Speed before size: the file is made on every `test` and read from a local disk.
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    let packed: io::Result<Vec<u8>> = (|| {
        file(&mut archive, "manifest", 0o644, &serde_json::to_vec(&manifest)?)?;
        for path in STAGE1_DIRECTORIES {
            let path = if path.is_empty() { "rootfs/".to_owned() } else { format!("rootfs/{path}/") };
            archive.append_data(&mut header(EntryType::Directory, 0o755, 0), path, io::empty())?;
        }
        file(&mut archive, "rootfs/init", 0o755, &fs::read(stage1)?)?;
        for name in ["gc", "enter", "stop", "app_add", "app_rm", "app_start", "app_stop", "attach", "metrics"]
        {
            let path = format!("rootfs/{name}");
            archive.append_link(&mut header(EntryType::Link, 0o755, 0), path, "rootfs/init")?;
        }
        file(&mut archive, "rootfs/vmlinux", 0o644, &fs::read(vmlinux)?)?;
        file(&mut archive, "rootfs/initramfs", 0o644, &fs::read(initramfs)?)?;
        for (name, content) in &networks {
            file(&mut archive, &format!("rootfs/{NETWORKS}/{name}"), 0o644, content)?;
        }
        let first = format!("rootfs/{NETWORK_PLUGINS}/{}", net_plugins::NAMES[0]);
        file(&mut archive, &first, 0o755, &fs::read(&plugins)?)?;
        for name in net_plugins::NAMES.iter().skip(1) {
            let path = format!("rootfs/{NETWORK_PLUGINS}/{name}");
            archive.append_link(&mut header(EntryType::Link, 0o755, 0), path, &first)?;
        }
        archive.into_inner()?.finish()
    })();
    packed.context("cannot pack stage1-kvm.aci")
}

/// The built-in networks: the names of their files, sorted, and what is in them.
fn networks() -> Result<Vec<(String, Vec<u8>)>> {
    let directory = workspace::root().join("stage1/net.d");
    let mut networks = Vec::new();
    for entry in fs::read_dir(&directory).context("cannot list stage1/net.d")? {
        let path = entry.context("cannot list stage1/net.d")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        networks.push((name, read(&path)?));
    }
    networks.sort();
    Ok(networks)
}

fn file<W: io::Write>(archive: &mut tar::Builder<W>, name: &str, mode: u32, data: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, mode, data.len() as u64), name, data)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A binary of the product must run on any distribution and inside an empty root: no interpreter, no shared library.
fn check_static(path: &Path) -> Result<()> {
    let headers = crate::process::text(std::process::Command::new("readelf").arg("-lW").arg(path))?;
    if headers.contains("INTERP") {
        bail!("{} is not static: it asks for an interpreter", path.display());
    }
    Ok(())
}

/// Copies into place so that a program that is running is replaced, not written over.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    let unfinished = unfinished(to);
    fs::copy(from, &unfinished)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::rename(&unfinished, to).with_context(|| format!("cannot put {} into place", to.display()))
}

pub(crate) fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = unfinished(to);
    fs::write(&unfinished, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    fs::rename(&unfinished, to).with_context(|| format!("cannot put {} into place", to.display()))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
