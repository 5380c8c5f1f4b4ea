//! Which operating systems and architectures images may be for.

use crate::{AppcError, Labels};

/// The host's operating system, in the schema's words.
pub const HOST_OS: &str = "linux";

/// The host's architecture, in the schema's words.
pub const HOST_ARCH: &str = "amd64";

/// Architectures the schema knows for linux.
const LINUX_ARCHS: [&str; 8] =
    ["amd64", "i386", "aarch64", "aarch64_be", "armv6l", "armv7l", "armv7b", "ppc64le"];

/// Whether the labels of an image name an operating system and an architecture that the schema knows.
pub fn check_os_arch(labels: &Labels) -> Result<(), AppcError> {
    let os = labels.get("os").ok_or(AppcError::MissingOs)?;
    let arch = labels.get("arch").ok_or(AppcError::MissingArch)?;
    if os != "linux" {
        return Err(AppcError::BadOs(os.to_owned()));
    }
    if !LINUX_ARCHS.contains(&arch) {
        return Err(AppcError::BadArch {
            os: os.to_owned(),
            arch: arch.to_owned(),
            known: LINUX_ARCHS.join(" "),
        });
    }
    Ok(())
}

/// Whether this host can run an image with these labels. rkt let such pods start and fail inside; a virtual machine
/// cannot even boot for a foreign processor, so the answer is known before. The guest kernel runs 64-bit programs only.
pub fn check_host(labels: &Labels) -> Result<(), AppcError> {
    check_os_arch(labels)?;
    match labels.get("arch") {
        Some(HOST_ARCH) => Ok(()),
        arch => Err(AppcError::WrongHost {
            os: labels.get("os").unwrap_or_default().to_owned(),
            arch: arch.unwrap_or_default().to_owned(),
            host_os: HOST_OS.to_owned(),
            host_arch: HOST_ARCH.to_owned(),
        }),
    }
}
