//! The host's packet filter around a pod: name spaces of the test's own stand for the host, the pod and the world outside.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use firewall::{
    Destination, Forward, Link, Pod, PodAddress, Reach, Reservation, ReservationError, forwarder, table,
};
use nftables::{Connection, Family, Protocol};

/// More than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Long enough for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);

const UUID: &str = "c7a1b2d4-0000-4000-8000-000000000001";

fn run(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().expect("a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network name space, as long as this lives.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", "echo; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare");
        // By its word it is in there.
        child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("a line");
        Namespace(child)
    }

    fn run(&self, command: &str) {
        run(&format!("nsenter -t {} -n sh -ec '{command}'", self.0.id()));
    }

    /// Sockets stay in the name space they were made in.
    fn within<R: Send>(&self, make: impl FnOnce() -> R + Send) -> R {
        let file = File::open(format!("/proc/{}/ns/net", self.0.id())).expect("a name space");
        let enter = || nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
        std::thread::scope(|scope| scope.spawn(|| (enter(), make()).1).join().expect("a thread"))
    }

    fn connect(&self, to: &str) -> io::Result<TcpStream> {
        self.within(|| connect(to))
    }

    fn listen(&self, at: &str) -> TcpListener {
        self.within(|| TcpListener::bind(at).expect("a listener"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn connect(to: &str) -> io::Result<TcpStream> {
    let address: SocketAddr = to.parse().expect("an address");
    TcpStream::connect_timeout(&address, PATIENCE)
}

/// The caller's address as the listener sees it; what was said arrives.
fn called_by(listener: &TcpListener, call: io::Result<TcpStream>) -> IpAddr {
    let mut call = call.expect("a connection");
    call.write_all(b"hello").expect("sent");
    let (mut answer, from) = listener.accept().expect("accepted");
    answer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut said = [0; 5];
    answer.read_exact(&mut said).expect("received");
    assert_eq!(&said, b"hello");
    answer.write_all(b"world").expect("sent");
    call.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    call.read_exact(&mut said).expect("received");
    assert_eq!(&said, b"world");
    from.ip().to_canonical()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The test's thread is the host. Its pod is 172.16.28.2, fd28::2 behind `vp`; outside are 192.0.2.2, fd02::2.
struct Host {
    pod: Namespace,
    outside: Namespace,
}

impl Host {
    fn new() -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network name space");
        let (pod, outside) = (Namespace::new(), Namespace::new());
        run("ip link set lo up
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
             echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
        run(&format!(
            "ip link add vp type veth peer name eth0 netns {}
             ip addr add 172.16.28.1/32 dev vp; ip addr add fd28::1/128 dev vp nodad; ip link set vp up
             ip route add 172.16.28.2/32 dev vp; ip route add fd28::2/128 dev vp
             ip link add vo type veth peer name eth0 netns {}
             ip addr add 192.0.2.1/24 dev vo; ip addr add fd02::1/64 dev vo nodad; ip link set vo up",
            pod.0.id(),
            outside.0.id()
        ));
        pod.run(
            "ip addr add 172.16.28.2/32 dev eth0; ip addr add fd28::2/128 dev eth0 nodad; ip link set eth0 up
             ip route add 172.16.28.1 dev eth0; ip route add default via 172.16.28.1
             ip route add fd28::1 dev eth0; ip route add default via fd28::1",
        );
        outside.run(
            "ip addr add 192.0.2.2/24 dev eth0; ip addr add fd02::2/64 dev eth0 nodad; ip link set eth0 up",
        );
        Host { pod, outside }
    }

    /// With one network, like the built-in one.
    fn pod() -> Pod {
        let address = |address: &str, subnet: &str| PodAddress {
            address: ip(address),
            subnet: subnet.parse().expect("a subnet"),
        };
        let link = Link {
            network: "default".into(),
            interface: Some("vp".into()),
            own: true,
            port: None,
            addresses: vec![address("172.16.28.2", "172.16.28.0/24"), address("fd28::2", "fd28::/64")],
            masquerade: true,
            reach: Reach::Everybody,
        };
        Pod { uuid: UUID.into(), links: vec![link], ..Pod::default() }
    }
}

fn tcp(host: Option<&str>, host_port: u16, pod_port: u16) -> Forward {
    Forward { protocol: Protocol::Tcp, host: host.map(ip), host_port, pod_port }
}

fn udp(host_port: u16, pod_port: u16) -> Forward {
    Forward { protocol: Protocol::Udp, host: None, host_port, pod_port }
}

/// Takes the ports, makes the rules and lets the forwarder run for as long as the test's process does.
fn start(pod: &Pod) {
    let reservation = Reservation::make(&pod.forwards).expect("free ports");
    table::install(pod).expect("rules");
    let addresses = pod.forward_addresses();
    std::thread::spawn(move || forwarder::serve(reservation, &addresses));
}

fn tables() -> Vec<String> {
    let chains =
        Connection::open().and_then(|mut connection| connection.chains(Family::Inet)).expect("chains");
    let mut tables: Vec<String> = chains.into_iter().map(|(table, _)| table).collect();
    tables.dedup();
    tables
}

fn is_on(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
    fs::read_to_string(path).expect("a setting").trim() == "1"
}

#[test]
fn a_pod_calls_the_world_by_the_hosts_address_until_its_table_is_removed() {
    let host = Host::new();
    let outside = host.outside.listen("192.0.2.2:80");
    let outside_v6 = host.outside.listen("[fd02::2]:80");
    table::install(&Host::pod()).expect("rules");

    assert_eq!(called_by(&outside, host.pod.connect("192.0.2.2:80")), ip("192.0.2.1"));
    assert_eq!(called_by(&outside_v6, host.pod.connect("[fd02::2]:80")), ip("fd02::1"));

    assert_eq!(tables(), [format!("rkt-{UUID}")]);
    for _ in 0..2 {
        table::remove(UUID).expect("removed");
        assert!(tables().is_empty());
    }
}

#[test]
fn a_port_leads_to_the_pod_from_everywhere() {
    let host = Host::new();
    let listener = host.pod.listen("[::]:80");
    let mut pod = Host::pod();
    pod.forwards = vec![tcp(None, 8080, 80)];
    start(&pod);

    // From outside, the pod sees who calls.
    assert_eq!(called_by(&listener, host.outside.connect("192.0.2.1:8080")), ip("192.0.2.2"));
    assert_eq!(called_by(&listener, host.outside.connect("[fd02::1]:8080")), ip("fd02::2"));
    // From the host, by each of its addresses.
    called_by(&listener, connect("192.0.2.1:8080"));
    assert_eq!(called_by(&listener, connect("127.0.0.1:8080")), ip("172.16.28.1"));
    called_by(&listener, connect("[fd02::1]:8080"));
    assert_eq!(called_by(&listener, connect("[::1]:8080")), ip("fd28::1"));
    // From the pod itself, by the host's address.
    called_by(&listener, host.pod.connect("192.0.2.1:8080"));
    // By the kernel alone as well as without it.
    run("nft flush ruleset");
    called_by(&listener, host.outside.connect("192.0.2.1:8080"));
    called_by(&listener, connect("127.0.0.1:8080"));
}

#[test]
fn a_port_of_one_address_is_not_one_of_the_others() {
    let host = Host::new();
    let listener = host.pod.listen("[::]:80");
    let mut pod = Host::pod();
    pod.forwards = vec![tcp(Some("192.0.2.1"), 8080, 80), tcp(Some("127.0.0.1"), 8081, 80)];
    start(&pod);

    called_by(&listener, host.outside.connect("192.0.2.1:8080"));
    called_by(&listener, connect("192.0.2.1:8080"));
    called_by(&listener, connect("127.0.0.1:8081"));
    for refused in
        [connect("127.0.0.1:8080"), connect("192.0.2.1:8081"), host.outside.connect("192.0.2.1:8081")]
    {
        assert_eq!(refused.expect_err("nobody listens").kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn callers_by_ipv6_reach_a_pod_that_has_ipv4_only() {
    let host = Host::new();
    let listener = host.pod.listen("172.16.28.2:80");
    let mut pod = Host::pod();
    pod.links[0].addresses.truncate(1);
    pod.forwards = vec![tcp(None, 8080, 80)];
    start(&pod);

    // One after the other: the forwarder reaches the pod for several at once in any order.
    assert_eq!(called_by(&listener, connect("[::1]:8080")), ip("172.16.28.1"));
    assert_eq!(called_by(&listener, connect("[fd02::1]:8080")), ip("172.16.28.1"));
    assert_eq!(called_by(&listener, host.outside.connect("[fd02::1]:8080")), ip("172.16.28.1"));
}

#[test]
fn datagrams_reach_the_pod_and_answers_come_back() {
    let host = Host::new();
    let server = host.pod.within(|| UdpSocket::bind("[::]:53").expect("a socket"));
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut pod = Host::pod();
    pod.forwards = vec![udp(5353, 53)];
    start(&pod);
    let v4 = || UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let v6 = || UdpSocket::bind("[::]:0").expect("a socket");

    let calls = [
        (host.outside.within(v4), "192.0.2.1:5353"),
        (host.outside.within(v6), "[fd02::1]:5353"),
        (v4(), "127.0.0.1:5353"),
        (v4(), "192.0.2.1:5353"),
        (v6(), "[::1]:5353"),
    ];
    for (client, to) in calls {
        let mut buffer = [0; 16];
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client.connect(to).expect("an address");
        for _ in 0..2 {
            client.send(b"question").expect("sent");
            let (count, from) = server.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{to}: {error}"));
            assert_eq!(&buffer[..count], b"question");
            server.send_to(b"answer", from).expect("sent");
            let count = client.recv(&mut buffer).unwrap_or_else(|error| panic!("{to}: {error}"));
            assert_eq!(&buffer[..count], b"answer");
        }
    }
}

#[test]
fn a_port_that_somebody_has_is_refused() {
    let _host = Host::new();
    let held = Reservation::make(&[tcp(None, 8080, 80), udp(8080, 80)]).expect("free ports");
    let listener = TcpListener::bind("127.0.0.1:9000").expect("a listener");

    for (forward, taken) in [
        (tcp(None, 8080, 1), Some("port tcp-0.0.0.0:8080 is taken by a program on this host")),
        (tcp(Some("127.0.0.1"), 8080, 1), Some("port tcp-127.0.0.1:8080 is taken by a program on this host")),
        (tcp(Some("::1"), 8080, 1), Some("port tcp-::1:8080 is taken by a program on this host")),
        (udp(8080, 1), Some("port udp-0.0.0.0:8080 is taken by a program on this host")),
        (tcp(None, 9000, 1), Some("port tcp-0.0.0.0:9000 is taken by a program on this host")),
        (tcp(Some("192.0.2.1"), 9000, 1), None),
        (udp(9000, 1), None),
    ] {
        let made = Reservation::make(&[tcp(None, 7000, 1), forward]);

        assert_eq!(made.err().map(|error| error.to_string()).as_deref(), taken, "{forward:?}");
    }
    drop((held, listener));
    let made =
        Reservation::make(&[tcp(None, 8080, 80), tcp(None, 9000, 80), tcp(Some("203.0.113.9"), 80, 80)]);
    assert!(made.is_ok(), "{made:?}");
    assert!(matches!(Reservation::make(&[tcp(None, 8080, 1)]), Err(ReservationError::Taken { .. })));
}

#[test]
fn a_restricted_pod_reaches_the_host_and_nobody_else() {
    let host = Host::new();
    host.outside.run("ip route add 172.16.28.0/24 via 192.0.2.1; ip route add fd28::/64 via fd02::1");
    let outside = host.outside.listen("[::]:80");
    outside.set_nonblocking(true).expect("non-blocking");
    let here = TcpListener::bind("[::]:81").expect("a listener");
    let inside = host.pod.listen("[::]:82");
    let mut pod = Host::pod();
    pod.links[0].reach = Reach::Host;
    pod.links[0].masquerade = false;
    table::install(&pod).expect("rules");

    called_by(&here, host.pod.connect("172.16.28.1:81"));
    called_by(&here, host.pod.connect("[fd28::1]:81"));
    assert_eq!(called_by(&inside, host.outside.connect("172.16.28.2:82")), ip("192.0.2.2"));
    for to in ["192.0.2.2:80", "[fd02::2]:80"] {
        let call = host.pod.within(|| TcpStream::connect_timeout(&to.parse().expect("an address"), SILENCE));
        assert!(call.is_err() && outside.accept().is_err(), "{to}");
    }
}

#[test]
fn a_pod_with_egress_rules_calls_whom_they_name() {
    let host = Host::new();
    let outside = host.outside.listen("[::]:443");
    let other = host.outside.listen("[::]:80");
    let here = TcpListener::bind("[::]:81").expect("a listener");
    let inside = host.pod.listen("[::]:82");
    let mut pod = Host::pod();
    let allowed = ["tcp:192.0.2.0/24:443", "[fd02::2]:400-500", "udp:192.0.2.2:80"];
    pod.egress =
        Some(allowed.iter().map(|text| text.parse::<Destination>().expect("a destination")).collect());
    pod.forwards = vec![tcp(None, 8080, 82)];
    start(&pod);

    called_by(&outside, host.pod.connect("192.0.2.2:443"));
    called_by(&outside, host.pod.connect("[fd02::2]:443"));
    for to in ["192.0.2.2:80", "[fd02::2]:80", "172.16.28.1:81", "[fd28::1]:81", "192.0.2.1:81"] {
        let call = host.pod.connect(to);
        assert_eq!(call.expect_err("refused").kind(), io::ErrorKind::ConnectionRefused, "{to}");
    }
    // Who calls the pod is answered.
    called_by(&inside, host.outside.connect("192.0.2.1:8080"));
    called_by(&inside, connect("172.16.28.2:82"));
    for listener in [other, here] {
        listener.set_nonblocking(true).expect("non-blocking");
        assert!(listener.accept().is_err());
    }
    let datagram = host.pod.within(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    datagram.connect("192.0.2.2:53").expect("an address");
    drop(datagram.send(b"question"));
    datagram.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let refused = datagram.recv(&mut [0; 8]).expect_err("no answer");
    assert_ne!(refused.kind(), io::ErrorKind::WouldBlock, "{refused}");
}

#[test]
fn egress_rules_are_refused_where_they_could_not_be_enforced() {
    let _host = Host::new();
    let mut pod = Host::pod();
    pod.egress = Some(Vec::new());
    pod.links[0].own = false;

    let error = table::install(&pod).expect_err("a shared interface");

    assert!(error.to_string().contains("network \"default\""), "{error}");
    assert!(tables().is_empty());
}

#[test]
fn egress_rules_on_a_bridge_are_kept_or_refused_by_a_kernel_that_cannot_keep_them() {
    let host = Host::new();
    run("ip link add br0 type bridge; ip link set br0 up; ip link set vp master br0
         ip addr add 172.16.28.1/32 dev br0; ip route replace 172.16.28.2/32 dev br0");
    let inside = host.pod.listen("[::]:82");
    let here = TcpListener::bind("[::]:81").expect("a listener");
    let outside = host.outside.listen("[::]:443");
    let mut pod = Host::pod();
    pod.links[0].interface = Some("br0".into());
    pod.links[0].own = false;
    pod.links[0].port = Some("vp".into());
    pod.egress = Some(vec!["tcp:192.0.2.2:443".parse().expect("a destination")]);

    match table::install(&pod) {
        Ok(()) => {
            called_by(&outside, host.pod.connect("192.0.2.2:443"));
            called_by(&inside, connect("172.16.28.2:82"));
            for to in ["192.0.2.2:80", "172.16.28.1:81"] {
                let refused = host.pod.connect(to).expect_err("refused");
                assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{to}");
            }
            here.set_nonblocking(true).expect("non-blocking");
            assert!(here.accept().is_err());
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("of the table bridge rkt-") && text.contains("kernel"), "{text}");
        }
    }

    table::remove(UUID).expect("removed");
    assert_eq!(tables(), Vec::<String>::new());
    let mut connection = Connection::open().expect("a connection");
    assert!(connection.chains(Family::Bridge).expect("chains").is_empty());
}

#[test]
fn a_pod_does_not_reach_what_listens_on_the_hosts_loopback_only() {
    let host = Host::new();
    let here = TcpListener::bind("127.0.0.1:81").expect("a listener");
    here.set_nonblocking(true).expect("non-blocking");
    run("echo 1 > /proc/sys/net/ipv4/conf/vp/route_localnet");
    // A name space whose own loopback is down has no such addresses of its own.
    host.pod.run(
        "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
         ip route add 127.0.0.1/32 via 172.16.28.1 src 172.16.28.2",
    );
    let call = || {
        host.pod.within(|| TcpStream::connect_timeout(&"127.0.0.1:81".parse().expect("an address"), SILENCE))
    };
    assert!(call().is_ok() && here.accept().is_ok(), "without the rules the test would prove nothing");
    table::install(&Host::pod()).expect("rules");

    assert!(call().is_err() && here.accept().is_err());
}

#[test]
fn a_bridge_forwards_from_the_loopback_for_as_long_as_one_of_its_pods_needs_it() {
    let _host = Host::new();
    run("ip link add br0 type bridge; ip addr add 10.9.0.1/24 dev br0; ip link set br0 up");
    let pod = |uuid: &str, port| {
        let mut pod = Host::pod();
        pod.uuid = uuid.into();
        pod.links[0].interface = Some("br0".into());
        pod.links[0].own = false;
        pod.forwards = vec![tcp(None, port, 80)];
        pod
    };
    table::install(&pod("one", 1001)).expect("rules");
    table::install(&pod("two", 1002)).expect("rules");
    assert!(is_on("br0"));

    table::remove("one").expect("removed");
    assert!(is_on("br0"));
    table::remove("two").expect("removed");
    assert!(!is_on("br0"));

    run("echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet");
    table::install(&pod("three", 1003)).expect("rules");
    table::remove("three").expect("removed");
    assert!(is_on("br0"), "what the administrator has set stays");
    assert!(tables().is_empty());
}

#[test]
fn a_pod_whose_rules_are_there_already_is_refused_and_keeps_them() {
    let _host = Host::new();
    table::install(&Host::pod()).expect("rules");

    let error = table::install(&Host::pod()).expect_err("the table is there");

    assert!(error.to_string().contains("there already"), "{error}");
    assert_eq!(tables(), [format!("rkt-{UUID}")]);
}
