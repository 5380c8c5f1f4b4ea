//! Pods on networks of chained plugins and of less usual kinds: all of a host's networks at once, with Debian's plugins.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rkt_tests::command::limit;
use serde_json::json;

use crate::network::{Network, TOOLS, alone, expect_all, expect_gone, host, host_local, ping, stop, traces};
use crate::pod::{INSPECT, Pod, fresh_path, rkt};
use crate::ports::{Outside, page};

/// A program of the host's that ends with the test.
struct Daemon(Child);

impl Daemon {
    fn start(program: &str, arguments: &[&str], log: &Path) -> Self {
        let log = File::create(log).expect("a log");
        let mut command = Command::new(program);
        let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().expect("a daemon"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A bridge with a DHCP server on it, and the plugin's daemon, which asks the server.
struct Lan {
    _server: Daemon,
    _plugin: Daemon,
    log: PathBuf,
}

/// Where the plugin finds its daemon.
const DHCP_SOCKET: &str = "/run/cni/dhcp.sock";

impl Lan {
    fn new() -> Self {
        host("ip", &["link", "add", "other-lan", "type", "bridge"]);
        host("ip", &["addr", "add", "10.203.2.1/24", "dev", "other-lan"]);
        host("ip", &["link", "set", "other-lan", "up"]);
        std::fs::create_dir_all("/run/cni").expect("a directory");
        let (configuration, leases) = (fresh_path("udhcpd"), fresh_path("leases"));
        std::fs::write(&leases, "").expect("a file");
        let text = format!(
            "start 10.203.2.50\nend 10.203.2.50\ninterface other-lan\nlease_file {}\npidfile {}\n\
             option subnet 255.255.255.0\noption lease 30\n",
            leases.display(),
            fresh_path("pid").display(),
        );
        std::fs::write(&configuration, text).expect("a file");
        let arguments = ["udhcpd", "-f", "-I", "10.203.2.1", configuration.to_str().expect("UTF-8")];
        let log = fresh_path("log");
        let _server = Daemon::start("busybox", &arguments, &fresh_path("log"));
        let _plugin = Daemon::start("/usr/lib/cni/dhcp", &["daemon"], &log);
        let deadline = Instant::now() + limit(30);
        while !Path::new(DHCP_SOCKET).exists() {
            assert!(Instant::now() < deadline, "the daemon has no socket");
            thread::sleep(Duration::from_millis(20));
        }
        Self { _server, _plugin, log }
    }

    /// How often the plugin's daemon has renewed the pod's address.
    fn renewals(&self) -> usize {
        std::fs::read_to_string(&self.log).expect("a log").matches("lease renewed").count()
    }

    /// Waits until it does it again.
    #[track_caller]
    fn wait_for_renewal(&self, renewals: usize) {
        let deadline = Instant::now() + limit(30);
        while self.renewals() <= renewals {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&self.log).expect("a log"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", "other-lan"]).output();
        let _ = std::fs::remove_file(DHCP_SOCKET);
    }
}

/// A network name space behind an interface of the host's, 10.203.15.2 and fd00:cb:f::2, that knows the way to pods of mode L3.
struct Router;

impl Router {
    fn new() -> Self {
        host("ip", &["netns", "add", "other-router"]);
        let far = ["peer", "name", "eth0", "netns", "other-router"];
        host("ip", &[&["link", "add", "other-l3", "type", "veth"], &far[..]].concat());
        host("ip", &["addr", "add", "10.203.15.1/24", "dev", "other-l3"]);
        host("ip", &["addr", "add", "fd00:cb:f::1/64", "dev", "other-l3", "nodad"]);
        host("ip", &["link", "set", "other-l3", "up"]);
        let there = |arguments: &[&str]| host("ip", &[&["-n", "other-router"], arguments].concat());
        there(&["addr", "add", "10.203.15.2/24", "dev", "eth0"]);
        there(&["addr", "add", "fd00:cb:f::2/64", "dev", "eth0", "nodad"]);
        there(&["link", "set", "eth0", "up"]);
        there(&["route", "add", "10.203.14.0/24", "via", "10.203.15.1"]);
        there(&["route", "add", "fd00:cb:e::/64", "via", "fd00:cb:f::1"]);
        Self
    }

    #[track_caller]
    fn ping(address: &str) {
        host("ip", &["netns", "exec", "other-router", "busybox", "ping", "-c", "1", "-W", "10", address]);
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", "other-router"]).output();
    }
}

/// A bridge with everything behind it that Debian's plugins can do there.
fn chain() -> Network {
    let plugins = [
        json!({ "type": "bridge", "bridge": "other-chain", "isGateway": true, "ipMasq": true,
                "ipam": host_local(&["10.203.1.0/24"]) }),
        json!({ "type": "tuning", "mac": "02:00:00:cb:01:02", "mtu": 1380,
                "sysctl": { "net.core.somaxconn": "513", "net.ipv4.conf.eth0.arp_filter": "1" } }),
        json!({ "type": "firewall", "backend": "iptables" }),
        json!({ "type": "bandwidth", "ingressRate": 80_000_000, "ingressBurst": 8_000_000,
                "egressRate": 80_000_000, "egressBurst": 8_000_000 }),
        json!({ "type": "portmap", "capabilities": { "portMappings": true } }),
        json!({ "type": "sbr" }),
    ];
    Network::chain("10-chain", &plugins)
}

/// A network of flanneld's.
fn flannel() -> Network {
    let subnet = fresh_path("subnet");
    let text = "FLANNEL_NETWORK=10.204.0.0/16\nFLANNEL_SUBNET=10.204.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    std::fs::write(&subnet, text).expect("a file");
    let delegate = json!({ "bridge": "other-flannel" });
    Network::define("30-flannel", json!({ "type": "flannel", "subnetFile": subnet, "delegate": delegate }))
}

#[test]
fn a_pod_can_be_on_all_networks_at_once_with_chained_plugins_dhcp_flannel_and_a_routed_ipvlan() {
    let _alone = alone();
    // What earlier tests have defined is nobody's any more.
    let _ = std::fs::remove_dir_all(rkt().local_config().join("net.d"));
    let (outside, lan, router) = (Outside::new(), Lan::new(), Router::new());
    let mut layer3 = host_local(&["10.203.14.0/24", "fd00:cb:e::/64"]);
    layer3["routes"] = json!([{ "dst": "10.203.15.0/24" }, { "dst": "fd00:cb:f::/64" }]);
    let networks = [
        chain(),
        Network::define(
            "20-lan",
            json!({ "type": "bridge", "bridge": "other-lan", "ipam": { "type": "dhcp" } }),
        ),
        flannel(),
        Network::define(
            "40-layer3",
            json!({ "type": "ipvlan", "mode": "l3", "master": "other-l3", "ipam": layer3 }),
        ),
    ];
    let before = traces();

    let script = format!(
        "{TOOLS}
         cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/conf/eth0/arp_filter | tr '\\n' ,; echo
         ip -o link; ip -o addr; ip rule | tr '\\t' ' '; ip route show table 100; ip route
         echo queues $(ls /sys/class/net/eth0/queues)
         ping -c 1 -W 10 10.203.15.2 && echo reached the router by 4
         ping -c 1 -W 10 fd00:cb:f::2 && echo reached the router by 6
         ping -c 1 -W 10 10.203.2.1 && echo reached the server
         echo this is the pod > /tmp/index.html; echo pod is up; exec busybox httpd -f -p 80 -h /tmp"
    );
    let apps = [
        "example.com/busybox",
        "--stdout=stream",
        "--",
        "-c",
        &script,
        "---",
        INSPECT,
        "--",
        "sleep",
        "100000",
    ];
    let mut pod = Pod::start_on("all", &[&["--port=www:8080"], &apps[..]].concat());
    pod.wait_for("pod is up");
    let renewals = lan.renewals();

    let status = rkt().status_value(&pod.uuid, "networks").expect("networks");
    let addresses: Vec<(&str, &str)> = status.split(", ").filter_map(|it| it.split_once(":ip4=")).collect();
    let names: Vec<&str> = addresses.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["10-chain", "20-lan", "30-flannel", "40-layer3", "default-restricted", "default"]);
    for (name, address) in &addresses {
        if *name == "40-layer3" { Router::ping(address) } else { ping(address) }
    }
    Router::ping("fd00:cb:e::2");
    assert!(page("127.0.0.1:8080").contains("this is the pod"));
    assert!(outside.within(|| page("10.202.0.1:8080")).contains("this is the pod"));
    assert!(host("tc", &["qdisc"]).contains("tbf"));
    let rules = host("iptables-save", &[]);
    expect_all(&rules, &["-A CNI-FORWARD -s 10.203.1.2/32", "to-destination 10.203.1.2:80"]);

    lan.wait_for_renewal(renewals);
    ping("10.203.2.50");

    let text = stop(&mut pod);
    expect_all(&text, &["513,1,", "02:00:00:cb:01:02", "mtu 1380", "10.203.1.2/24"]);
    expect_all(&text, &["from 10.203.1.2 lookup 100", "default via 10.203.1.1 dev eth0"]);
    expect_all(
        &text,
        &["10.203.2.50/24", "10.204.3.2/24", "mtu 1450", "10.204.0.0/16 via 10.204.3.1 dev eth2"],
    );
    expect_all(&text, &["MULTICAST,NOARP,UP", "10.203.14.2/24", "10.203.15.0/24 via 10.203.14.1 dev eth3"]);
    expect_all(&text, &["default via 172.16.28.1 dev eth5", "172.31.0.0/16"]);
    expect_all(&text, &["reached the router by 4", "reached the router by 6", "reached the server"]);
    // As many as the pod has processors, which are the host's; the emulated machine has one (`processors` has more).
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let last = format!("rx-{} tx-0", processors.min(8) - 1);
    assert!(text.lines().any(|line| line.contains("queues rx-0") && line.contains(&last)), "{last}: {text}");

    let networks: Vec<&Network> = networks.iter().collect();
    expect_gone(&pod, &before, &networks);
    let rules = host("iptables-save", &[]);
    assert!(!rules.contains("10.203.1.2"), "{rules}");
    for bridge in ["other-chain", "other-flannel"] {
        host("ip", &["link", "del", bridge]);
    }
    drop((lan, router));
}
