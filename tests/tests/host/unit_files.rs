//! The unit files in docs/systemd, and what they rely on: commands that a service runs again and again with a file that holds
//! the pod's UUID, or does not yet.

use std::fs;
use std::process::Command;

use rkt_tests::dist;
use rkt_tests::rkt::RKT_FAILED;

use crate::publisher::{self, run_arguments};

#[test]
fn systemd_accepts_the_unit_files() {
    let place = tempfile::tempdir().expect("a directory");
    let program = dist::file("rkt").display().to_string();
    let mut units = Vec::new();
    for entry in fs::read_dir(dist::workspace().join("docs/systemd")).expect("listing") {
        let path = entry.expect("listing").path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if !["service", "timer", "socket"].contains(&kind) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("reading").replace("/usr/bin/rkt", &program);
        // A template is checked as an instance of it.
        let name = path.file_name().expect("a name").to_string_lossy().replace("@.", "@instance.");
        let unit = place.path().join(name);
        fs::write(&unit, text).expect("writing");
        units.push(unit);
    }

    let verdict = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output();

    let verdict = verdict.expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&verdict.stderr);
    assert!(verdict.status.success() && said.is_empty(), "{said}");
    assert_eq!(units.len(), 7);
}

#[test]
fn every_directory_that_rkt_makes_for_group_rkt_is_in_the_tmpfiles() {
    let path = dist::workspace().join("docs/systemd/rkt-tmpfiles.conf");
    let listed = fs::read_to_string(path).expect("reading");
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    rkt.run(run_arguments(&["./app.aci"])).expect_code(0);

    let mut made = Vec::new();
    for directory in ["", "pods", "cas"] {
        for entry in fs::read_dir(rkt.data().join(directory)).expect("listing") {
            let entry = entry.expect("listing");
            if entry.file_type().expect("a type").is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                made.push(format!("/var/lib/rkt/{directory}/{name}").replace("//", "/"));
            }
        }
    }

    let missing: Vec<&String> = made.iter().filter(|path| !listed.contains(&format!("d {path} "))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// `ExecStartPre=-rkt rm`, `ExecStart=rkt run`, `ExecStop=-rkt stop`, `ExecStopPost=rkt gc --mark-only`, and the same again.
#[test]
fn a_service_finds_and_removes_its_last_pod_by_the_file() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let mut last = String::new();
    for round in 0..3 {
        let rm = rkt.run(["rm", "--uuid-file=service.uuid"]);
        if round == 0 {
            rm.expect_code(RKT_FAILED)
                .expect_err("unable to resolve UUID from file")
                .expect_err("service.uuid");
        } else {
            rm.expect_code(0).expect_out(&format!("\"{last}\""));
        }
        rkt.run(run_arguments(&["--uuid-file-save=service.uuid", "./app.aci"])).expect_code(0);
        last = rkt.uuid("service.uuid");
        rkt.run(["stop", "--uuid-file=service.uuid"])
            .expect_out(&format!("pod \"{last}\" is already stopped"));
        rkt.run(["gc", "--mark-only"]).expect_code(0);
        assert_eq!(rkt.pods_in("run"), [""; 0]);
        assert_eq!(rkt.pods_in("exited-garbage"), [last.clone()], "earlier pods are gone");
    }
}

#[test]
fn a_file_that_names_no_pod_is_an_error_that_says_so() {
    let rkt = publisher::rkt();
    for (content, message) in
        [("", "no UUID in file"), ("9a6b12cd-0000-4000-8000-000000000000\n", "no matches found")]
    {
        fs::write(rkt.path("service.uuid"), content).expect("writing");

        rkt.run(["rm", "--uuid-file=service.uuid"]).expect_code(RKT_FAILED).expect_err(message);
    }
}
