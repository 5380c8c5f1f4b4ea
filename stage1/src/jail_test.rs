use std::os::fd::AsFd;

use rustix::fs::StatVfsMountFlags;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::thread::UnshareFlags;

use super::jail;
use super::process::{Company, End, spawn};

/// In a child, with the right to mount: as root, or else as root of a name space of its own.
fn attributes_of_an_inert_mount() -> Result<u64, String> {
    if !rustix::process::geteuid().is_root() {
        // SAFETY: only CLONE_FILES, which is not among the flags, invalidates descriptors.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
            .map_err(|error| error.to_string())?;
    }
    let make = || {
        let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    let mount = make().map_err(|error| error.to_string())?;
    jail::make_inert(&mount).map_err(|error| error.to_string())?;
    Ok(rustix::fs::fstatvfs(&mount).map_err(|error| error.to_string())?.f_flag.bits())
}

#[test]
fn inert_mount_leads_to_no_device_and_runs_nothing() {
    let child = spawn("test", Company::Host, &[], attributes_of_an_inert_mount).unwrap();

    let End::Done(Ok(bits)) = child.wait::<Result<u64, String>>().unwrap() else { panic!("no mount") };

    let wanted = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOEXEC | StatVfsMountFlags::NOSUID;
    assert!(StatVfsMountFlags::from_bits_retain(bits).contains(wanted), "{bits:#x}");
}
