use std::os::unix::net::UnixListener;

use super::jail::Demand;
use super::plan::SharePlan;
use super::shares::{ShareError, collect, prepare_volumes, put_aside};
use super::users::{Numbers, Users};
use super::volumes::{SharedVolume, VolumeSource};

const OF_THE_POD: Numbers = Numbers::OfThePod(0x7003_0000);

/// No owner of a file in there can be mapped.
fn proc() -> SharedVolume {
    let source = VolumeSource::Host { path: "/proc".into(), recursive: false };
    SharedVolume { name: "v".into(), source, read_only: false }
}

#[test]
fn a_socket_of_the_host_is_no_volume() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let source = VolumeSource::Host { path, recursive: true };
    let volume = SharedVolume { name: "v".into(), source, read_only: false };
    let plan =
        SharePlan { apps: Vec::new(), volumes: vec![volume], may_grow: false, later_volumes: Vec::new() };

    let error = prepare_volumes(&plan).unwrap_err();

    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "it is a socket of the host, which does not reach into a virtual machine");
}

#[test]
fn what_an_app_leaves_in_volumes_of_its_own_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = std::os::fd::OwnedFd::from(std::fs::File::open(directory.path()).unwrap());
    let own = ["web-data".to_owned(), "web-cache".to_owned(), "never-made".to_owned()];
    let make = |name: &str| std::fs::create_dir_all(directory.path().join(name).join("file")).unwrap();
    ["web-data", "web-cache", "others"].into_iter().for_each(make);
    put_aside(Some(&volumes), &own).unwrap();
    make("web-data");

    put_aside(Some(&volumes), &own).unwrap();

    let entries = std::fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".0", ".1", ".2", "others"]);
    assert!(put_aside(None, &own).is_ok());
}

#[test]
fn pod_has_users_of_its_own_if_all_of_its_files_can_now_and_later() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let plan =
        SharePlan { apps: Vec::new(), volumes: Vec::new(), may_grow: false, later_volumes: Vec::new() };
    let now = SharePlan { volumes: vec![proc()], ..plan.clone() };
    let later = SharePlan { may_grow: true, later_volumes: vec![proc()], ..plan.clone() };
    let numbers = |plan, demand| {
        let shares = collect(plan, OF_THE_POD, demand)?;
        Ok::<_, ShareError>(shares.users().map(Users::numbers))
    };

    assert_eq!(numbers(&plan, Demand::Everything).unwrap(), Some(OF_THE_POD));
    for plan in [&now, &later] {
        assert_eq!(numbers(plan, Demand::WhatTheHostHas).unwrap(), Some(Numbers::OfTheHost));
        let refused = numbers(plan, Demand::Everything).unwrap_err().to_string();
        assert_eq!(refused, "files of volume \"v\" cannot have users of the pod's own on this host");
    }
}
