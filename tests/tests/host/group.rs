//! Who is not root: what needs root says so before anything else, and members of the group that owns the data directory may
//! look.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use rkt_tests::command::{self, Finished, limit};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::held_pod::{exited, release, rkt, start};

/// A user and a group that no machine has.
const USER: &str = "54321";
const GROUP: u32 = 54_322;

/// Gives the data directory to the group as the packaged tmpfiles.d does, and makes what is above it accessible.
fn share(rkt: &TestRkt) {
    fs::set_permissions(rkt.directory(), fs::Permissions::from_mode(0o755)).expect("a mode");
    chown(rkt.data(), Some(0), Some(GROUP)).expect("a group");
    fs::set_permissions(rkt.data(), fs::Permissions::from_mode(0o2750)).expect("a mode");
}

/// Runs rkt as the user, who is in the group or not. The program is copied: the directory it is built in may be private.
fn run_as_user(rkt: &TestRkt, is_member: bool, arguments: &[&str]) -> Finished {
    let original = rkt.command(arguments);
    let program: PathBuf = rkt.path("rkt-of-all");
    if !program.exists() {
        fs::copy(original.get_program(), &program).expect("copying");
    }
    let groups = if is_member { format!("--groups={GROUP}") } else { "--clear-groups".to_owned() };
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), &groups, "--"]);
    command.arg(program).args(original.get_args()).current_dir("/");
    command::run(&mut command, limit(60))
}

#[test]
fn what_needs_root_says_so_first() {
    let rkt = TestRkt::new();
    share(&rkt);
    let guarded: [&[&str]; 6] = [
        &["run", "./missing.aci"],
        &["prepare", "./missing.aci"],
        &["run-prepared", "ffffffff"],
        &["enter", "ffffffff"],
        &["rm", "ffffffff"],
        &["gc"],
    ];

    for arguments in guarded {
        let output = run_as_user(&rkt, true, arguments).expect_code(RKT_FAILED);

        let expected = format!("{}: cannot run as unprivileged user\n", arguments[0]);
        assert_eq!(output.err(), expected, "{arguments:?}");
    }
    let others: [&[&str]; 5] = [
        &["stop", "ffffffff"],
        &["status", "ffffffff"],
        &["cat-manifest", "ffffffff"],
        &["list"],
        &["version"],
    ];
    for arguments in others {
        let output = run_as_user(&rkt, true, arguments);
        assert!(!output.err().contains("unprivileged"), "{arguments:?}: {output:?}");
    }
}

#[test]
fn members_of_the_group_look_at_pods_and_images_whatever_root_s_umask_was() {
    let rkt = rkt();
    share(&rkt);
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let ended = exited(&rkt, &["./app.aci"]);
    fs::write(rkt.path("hold"), "").expect("writing");
    let running = start(&rkt, "running", &["./app.aci"]);
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));

    let list = run_as_user(&rkt, true, &["list", "--no-legend"]).expect_code(0);
    let status = run_as_user(&rkt, true, &["status", &ended]).expect_code(0);
    let manifest = run_as_user(&rkt, true, &["cat-manifest", &ended]).expect_code(0);
    let images = run_as_user(&rkt, true, &["image", "list"]).expect_code(0);

    assert_eq!(list.err(), "");
    for expected in ["exited", "running", "example.com/app:1.0.0"] {
        assert!(list.out().contains(expected), "no {expected} in {list:?}");
    }
    status.expect_out("state=exited").expect_out("app-app=0");
    manifest.expect_out("PodManifest");
    images.expect_out("example.com/app:1.0.0");
    let stranger = run_as_user(&rkt, false, &["list"]).expect_code(RKT_FAILED);
    stranger.expect_err("Permission denied");
    release(&rkt, running);
}
