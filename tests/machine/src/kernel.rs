//! The kernel of the emulated machine: Debian's own, unpacked from its package without installing it.
//!
//! Responsible for having it in the cache and for the order in which modules are loaded. It must not know what the
//! machine is used for. The kernel is the distribution's generic one because that has every module a host of rkt may
//! have, 9p among them; the cloud variant has not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::MachineError;

/// Depends on the current kernel's package.
const METAPACKAGE: &str = "linux-image-amd64";

/// Written last, so that an interrupted download is done again.
const READY: &str = "ready";

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) release: String,
    /// What the emulator boots: uncompressed where that was possible.
    pub(crate) image: PathBuf,
    /// The directory that holds `lib/modules/RELEASE`.
    pub(crate) root: PathBuf,
}

impl Kernel {
    fn at(directory: &Path) -> Option<Self> {
        let release = fs::read_to_string(directory.join(READY)).ok()?;
        let image = directory.join("vmlinux");
        Some(Self { release, image, root: directory.join("root") })
    }

    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// The module files to load for `names`, each once and after those it needs. A driver that is built in adds none.
    pub(crate) fn module_files(&self, names: &[&str]) -> Result<Vec<PathBuf>, MachineError> {
        let mut files = Vec::new();
        let mut command = Command::new("/sbin/modprobe");
        command.arg("-d").arg(&self.root).args(["-S", &self.release, "--show-depends", "-a"]).args(names);
        for line in output(command)?.lines() {
            let Some(path) = line.strip_prefix("insmod ").map(|rest| PathBuf::from(rest.trim())) else {
                continue;
            };
            if !files.contains(&path) {
                files.push(path);
            }
        }
        Ok(files)
    }
}

/// The cached kernel, or the distribution's current one, fetched and unpacked.
pub(crate) fn ensure(cache: &Path, notice: &dyn Fn(&str)) -> Result<Kernel, MachineError> {
    let failed = |action| {
        let path = cache.to_owned();
        move |source| MachineError::File { action, path, source }
    };
    fs::create_dir_all(cache).map_err(failed("make"))?;
    let lock = fs::File::open(cache).map_err(failed("open"))?;
    // Machines may start together, and only one of them is to fetch.
    lock.lock().map_err(failed("lock"))?;
    let newest = fs::read_dir(cache)
        .map(|entries| {
            let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            found.sort();
            found.iter().rev().find_map(|path| Kernel::at(path))
        })
        .unwrap_or(None);
    match newest {
        Some(kernel) => Ok(kernel),
        None => fetch(cache, notice),
    }
}

fn fetch(cache: &Path, notice: &dyn Fn(&str)) -> Result<Kernel, MachineError> {
    let package = current_package()?;
    notice(&format!("fetching the machine's kernel, {package} (70 MB, once)"));
    let directory = cache.join(&package);
    let root = directory.join("root");
    let failed = |action| {
        let path = directory.clone();
        move |source| MachineError::File { action, path, source }
    };
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(failed("clear"))?;
    }
    fs::create_dir_all(&root).map_err(failed("make"))?;
    let mut download = Command::new("apt-get");
    download.args(["download", "-qq", "-o", "APT::Sandbox::User=root", &package]).current_dir(&directory);
    output(download)?;
    let archive = file_with_suffix(&directory, ".deb").ok_or_else(|| MachineError::Kernel {
        package: package.clone(),
        problem: "was not downloaded".into(),
    })?;
    let mut unpack = Command::new("dpkg");
    unpack.arg("-x").arg(&archive).arg(&root);
    output(unpack)?;
    let boot = root.join("boot");
    let release = file_with_prefix(&boot, "vmlinuz-")
        .ok_or_else(|| MachineError::Kernel { package: package.clone(), problem: "has no vmlinuz".into() })?;
    let mut index = Command::new("/sbin/depmod");
    index.arg("-b").arg(&root).arg(&release);
    output(index)?;
    let compressed = boot.join(format!("vmlinuz-{release}"));
    let image = directory.join("vmlinux");
    if !uncompress(&compressed, &image)? {
        fs::copy(&compressed, &image).map_err(failed("copy the kernel to"))?;
    }
    let _ = fs::remove_file(archive);
    fs::write(directory.join(READY), &release).map_err(failed("mark as ready"))?;
    Kernel::at(&directory).ok_or(MachineError::Kernel { package, problem: "vanished from the cache".into() })
}

fn current_package() -> Result<String, MachineError> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", METAPACKAGE]);
    let text = output(command)?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .ok_or_else(|| MachineError::Kernel {
            package: METAPACKAGE.into(),
            problem: "is not known to apt; `apt-get update` may help".into(),
        })
}

/// Takes the ELF file out of a bzImage: unpacking it on the host once is quicker than in the emulator at every boot.
/// False when it is not packed in a way that this knows.
fn uncompress(image: &Path, target: &Path) -> Result<bool, MachineError> {
    let bytes = fs::read(image).map_err(|source| MachineError::File {
        action: "read",
        path: image.into(),
        source,
    })?;
    // The setup header of the x86 boot protocol: number of setup sectors, then the payload's place after them.
    let field = |offset: usize| {
        let four = bytes.get(offset..offset + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
    };
    let payload = (|| {
        let setup = (usize::from(*bytes.get(0x1f1)?) + 1) * 512;
        let start = setup.checked_add(field(0x248)?)?;
        bytes.get(start..start.checked_add(field(0x24c)?)?)
    })();
    let Some(payload) = payload.filter(|payload| payload.starts_with(b"\xfd7zXZ\0")) else {
        return Ok(false);
    };
    let packed = target.with_extension("xz");
    fs::write(&packed, payload).map_err(|source| MachineError::File {
        action: "write",
        path: packed.clone(),
        source,
    })?;
    // The payload's end is its size, which is not part of the xz stream.
    let mut unpack = Command::new("xz");
    unpack.args(["-d", "--single-stream"]).arg(&packed);
    output(unpack).map(|_| true)
}

fn file_with_suffix(directory: &Path, suffix: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(suffix))
}

fn file_with_prefix(directory: &Path, prefix: &str) -> Option<String> {
    let entries = fs::read_dir(directory).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix).map(str::to_owned))
}

/// Runs a tool and returns what it printed.
pub(crate) fn output(mut command: Command) -> Result<String, MachineError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let result = command
        .output()
        .map_err(|error| MachineError::Tool { program: program.clone(), message: error.to_string() })?;
    if result.status.success() {
        Ok(String::from_utf8_lossy(&result.stdout).into_owned())
    } else {
        let message = String::from_utf8_lossy(&result.stderr).trim().to_owned();
        Err(MachineError::Tool { program, message })
    }
}
