//! `rkt api-service`: where it listens.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use rkt_tests::command::{Running, Stream, limit};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::api_client::Api;

/// The version that a service tells.
fn version(api: &Api) -> String {
    let request = crate::api_client::wire::GetInfoRequest {};
    let answer = api.ask(async |mut client| client.get_info(request).await).expect("an answer");
    answer.info.expect("info").api_version
}

/// Starts a service on a port of its own choice; says which.
fn start_on_port(rkt: &TestRkt, address: &str) -> (Running, String) {
    let mut service = rkt.start(["--debug", "api-service", &format!("--listen={address}")]);
    service.wait_for(Stream::Err, "API service running\n", limit(30));
    let said = service.so_far(Stream::Err);
    let line = said.lines().find_map(|line| line.split_once("listening on ")).expect("an address").1;
    let port = line.rsplit(':').next().expect("a port").to_owned();
    (service, port)
}

#[test]
fn it_listens_on_a_port() {
    for (address, host) in [("127.0.0.1:0", "127.0.0.1"), ("localhost:0", "127.0.0.1"), (":0", "127.0.0.1")] {
        let rkt = TestRkt::new();
        let (service, port) = start_on_port(&rkt, address);

        let api = Api::over(service, &format!("http://{host}:{port}"));

        assert_eq!(version(&api), "1.0.0-alpha", "{address}");
        api.stop().expect_code(0);
    }
}

#[test]
fn addresses_that_cannot_be_had_are_refused() {
    let rkt = TestRkt::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("--listen={}", taken.local_addr().expect("an address"));
    // Whoever has the default port, it is not to be had a second time.
    let default = TcpListener::bind("127.0.0.1:15441");

    rkt.run(["api-service", &taken]).expect_code(RKT_FAILED).expect_err("api-service: cannot listen on");
    rkt.run(["api-service"]).expect_code(RKT_FAILED).expect_err("localhost:15441");
    for address in ["nonsense", "localhost", "unix://relative.sock", ""] {
        let listen = format!("--listen={address}");
        rkt.run(["api-service", &listen]).expect_code(RKT_FAILED);
    }
    drop(default);
}

#[test]
fn its_unix_socket_is_for_owner_and_group_and_replaces_a_stale_one() {
    let rkt = TestRkt::new();
    let path = rkt.path("api.sock");
    let mut killed = Api::start(&rkt);
    killed.service().send(Signal::SIGKILL);
    assert_ne!(killed.finish().code(), 0);
    assert!(path.exists(), "nobody removed it");

    let api = Api::start(&rkt);

    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let listen = format!("--listen=unix://{}", path.display());
    rkt.run(["api-service", &listen]).expect_code(RKT_FAILED).expect_err("api.sock");
    assert_eq!(version(&api), "1.0.0-alpha", "the first service still answers");
    api.stop().expect_code(0);
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_stays() {
    let rkt = TestRkt::new();
    fs::write(rkt.path("precious"), "data").expect("writing");

    let listen = format!("--listen=unix://{}", rkt.path("precious").display());
    rkt.run(["api-service", &listen]).expect_code(RKT_FAILED);

    assert_eq!(fs::read_to_string(rkt.path("precious")).expect("the file"), "data");
}

/// The command with descriptors from 3 on, as systemd passes sockets.
pub fn activated(command: &Command, sockets: Vec<OwnedFd>) -> Command {
    let script = format!("export LISTEN_PID=$$ LISTEN_FDS={}; exec \"$@\"", sockets.len());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    // Out of the way of the numbers that they will have.
    let high = |socket: &OwnedFd| fcntl(socket, FcntlArg::F_DUPFD_CLOEXEC(100)).expect("a descriptor");
    let high: Vec<i32> = sockets.iter().map(high).collect();
    let pass = move || {
        for (number, socket) in (3..).zip(&high) {
            // SAFETY: the descriptor is open, because nobody closes it, and the number is not used by this process's own code.
            let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(*socket) };
            // SAFETY: in the child nothing owns the numbers from 3 on; it executes another program next.
            let passed = unsafe { nix::unistd::dup2_raw(borrowed.as_fd(), number) }?;
            let _ = passed.into_raw_fd();
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls and touches no memory that other threads share.
    unsafe { shell.pre_exec(pass) };
    shell
}

#[test]
fn sockets_of_the_service_manager_are_all_served() {
    let rkt = TestRkt::new();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    let path = rkt.path("manager.sock");
    let file = UnixListener::bind(&path).expect("a socket");
    let mut command = activated(&rkt.command(["api-service"]), vec![port.into(), file.into()]);

    let api = Api::over(Running::start(&mut command), &format!("http://{address}"));

    assert_eq!(version(&api), "1.0.0-alpha");
    let api = api.at(&format!("unix://{}", path.display()));
    assert_eq!(version(&api), "1.0.0-alpha");
    api.stop().expect_code(0);
    assert!(path.exists(), "it is the manager's");
}

#[test]
fn sockets_of_the_service_manager_exclude_an_address_and_must_listen() {
    let rkt = TestRkt::new();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let file = fs::File::open("/dev/null").expect("a file");

    let both = rkt.command(["api-service", "--listen=127.0.0.1:0"]);
    let both = Running::start(&mut activated(&both, vec![port.into()]));
    let no_socket = Running::start(&mut activated(&rkt.command(["api-service"]), vec![file.into()]));

    both.finish(limit(30)).expect_code(RKT_FAILED).expect_err("--listen cannot be used together");
    no_socket.finish(limit(30)).expect_code(RKT_FAILED).expect_err("socket of the service manager");
}
