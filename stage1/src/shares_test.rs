use std::os::unix::net::UnixListener;

use super::plan::SharePlan;
use super::shares::{prepare_volumes, put_aside};
use super::volumes::{SharedVolume, VolumeSource};

#[test]
fn a_socket_of_the_host_is_no_volume() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let source = VolumeSource::Host { path, recursive: true };
    let volume = SharedVolume { name: "v".into(), source, read_only: false };
    let plan = SharePlan { apps: Vec::new(), volumes: vec![volume], may_grow: false, later: Vec::new() };

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
