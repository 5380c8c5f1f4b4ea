use std::os::unix::net::UnixListener;

use super::plan::SharePlan;
use super::shares::prepare_volumes;
use super::volumes::{SharedVolume, VolumeSource};

#[test]
fn a_socket_of_the_host_is_no_volume() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let source = VolumeSource::Host { path, recursive: true };
    let volume = SharedVolume { name: "v".into(), source, read_only: false };
    let plan = SharePlan { apps: Vec::new(), volumes: vec![volume], may_grow: false };

    let error = prepare_volumes(&plan).unwrap_err();

    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "it is a socket of the host, which does not reach into a virtual machine");
}
