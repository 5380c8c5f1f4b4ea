//! In tests, the program that extraction starts is the test binary, and one test of this file is what it then does.

// The exit code is the result of an attempt.
#![allow(clippy::exit)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::test_archive::{TestArchive, extract_all};
use super::{Layout, Options, Selection, Source, extract, jail};

/// The test that is the jailed process when [`ATTEMPT`] is set.
const ENTRY: [&str; 4] =
    ["--exact", "extract::jail_test::jailed_process_can_write_below_its_target", "--nocapture", "--quiet"];
/// Set for a test binary that is to be a jailed process: what it tries.
const ATTEMPT: &str = "RKT_TEST_ATTEMPT";
/// Nothing but its work.
const EXTRACT: &str = "extract";
/// Exit code of an attempt that the kernel refused.
const REFUSED: i32 = 10;
/// Exit code of an attempt that succeeded.
const SUCCEEDED: i32 = 11;

/// Makes a command run the extractor of the test binary.
pub(super) fn be_the_test_binary(command: &mut Command) {
    command.args(ENTRY).env(ATTEMPT, EXTRACT);
    // The test harness prints what it runs.
    command.stdout(Stdio::null());
}

/// Tries something as a jailed process; the exit code says what came of it.
fn attempt(what: &str) -> ! {
    let outside = std::env::var("RKT_TEST_OUTSIDE").unwrap();
    fs::create_dir_all(format!("{outside}/rootfs")).unwrap();
    let target = fs::File::open(format!("{outside}/rootfs")).unwrap();
    let outside_fd = fs::File::open(&outside).unwrap();
    let parent = std::os::unix::process::parent_id();
    let target = jail::confine(target.into()).unwrap();
    let flags = rustix::fs::OFlags::RDONLY;
    let mode = rustix::fs::Mode::empty();
    let result = match what {
        "read-host" => fs::read("/etc/passwd").map(drop),
        "write-host" => fs::write(format!("{outside}/written"), b"x"),
        "read-through-descriptor" => {
            rustix::fs::openat(&outside_fd, "secret", flags, mode).map(drop).map_err(Into::into)
        }
        "link-host" => {
            rustix::fs::linkat(&outside_fd, "secret", &target, "stolen", rustix::fs::AtFlags::empty())
                .map_err(Into::into)
        }
        "read-own-file" => {
            let create = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            rustix::fs::openat(&target, "own", create, 0o600.into()).unwrap();
            rustix::fs::openat(&target, "own", flags, mode).map(drop).map_err(Into::into)
        }
        "write-target" => {
            let create = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
            rustix::fs::openat(&target, "own", create, 0o600.into()).map(drop).map_err(Into::into)
        }
        "open-device" => {
            let null = rustix::fs::makedev(1, 3);
            rustix::fs::mknodat(&target, "null", rustix::fs::FileType::CharacterDevice, 0o600.into(), null)
                .and_then(|()| rustix::fs::openat(&target, "null", rustix::fs::OFlags::WRONLY, mode))
                .map(drop)
                .map_err(Into::into)
        }
        "change-given-file" => rustix::fs::fchmod(&outside_fd, 0o777.into()).map_err(Into::into),
        "change-given-file-by-another-number" => {
            rustix::io::fcntl_dupfd_cloexec(&outside_fd, 100).map(drop).map_err(Into::into)
        }
        "signal" => {
            // SAFETY: no memory is involved, and signal 0 is none.
            let result = unsafe { libc::syscall(libc::SYS_tgkill, parent, parent, 0) };
            if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        }
        "socket" => std::net::UdpSocket::bind("127.0.0.1:0").map(drop),
        "execute" => Command::new("/bin/true").status().map(drop),
        "thread" => std::thread::Builder::new().spawn(|| ()).map(drop),
        "change-root" => rustix::process::chroot(".").map_err(Into::into),
        "mount" => rustix::mount::unmount("/", rustix::mount::UnmountFlags::DETACH).map_err(Into::into),
        other => panic!("{other}?"),
    };
    std::process::exit(if result.is_ok() { SUCCEEDED } else { REFUSED });
}

/// What becomes of a jailed process that tries something.
fn attempting(what: &str) -> std::process::ExitStatus {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("secret"), "of the host").unwrap();
    let status = Command::new("/proc/self/exe")
        .args(ENTRY)
        .env(ATTEMPT, what)
        .env("RKT_TEST_OUTSIDE", place.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(!place.path().join("written").exists());
    assert!(!place.path().join("rootfs/stolen").exists());
    status
}

#[test]
fn jailed_process_can_write_below_its_target() {
    match std::env::var(ATTEMPT).as_deref() {
        Ok(EXTRACT) => std::process::exit(super::run_extractor().into()),
        Ok(what) => attempt(what),
        Err(_) => assert_eq!(attempting("write-target").code(), Some(SUCCEEDED)),
    }
}

#[test]
fn jailed_process_cannot_use_a_path_outside_its_target() {
    for what in ["read-host", "write-host", "read-through-descriptor", "link-host", "read-own-file"] {
        assert_eq!(attempting(what).code(), Some(REFUSED), "{what}");
    }
}

#[test]
fn jailed_process_is_killed_when_it_does_what_extracting_does_not_take() {
    for what in ["socket", "execute", "thread", "change-root", "mount", "signal"] {
        assert_eq!(attempting(what).signal(), Some(libc::SIGSYS), "{what}");
    }
}

#[test]
fn jailed_process_cannot_open_the_devices_it_makes() {
    assert_eq!(attempting("open-device").code(), Some(REFUSED));
}

#[test]
fn jailed_process_cannot_change_the_files_it_was_given() {
    for what in ["change-given-file", "change-given-file-by-another-number"] {
        assert_eq!(attempting(what).signal(), Some(libc::SIGSYS), "{what}");
    }
}

#[test]
fn archive_that_cannot_be_read_to_its_end_is_reported_as_that() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let place = tempfile::tempdir().unwrap();
    let options = Options { layout: Layout::Image, selection: Selection::default() };

    let error = extract(Source::Stream(&mut Broken), place.path(), &options, None).unwrap_err();

    assert_eq!(error.to_string(), "cannot read the archive: the disk is gone");
}

#[test]
fn error_of_the_jailed_process_arrives_with_its_kind() {
    let place = tempfile::tempdir().unwrap();
    let archive = TestArchive::new().file(&format!("rootfs/{}", "n".repeat(300)), b"");

    let error = extract_all(archive, Layout::Image, place.path());

    assert!(
        matches!(error, Err(super::ExtractError::Refused { name, .. }) if name.starts_with("rootfs/nnn"))
    );
}
