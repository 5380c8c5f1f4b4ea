//! Ports that lead into pods, what a guest may claim to be, and whom it may call.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use rkt_tests::command::limit;
use rkt_tests::rkt::RKT_FAILED;

use crate::network::{alone, host, traces};
use crate::pod::{INSPECT, Pod, rkt};

/// A server and a shell beside it.
const SERVER: &str =
    "echo this is the pod > /tmp/index.html; echo pod is up; exec busybox httpd -f -p 80 -h /tmp";

/// Somebody who is not this host: a name space at the other end of a cable, 10.202.0.2.
struct Outside(PathBuf);

impl Outside {
    fn new() -> Self {
        host("ip", &["netns", "add", "other-outside"]);
        let far = ["peer", "name", "eth0", "netns", "other-outside"];
        host("ip", &[&["link", "add", "other-cable", "type", "veth"], &far[..]].concat());
        host("ip", &["addr", "add", "10.202.0.1/24", "dev", "other-cable"]);
        host("ip", &["link", "set", "other-cable", "up"]);
        host("ip", &["-n", "other-outside", "addr", "add", "10.202.0.2/24", "dev", "eth0"]);
        host("ip", &["-n", "other-outside", "link", "set", "eth0", "up"]);
        Outside(PathBuf::from("/run/netns/other-outside"))
    }

    fn within<R: Send>(&self, make: impl FnOnce() -> R + Send) -> R {
        let file = File::open(&self.0).expect("a name space");
        let enter = || nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
        std::thread::scope(|scope| scope.spawn(|| (enter(), make()).1).join().expect("a thread"))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "del", "other-outside"]).output();
    }
}

/// What the server at this address answers.
#[track_caller]
fn page(address: &str) -> String {
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream =
        TcpStream::connect_timeout(&address, limit(20)).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(limit(20))).expect("a timeout");
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{address}: {error}"));
    text
}

fn tables() -> String {
    host("nft", &["list", "tables"])
}

/// The interface of the host's that leads to the pod.
fn host_side(pod: &str) -> String {
    let route = host("ip", &["-o", "route", "get", pod]);
    route.split_whitespace().skip_while(|word| *word != "dev").nth(1).expect("an interface").to_owned()
}

/// The words of the frames that arrive at the interface until the honest one.
fn words(interface: &str, send: impl FnOnce()) -> Vec<String> {
    let everything = SockProtocol::EthAll;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, everything).expect("a socket");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20).expect("room");
    send();
    let mut words = Vec::new();
    let (deadline, mut frame) = (Instant::now() + limit(20), [0; 2048]);
    while !words.iter().any(|word| word == "honest") {
        assert!(Instant::now() < deadline, "nothing honest at {interface}: {words:?}");
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(count) => {
                let text = String::from_utf8_lossy(&frame[..count]).into_owned();
                let word = text.split_once("spoof-test:").and_then(|(_, rest)| rest.split_once([';', '.']));
                words.extend(word.map(|(word, _)| word.to_owned()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    words.dedup();
    words
}

#[test]
fn a_port_leads_to_the_pod_whose_guest_sends_as_itself_only_and_nothing_of_it_is_left() {
    let _alone = alone();
    let outside = Outside::new();
    let before = traces();

    let apps = [
        "example.com/busybox",
        "--stdout=stream",
        "--",
        "-c",
        SERVER,
        "---",
        INSPECT,
        "--",
        "sleep",
        "100000",
    ];
    let mut pod = Pod::start_on("default", &[&["--port=www:8080"], &apps[..]].concat());
    pod.wait_for("pod is up");
    let address = rkt().status_value(&pod.uuid, "networks").expect("networks");
    let address = address.strip_prefix("default:ip4=").expect("one network").to_owned();

    for place in ["127.0.0.1:8080", "[::1]:8080", "10.202.0.1:8080", &format!("{address}:80")] {
        assert!(page(place).contains("this is the pod"), "{place}");
    }
    assert!(outside.within(|| page("10.202.0.1:8080")).contains("this is the pod"));

    // The port is the pod's.
    let second =
        ["run", "--insecure-options=image", "--net=default", "--port=www:8080", INSPECT, "--", "exit", "0"];
    let refused = rkt().run(second).expect_code(RKT_FAILED);
    refused.expect_err(&format!("port tcp-0.0.0.0:8080 is taken by pod {}", pod.uuid));
    let listener = TcpListener::bind("127.0.0.1:8081").expect("a listener");
    let second =
        ["run", "--insecure-options=image", "--net=default", "--port=www:8081", INSPECT, "--", "exit", "0"];
    rkt()
        .run(second)
        .expect_code(RKT_FAILED)
        .expect_err("port tcp-0.0.0.0:8081 is taken by a program on this host");
    drop(listener);

    // The guest is who it says it is.
    let side = host_side(&address);
    let arrived = words(&side, || {
        rkt().run(["enter", "--app=inspect", &pod.uuid, "/spoof", &address]).expect_code(0);
    });
    assert_eq!(arrived, ["checksum", "honest"]);

    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish();
    pod.run(["rm", &pod.uuid]).expect_code(0);
    assert!(!tables().contains(&pod.uuid), "{}", tables());
    let left: Vec<String> =
        traces().difference(&before).filter(|trace| !trace.contains("other-")).cloned().collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// What the pod's calls come to: `ADDRESS PORT` is answered `yes` or `no`.
fn calls(to: &[(&str, u16)]) -> String {
    to.iter()
        .map(|(host, port)| {
            format!("busybox nc -w 3 {host} {port} < /dev/null > /tmp/said; [ -s /tmp/said ] && echo {host} {port} yes || echo {host} {port} no; ")
        })
        .collect()
}

/// Greets whoever calls until the test ends.
fn greet(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever hangs up before the greeting does not want it.
            drop(stream.and_then(|mut stream| stream.write_all(b"hello\n")));
        }
    });
}

#[test]
fn a_pod_calls_whom_its_network_and_its_egress_rules_allow() {
    let _alone = alone();
    let outside = Outside::new();
    for port in [443, 80] {
        greet(outside.within(|| TcpListener::bind(("10.202.0.2", port)).expect("a listener")));
    }
    greet(TcpListener::bind("0.0.0.0:8443").expect("a listener"));
    let output_of = |networks: &str, flags: &[&str], to: &[(&str, u16)]| {
        // A hostile guest finds the way that it was not shown.
        let way = "busybox ip route add default via $(busybox ip route | busybox sed -n 's/.*via \\([0-9.]*\\).*/\\1/p' \
                   | busybox head -n 1) 2> /dev/null; ";
        let script = format!("{way}{}", calls(to));
        let app = ["example.com/busybox", "--stdout=stream", "--", "-c", &script];
        let mut pod = Pod::start_on(networks, &[flags, &app[..]].concat());
        let text = pod.finish().expect_code(0).out();
        assert!(tables().contains(&pod.uuid), "{}", tables());
        pod.run(["rm", &pod.uuid]).expect_code(0);
        assert!(!tables().contains(&pod.uuid), "{}", tables());
        text
    };

    let everybody = output_of("default", &[], &[("10.202.0.2", 443), ("10.202.0.1", 8443)]);
    assert!(
        everybody.contains("10.202.0.2 443 yes") && everybody.contains("10.202.0.1 8443 yes"),
        "{everybody}"
    );

    let restricted = output_of("default-restricted", &[], &[("10.202.0.2", 443), ("172.31.0.1", 8443)]);
    assert!(restricted.contains("10.202.0.2 443 no"), "{restricted}");
    assert!(restricted.contains("172.31.0.1 8443 yes"), "{restricted}");

    let flags = ["--hosts-entry=10.202.0.2=mirror", "--egress=allow:tcp:10.202.0.0/24:443"];
    let places = [("mirror", 443), ("10.202.0.2", 80), ("172.16.28.1", 8443), ("10.202.0.1", 8443)];
    let some = output_of("default", &flags, &places);
    // Behind the time and the app's name.
    let said = some.lines().filter_map(|line| Some(line.split_once("]: ")?.1));
    let lines: Vec<&str> = said.filter(|line| line.ends_with(" yes") || line.ends_with(" no")).collect();
    assert_eq!(
        lines,
        ["mirror 443 yes", "10.202.0.2 80 no", "172.16.28.1 8443 no", "10.202.0.1 8443 no"],
        "{some}"
    );

    let refused = ["run", "--insecure-options=image", "--net=default", "--egress=none", INSPECT];
    rkt().run(refused).expect_code(RKT_FAILED).expect_err("neither \"deny\" nor");
}
