//! The walls around the process that reads strangers' archives.
//!
//! Responsible for: letting this process write below one directory and do nothing else, for good. Must not know:
//! archives. Follows landlock(7), seccomp(2), capabilities(7); docs/threat-model.md ("Archive to host file system").

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::io::{DupFlags, Errno, dup, dup3};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::mount_attributes;

/// What writing other people's files takes: their owners, their modes, device nodes, file capabilities.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// Most memory. What an archive of [`super::MAX_ENTRIES`] directories makes us remember is half of it.
const MAX_MEMORY_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The newest Landlock whose rights are used; older kernels leave out what they do not know.
const LANDLOCK: ABI = ABI::V6;

/// System calls with any arguments. A path they name is beneath the target, by root directory and by Landlock; what is
/// not listed ends the process.
const ALLOWED: &[libc::c_long] = &[
    // Reading the archive, writing files, answering.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_sendto,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    // Names.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    // The allocator, the runtime and the way out.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// System calls that change a file by its descriptor, which neither root directory nor Landlock looks at. They are for
/// what this process opened itself: the archive it was given is a file of the store, and has the store's owner and mode.
const ALLOWED_ON_OWN_FILES: &[libc::c_long] = &[
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_utimensat,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
];

/// A wall that could not be put up.
#[derive(Debug, thiserror::Error)]
#[error("its process cannot be confined: {wall}: {cause}")]
pub(super) struct JailError {
    wall: &'static str,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    wall: &'static str,
) -> impl FnOnce(E) -> JailError {
    move |cause| JailError { wall, cause: cause.into() }
}

/// Confines the calling thread to writing below `target` and using the descriptors it has. Called while the process has
/// one thread and before it reads the first byte of an archive. Returns the way to the target from now on.
pub(super) fn confine(target: OwnedFd) -> Result<OwnedFd, JailError> {
    limit_resources().map_err(failed("resource limits"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    let target = without_devices(target).map_err(failed("nodev"))?;
    // Descriptors are the lowest free ones, so what is opened from here on has this number or a higher one.
    let first_own = dup(&target).map_err(failed("descriptors"))?.as_raw_fd();
    restrict_paths(target.as_fd()).map_err(failed("Landlock"))?;
    change_root(target.as_fd()).map_err(failed("root directory"))?;
    drop_capabilities().map_err(failed("capabilities"))?;
    let filter = filter(first_own).map_err(failed("seccomp"))?;
    seccompiler::apply_filter(&filter).map_err(failed("seccomp"))?;
    Ok(target)
}

/// The same directory in a mount of its own, where devices can be made but not opened: writing to one would be writing
/// to the host's disk. Takes the number of the way that leads there without this.
fn without_devices(mut target: OwnedFd) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = match open_tree(&target, "", flags) {
        Ok(mount) => mount,
        // Who may not mount is not root, or root of a container, to whom devices are closed anyway.
        Err(Errno::PERM) => return Ok(target),
        Err(e) => return Err(e.into()),
    };
    mount_attributes::set(&mount, libc::MOUNT_ATTR_NODEV)?;
    dup3(&mount, &mut target, DupFlags::CLOEXEC)?;
    Ok(target)
}

fn limit_resources() -> rustix::io::Result<()> {
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::As, limit(MAX_MEMORY_BYTES))?;
    // Whoever may read a core file may read the image.
    setrlimit(Resource::Core, limit(0))
}

/// A kernel without Landlock, or with an old one, is no error: root directory and seccomp stand without it.
fn restrict_paths(target: BorrowedFd<'_>) -> Result<(), RulesetError> {
    let handled = AccessFs::from_all(LANDLOCK);
    let needed: BitFlags<AccessFs> =
        handled & !(AccessFs::Execute | AccessFs::ReadFile | AccessFs::IoctlDev | AccessFs::MakeSock);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(handled)?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rule(PathBeneath::new(target, needed))?
        .restrict_self()?;
    Ok(())
}

/// Names that begin with `/`, or have too many `..`, end at the target. Users who are not root may not do this; they
/// have Landlock, and no rights over the host's files.
fn change_root(target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::process::fchdir(target)?;
    match rustix::process::chroot(".") {
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(e) => Err(e),
    }
}

fn drop_capabilities() -> rustix::io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    let kept = held.permitted & CAPABILITIES;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}

fn filter(first_own: RawFd) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Memory, but none that could hold new code.
    let not_executable = || {
        let mask = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        SeccompRule::new(vec![SeccompCondition::new(2, SeccompCmpArgLen::Dword, mask, 0)?])
    };
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    let first_argument = |operator: SeccompCmpOp, value: u32| {
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value.into())?])
    };
    for call in ALLOWED_ON_OWN_FILES {
        rules.insert(*call, vec![first_argument(SeccompCmpOp::Ge, first_own.unsigned_abs())?]);
    }
    // abort() ends the process with a signal to itself. Any other process of root's would take one too.
    rules.insert(libc::SYS_tgkill, vec![first_argument(SeccompCmpOp::Eq, std::process::id())?]);
    // The standard library looks at its own descriptors.
    let command = |command: i32| {
        let equal = SeccompCmpOp::Eq;
        SeccompRule::new(vec![SeccompCondition::new(1, SeccompCmpArgLen::Dword, equal, command as u64)?])
    };
    rules.insert(libc::SYS_fcntl, vec![command(libc::F_GETFD)?, command(libc::F_GETFL)?]);
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}
