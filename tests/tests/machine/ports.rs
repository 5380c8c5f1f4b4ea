//! Ports that lead into pods, what a guest may claim to be, and whom it may call.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use nix::unistd::Pid;
use rkt_tests::command::{Stream, limit};
use rkt_tests::rkt::RKT_FAILED;
use serde_json::json;

use crate::network::{Network, alone, expect_gone, host, host_local, traces};
use crate::pod::{INSPECT, Pod, fresh_path, rkt, said};

/// A server and a shell beside it.
const SERVER: &str =
    "echo this is the pod > /tmp/index.html; echo pod is up; exec busybox httpd -f -p 80 -h /tmp";

/// Somebody who is not this host: a name space at the other end of a cable, 10.202.0.2 and fd00:ca::2.
pub struct Outside(PathBuf);

impl Outside {
    pub fn new() -> Self {
        host("ip", &["netns", "add", "other-outside"]);
        let far = ["peer", "name", "eth0", "netns", "other-outside"];
        host("ip", &[&["link", "add", "other-cable", "type", "veth"], &far[..]].concat());
        host("ip", &["addr", "add", "10.202.0.1/24", "dev", "other-cable"]);
        host("ip", &["addr", "add", "fd00:ca::1/64", "dev", "other-cable", "nodad"]);
        host("ip", &["link", "set", "other-cable", "up"]);
        host("ip", &["-n", "other-outside", "addr", "add", "10.202.0.2/24", "dev", "eth0"]);
        host("ip", &["-n", "other-outside", "addr", "add", "fd00:ca::2/64", "dev", "eth0", "nodad"]);
        host("ip", &["-n", "other-outside", "link", "set", "eth0", "up"]);
        Outside(PathBuf::from("/run/netns/other-outside"))
    }

    pub fn within<R: Send>(&self, make: impl FnOnce() -> R + Send) -> R {
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

/// What the server at this address answers, once it listens: its app says that it runs right before.
#[track_caller]
pub fn page(address: &str) -> String {
    let address: SocketAddr = address.parse().expect("an address");
    let deadline = Instant::now() + limit(20);
    let mut stream = loop {
        match TcpStream::connect_timeout(&address, limit(20)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other.unwrap_or_else(|error| panic!("{address}: {error}")),
        }
    };
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

/// The process of the pod's in the host's network name space that is not the supervisor.
#[track_caller]
fn forwarder(pod: &Pod) -> Pid {
    let own = std::fs::read_link("/proc/self/ns/net").expect("a name space");
    let is_here = |pid: &Pid| std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|it| it == own);
    pod.helpers().iter().map(|(pid, _)| *pid).find(is_here).expect("a forwarder")
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

    // By ::1 a port is reached through the forwarder only; the one that fails is replaced.
    kill(forwarder(&pod), Signal::SIGKILL).expect("it runs");
    let failed = "warning: the port forwarder failed: it was killed by signal 9; it is started again";
    pod.running().wait_for(Stream::Err, failed, limit(20));
    assert!(page("[::1]:8080").contains("this is the pod"));

    // The guest is who it says it is.
    let side = host_side(&address);
    let arrived = words(&side, || {
        rkt().run(["enter", "--app=inspect", &pod.uuid, "/spoof", &address]).expect_code(0);
    });
    assert_eq!(arrived, ["checksum", "honest"]);
    let metrics = rkt().run(["status", "--metrics", &pod.uuid]).expect_code(0).out();
    let dropped = metrics.lines().find(|line| line.contains("reason=\"transmit_bad_header\""));
    assert!(dropped.is_some_and(|line| line.ends_with(" 1")), "{metrics}");

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

/// Somebody on a bridge that a pod comes to: a name space, 10.203.7.9 and fd00:cb:7::9, that greets at two ports.
struct Neighbour(File);

impl Neighbour {
    fn new() -> Self {
        host("ip", &["link", "add", "other-egress", "type", "bridge"]);
        host("ip", &["link", "set", "other-egress", "up"]);
        host("ip", &["netns", "add", "other-neighbour"]);
        let far = ["peer", "name", "eth0", "netns", "other-neighbour"];
        host("ip", &[&["link", "add", "other-port", "type", "veth"], &far[..]].concat());
        host("ip", &["link", "set", "other-port", "master", "other-egress", "up"]);
        host("ip", &["-n", "other-neighbour", "addr", "add", "10.203.7.9/24", "dev", "eth0"]);
        host("ip", &["-n", "other-neighbour", "addr", "add", "fd00:cb:7::9/64", "dev", "eth0", "nodad"]);
        host("ip", &["-n", "other-neighbour", "link", "set", "eth0", "up"]);
        Self(File::open("/run/netns/other-neighbour").expect("a name space"))
    }

    fn within<R: Send>(&self, make: impl FnOnce() -> R + Send) -> R {
        let enter = || nix::sched::setns(&self.0, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
        std::thread::scope(|scope| scope.spawn(|| (enter(), make()).1).join().expect("a thread"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        for arguments in [["netns", "del", "other-neighbour"], ["link", "del", "other-egress"]] {
            let _ = std::process::Command::new("ip").args(arguments).output();
        }
    }
}

/// What comes back for a datagram.
#[track_caller]
fn shouted(socket: UdpSocket, to: &str) -> String {
    socket.set_read_timeout(Some(limit(20))).expect("a timeout");
    socket.connect(to).expect("an address");
    socket.send(b"question").expect("sent");
    let mut answer = [0; 64];
    let count = socket.recv(&mut answer).unwrap_or_else(|error| panic!("{to}: {error}"));
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[test]
fn ports_of_both_kinds_lead_in_by_both_protocols_and_egress_rules_by_name_let_out_on_a_bridge_too() {
    let _alone = alone();
    let (outside, neighbour) = (Outside::new(), Neighbour::new());
    for port in [443, 80] {
        greet(outside.within(|| TcpListener::bind(("::", port)).expect("a listener")));
        greet(neighbour.within(|| TcpListener::bind(("::", port)).expect("a listener")));
    }
    greet(TcpListener::bind("0.0.0.0:8443").expect("a listener"));
    let bridged = json!([[{ "subnet": "10.203.7.0/24" }], [{ "subnet": "fd00:cb:7::/64" }]]);
    let networks = [
        Network::define(
            "5-dual",
            json!({ "type": "ptp", "ipMasq": true, "ipam": host_local(&["10.203.6.0/24", "fd00:cb:6::/64"]) }),
        ),
        Network::define(
            "6-bridge",
            json!({ "type": "bridge", "bridge": "other-egress", "isGateway": true,
                    "ipam": { "type": "host-local", "ranges": bridged } }),
        ),
    ];
    let hosts = fresh_path("hosts");
    let names = "127.0.0.1 localhost\n10.202.0.2 mirror.test\n10.203.7.9 neighbour.test\nfd00:cb:7::9 neighbour6.test\n";
    std::fs::write(&hosts, names).expect("a file");
    let before = traces();

    let places = [
        ("mirror.test", 443),
        ("mirror.test", 80),
        ("neighbour.test", 443),
        ("neighbour.test", 80),
        ("neighbour6.test", 443),
        ("neighbour6.test", 80),
        ("10.203.6.1", 8443),
        ("10.203.7.1", 8443),
    ];
    let app = format!("{}{SERVER}", calls(&places));
    let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let allowed = "--egress=allow:tcp:mirror.test:443,tcp:neighbour.test:443,tcp:neighbour6.test:443";
    let flags = [allowed, "--port=www:8080", "--port=dns:5353"];
    let apps = ["example.com/busybox", "--stdout=stream", "--", "-c", &app, "---"];
    let shouting = [INSPECT, "--", "serve-datagrams", "53"];
    let arguments = [&flags[..], &apps, &shouting].concat();
    let mut pod = Pod::start_by_script_on("5-dual,6-bridge", &script, &arguments);
    pod.wait_for("pod is up");

    // Whoever calls is answered, from outside, from the host and from the bridge.
    for place in ["10.202.0.1:8080", "[fd00:ca::1]:8080"] {
        assert!(outside.within(|| page(place)).contains("this is the pod"), "{place}");
    }
    for place in ["10.203.7.2:80", "[fd00:cb:7::2]:80"] {
        assert!(neighbour.within(|| page(place)).contains("this is the pod"), "{place}");
        assert!(page(place).contains("this is the pod"), "{place}");
    }
    let socket = || UdpSocket::bind("[::]:0").expect("a socket");
    let socket_v4 = || UdpSocket::bind("0.0.0.0:0").expect("a socket");
    assert_eq!(shouted(outside.within(socket_v4), "10.202.0.1:5353"), "QUESTION");
    assert_eq!(shouted(outside.within(socket), "[fd00:ca::1]:5353"), "QUESTION");
    assert_eq!(shouted(socket_v4(), "127.0.0.1:5353"), "QUESTION");
    assert_eq!(shouted(socket(), "[::1]:5353"), "QUESTION");
    let rules = host("nft", &["list", "table", "bridge", &format!("rkt-{}", pod.uuid)]);
    assert!(rules.contains("10.203.7.9") && rules.contains("fd00:cb:7::9"), "{rules}");

    // What is mounted in the other name space is nothing that `rkt stop` could use.
    pod.running().send(Signal::SIGTERM);
    let output = pod.finish();
    let answers: Vec<String> = said(&output.stdout, "busybox")
        .into_iter()
        .filter(|line| line.ends_with(" yes") || line.ends_with(" no"))
        .collect();
    let expected = [
        "mirror.test 443 yes",
        "mirror.test 80 no",
        "neighbour.test 443 yes",
        "neighbour.test 80 no",
        "neighbour6.test 443 yes",
        "neighbour6.test 80 no",
        "10.203.6.1 8443 no",
        "10.203.7.1 8443 no",
    ];
    assert_eq!(answers, expected, "{output:?}");
    let networks: Vec<&Network> = networks.iter().collect();
    expect_gone(&pod, &before, &networks);
}
