use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use std::time::{Duration, Instant};

use guest_api::{MAX_STATUS_BYTES, Notice};

use super::service_manager::ServiceManager;

fn heard(socket: &UnixDatagram) -> Vec<String> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 100];
    let next = || socket.recv(&mut buffer).ok().map(|it| String::from_utf8_lossy(&buffer[..it]).into_owned());
    std::iter::from_fn(next).collect()
}

#[test]
fn manager_is_told_each_state_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut manager = ServiceManager::at(path.as_os_str()).unwrap();

    manager.ready();
    manager.ready();
    manager.stopping();
    manager.stopping();

    assert_eq!(heard(&socket), ["READY=1", "STOPPING=1"]);
}

#[test]
fn manager_may_have_an_abstract_address() {
    let name = format!("rkt-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();

    ServiceManager::at(&OsString::from(format!("@{name}"))).unwrap().ready();

    assert_eq!(heard(&socket), ["READY=1"]);
}

#[test]
fn address_of_another_kind_is_none() {
    assert!(ServiceManager::at(OsStr::new("vsock:2:1234")).is_err());
    assert!(ServiceManager::at(OsStr::new("")).is_err());
    ServiceManager::default().ready();
}

#[test]
fn manager_hears_what_apps_say_but_no_line_of_their_own_and_not_too_much() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut manager = ServiceManager::at(path.as_os_str()).unwrap();
    let now = Instant::now();
    let status = |text: &str| Notice::Status(text.to_owned());

    manager.pass_on("web", &[status("3 clients"), Notice::Alive], now);
    manager.pass_on("web", &[status("x\nMAINPID=1"), status(&"x".repeat(MAX_STATUS_BYTES + 1))], now);
    assert_eq!(heard(&socket), ["STATUS=web: 3 clients", "WATCHDOG=1"]);

    (0..100).for_each(|_| manager.pass_on("web", &[Notice::Alive], now));
    assert_eq!(heard(&socket).len(), 8);
    manager.pass_on("web", &[Notice::Alive], now + Duration::from_secs(1));
    assert_eq!(heard(&socket).len(), 1);
}
