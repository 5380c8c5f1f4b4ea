//! The filter as the kernel takes it, between two pairs of interfaces: the guest's and the network's. Needs root, and says nothing
//! without.

use std::fs::File;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use firewall::{dhcp, spoofing};
use netlink::Connection;

use super::{firewall as rules, links, redirect};

/// More than any datagram takes.
const PATIENCE: Duration = Duration::from_secs(20);

const MAC: &str = "02:65:02:aa:bb:cc";

/// A network name space, as long as this lives.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", "echo; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Self(child)
    }

    /// Whether the commands succeed.
    fn run(&self, script: &str) -> bool {
        let target = self.0.id().to_string();
        let output =
            Command::new("nsenter").args(["-t", &target, "-n", "sh", "-ec", script]).output().unwrap();
        output.status.success()
    }

    /// Sockets stay in the name space they were made in.
    fn within<R: Send>(&self, make: impl FnOnce() -> R + Send) -> R {
        let file = File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        let enter = || nix::sched::setns(&file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        std::thread::scope(|scope| scope.spawn(|| (enter(), make()).1).join().unwrap())
    }
}

fn socket(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_the_guest_sends_as_itself_gets_through_and_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let (guest, network) = (Namespace::new(), Namespace::new());
    let script = format!(
        "echo 1 > /proc/sys/net/ipv4/ip_forward
         ip link add tap0 type veth peer name eth0 address {MAC} netns {}
         ip link add eth0 address {MAC} type veth peer name eth0 netns {}
         ip link set tap0 up; ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0",
        guest.0.id(),
        network.0.id()
    );
    assert!(Command::new("sh").args(["-ec", &script]).status().unwrap().success());
    assert!(
        network.run(
            "ip addr add 10.9.0.1/24 dev eth0; ip addr add fd09::1/64 dev eth0 nodad; ip link set eth0 up"
        )
    );
    let up = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
              ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad; ip link set eth0 up";
    assert!(guest.run(up));
    let mut kernel = Connection::open().unwrap();
    let index = |kernel: &mut Connection, name| links::index_of(kernel, name).unwrap().unwrap();
    let (outside, inside) = (index(&mut kernel, "eth0"), index(&mut kernel, "tap0"));
    let addresses = ["10.9.0.2".parse().unwrap(), "fd09::2".parse().unwrap()];
    let filter = spoofing::filter([0x02, 0x65, 0x02, 0xaa, 0xbb, 0xcc], &addresses).unwrap();

    redirect::join(&mut kernel, outside, inside, &filter, &dhcp::all_but_answers()).unwrap();
    rules::drop_what_is_left(&["tap0".to_owned()]).unwrap();

    let reaches = |what: &str| guest.run(&format!("busybox ping -c 1 -W 1 {what}"));
    assert!(reaches("10.9.0.1"));
    assert!(reaches("fd09::1"));
    assert!(guest.run("ip addr add 10.9.0.3/24 dev eth0; ip addr add fd09::3/64 dev eth0 nodad"));
    assert!(!reaches("-I 10.9.0.3 10.9.0.1"));
    assert!(!reaches("-I fd09::3 fd09::1"));
    assert!(guest.run("ip link set eth0 address 02:65:02:aa:bb:cd"));
    assert!(!reaches("10.9.0.1"));
    assert!(guest.run(&format!("ip link set eth0 address {MAC}; ip addr del 10.9.0.3/24 dev eth0")));
    assert!(reaches("10.9.0.1"));
    // The lease is renewed by whoever got it, in this name space; everything else is the guest's.
    let (daemon, other) = (socket("10.9.0.2:68"), socket("10.9.0.2:67"));
    let server = network.within(|| socket("10.9.0.1:67"));
    server.send_to(b"to the other", "10.9.0.2:67").unwrap();
    server.send_to(b"answer", "10.9.0.2:68").unwrap();
    let mut said = [0; 16];
    assert_eq!(daemon.recv(&mut said).unwrap(), 6);
    other.set_nonblocking(true).unwrap();
    assert!(other.recv(&mut said).is_err());
    // What is not redirected meets no router on its way, though this name space would be one.
    let dropped = Command::new("nft").args(["list", "table", "netdev", "rkt"]).output();
    assert!(dropped.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains("policy drop")));
}
