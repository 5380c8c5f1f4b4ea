//! The CNI client against the plugins that people have: Debian's, unmodified, in network namespaces of the test's own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cni::{
    AddResult, Attachment, Bandwidth, Cache, Client, CniError, Directories, Network, PortMapping, Request,
    RuntimeConfig, Selection, Version,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};
use tempfile::TempDir;

const PLUGINS: &str = "/usr/lib/cni";
const POD: &str = "/run/netns/pod";

/// How long a connection may take before it counts as one that does not arrive.
const PATIENCE: Duration = Duration::from_secs(30);
const ATTEMPT: Duration = Duration::from_secs(2);

/// A network namespace that plays the host, with a pod's beside it.
struct Host {
    directory: TempDir,
    cache: Cache,
}

impl Host {
    /// Runs a test on a thread that has network and mounts of its own; what it starts has them too.
    fn with(test: impl FnOnce(Host) + Send) {
        thread::scope(|scope| {
            let tested = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
                    .expect("namespaces of the test's own");
                let none: Option<&str> = None;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
                for place in ["/run", "/var/lib"] {
                    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none)
                        .expect("an empty directory");
                }
                run("ip", &["link", "set", "lo", "up"]);
                run("ip", &["netns", "add", "pod"]);
                let directory = TempDir::new_in("/run").expect("a directory");
                let cache = Cache::new(directory.path().join("net"));
                test(Host { directory, cache });
            });
            if let Err(panic) = tested.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn client(&self) -> Client {
        Client::new(vec![PathBuf::from(PLUGINS)])
    }

    fn add(&self, network: &Network) -> Result<AddResult, CniError> {
        self.client().add(&self.cache, network, &attachment("eth0"))
    }

    fn check(&self) -> Result<(), CniError> {
        let record = self.cache.record("eth0").expect("a cache").expect("a record");
        self.client().check(&self.cache, &record, Path::new(POD))
    }

    fn delete(&self) {
        self.client().delete_all(&self.cache, Some(Path::new(POD))).expect("everything is deleted");
        assert!(self.cache.interfaces().expect("a cache").is_empty());
    }

    /// The addresses that host-local holds for a network.
    fn leases(&self, network: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(Path::new("/var/lib/cni/networks").join(network)) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut leases: Vec<String> =
            names.filter(|name| name != "lock" && !name.starts_with("last_reserved_ip")).collect();
        leases.sort();
        leases
    }
}

fn attachment(ifname: &str) -> Attachment {
    Attachment {
        container_id: "a5b1".into(),
        netns: POD.into(),
        ifname: ifname.into(),
        ..Attachment::default()
    }
}

fn network(config: Value) -> Network {
    Network::parse(config.to_string().as_bytes(), Path::new("/etc/rkt/net.d/10-test.conflist"), false)
        .expect("a configuration")
}

/// An IPAM configuration of host-local.
fn host_local(subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
    let routes: Vec<Value> = subnets
        .iter()
        .map(|subnet| json!({"dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" }}))
        .collect();
    json!({"type": "host-local", "ranges": ranges, "routes": routes})
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The interfaces there are, with the addresses of global scope: `eth0 10.0.0.2/24`.
fn addresses(in_pod: bool) -> Vec<String> {
    let arguments: &[&str] = if in_pod { &["-n", "pod", "-j", "addr"] } else { &["-j", "addr"] };
    let links: Vec<Value> = serde_json::from_str(&run("ip", arguments)).expect("JSON");
    let mut found = Vec::new();
    for link in links {
        let name = link["ifname"].as_str().unwrap_or_default();
        found.push(name.to_owned());
        for address in link["addr_info"].as_array().into_iter().flatten() {
            if address["scope"] == "global" {
                let text = address["local"].as_str().unwrap_or_default();
                found.push(format!("{name} {text}/{}", address["prefixlen"]));
            }
        }
    }
    found
}

/// Whether a connection from the host to the pod's `port` at this address goes through, and carries bytes.
fn reaches_pod(address: &str, port: u16) -> bool {
    answers(&format!("{address}:{port}"), port)
}

/// Whether a connection to `at` ends in the pod, at its port `port`.
fn answers(at: &str, port: u16) -> bool {
    let listener = in_pod(|| TcpListener::bind(("::", port)).expect("a listener"));
    // It is not waited for: where the connection does not arrive, it never ends.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"pod");
        }
    });
    let at = at.parse().expect("an address");
    let read = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, ATTEMPT)?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let deadline = Instant::now() + PATIENCE;
    // The host's own end of a link has no IPv6 address of its own before it has looked for duplicates.
    while Instant::now() < deadline {
        if read().is_ok_and(|answer| answer == "pod") {
            return true;
        }
    }
    false
}

/// Does something on a thread that is in the pod's network namespace; so is what it leaves.
fn in_pod<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            setns(File::open(POD).expect("the pod's namespace"), CloneFlags::CLONE_NEWNET)
                .expect("to enter it");
            action()
        });
        done.join().expect("no panic in the pod")
    })
}

/// A process that ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn default_network_gives_an_address_a_route_and_packets_that_arrive() {
    Host::with(|host| {
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stage1/net.d");
        let directories = Directories { built_in, local: host.directory.path().join("net.d") };
        let request = Request { name: "default".into(), args: "IP=172.16.28.77".into() };
        let mut loaded =
            cni::load(&directories, &Selection::new(vec![request])).expect("the default network");
        let mut selected = loaded.networks.remove(0);
        assert!(selected.network.built_in && selected.network.take_masquerade());
        let attachment = Attachment { args: selected.args, ..attachment(&selected.ifname) };

        let result = host.client().add(&host.cache, &selected.network, &attachment).expect("a network");

        assert_eq!(result.ips[0].address.to_string(), "172.16.28.77/24");
        assert_eq!(result.next_hop(&result.routes[0]).expect("a gateway").to_string(), "172.16.28.1");
        assert!(addresses(true).contains(&"eth0 172.16.28.77/24".to_owned()), "{:?}", addresses(true));
        assert!(run("ip", &["-n", "pod", "route"]).contains("default via 172.16.28.1"));
        assert!(reaches_pod("172.16.28.77", 8080));
        assert_eq!(host.leases("default"), ["172.16.28.77"]);

        host.delete();
        assert_eq!((addresses(true), addresses(false)), (vec!["lo".to_owned()], vec!["lo".to_owned()]));
        assert!(host.leases("default").is_empty());
    });
}

#[test]
fn both_families_work_and_teardown_after_the_namespace_is_gone_releases_the_addresses() {
    Host::with(|host| {
        let subnets = host_local(&["10.7.0.0/24", "fd00:7::/64"]);
        let ptp = json!({"name": "p2p", "cniVersion": "1.0.0", "type": "ptp", "ipam": subnets});
        let result = host.add(&network(ptp)).expect("a network");
        let inside = addresses(true);
        assert!(result.ips.iter().all(|ip| inside.contains(&format!("eth0 {}", ip.address))), "{inside:?}");
        assert!(reaches_pod("10.7.0.2", 8080) && reaches_pod("[fd00:7::2]", 8081));
        assert_eq!(host.leases("p2p"), ["10.7.0.2", "fd00:7::2"]);
        run("ip", &["netns", "del", "pod"]);

        host.client().delete_all(&host.cache, None).expect("everything is deleted");

        assert!(host.leases("p2p").is_empty() && host.cache.interfaces().expect("a cache").is_empty());
    });
}

#[test]
fn bridge_with_tuning_firewall_and_bandwidth_is_set_up_checked_and_removed() {
    Host::with(|host| {
        let chain = network(json!({"name": "chain", "plugins": [
            {"type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true,
             "ipam": host_local(&["10.8.0.0/24"])},
            {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.accept_redirects": "0"}, "capabilities": {"mac": true}},
            {"type": "firewall", "backend": "iptables"},
            {"type": "bandwidth", "capabilities": {"bandwidth": true}},
        ]}));
        let rate = Bandwidth { ingress_rate: 8_000_000, ingress_burst: 800_000, ..Bandwidth::default() };
        let runtime = RuntimeConfig {
            mac: Some("02:00:00:00:08:01".into()),
            bandwidth: Some(rate),
            ..RuntimeConfig::default()
        };
        let attachment = Attachment { runtime, ..attachment("eth0") };

        assert_eq!(host.client().negotiate(&chain).expect("a version"), Version::V1_0_0);
        let result = host.client().add(&host.cache, &chain, &attachment).expect("a network");

        let inside = addresses(true);
        assert!(inside.contains(&format!("eth0 {}", result.ips[0].address)), "{inside:?}");
        let link = run("ip", &["-n", "pod", "link", "show", "eth0"]);
        assert!(link.contains("02:00:00:00:08:01"), "{link}");
        assert!(run("tc", &["qdisc"]).contains("tbf"));
        assert!(reaches_pod("10.8.0.2", 8080));
        let rules = run("iptables-save", &[]);
        assert!(rules.contains("-A CNI-FORWARD -s 10.8.0.2/32"), "{rules}");
        host.check().expect("all is as it was");
        run("ip", &["-n", "pod", "addr", "del", "10.8.0.2/24", "dev", "eth0"]);
        let damaged = host.check().expect_err("an address that is gone").with_causes();
        assert!(damaged.starts_with("network \"chain\": plugin \"bridge\" failed on CHECK: "), "{damaged}");

        // bridge masquerades for the addresses that the interface has when it is deleted.
        run("ip", &["-n", "pod", "addr", "add", "10.8.0.2/24", "dev", "eth0"]);
        host.delete();
        assert!(!run("iptables-save", &[]).contains("10.8.0.2") && host.leases("chain").is_empty());
        assert_eq!(addresses(true), ["lo"]);
    });
}

#[test]
fn portmap_forwards_a_port_of_the_host_until_teardown() {
    Host::with(|host| {
        // Checking is off: this version of portmap misses the rules of IPv6 in a network that has none.
        let chain =
            network(json!({"name": "ports", "cniVersion": "1.0.0", "disableCheck": true, "plugins": [
                {"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": host_local(&["10.16.0.0/24"])},
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ]}));
        let mapping =
            PortMapping { host_port: 8088, container_port: 80, protocol: "tcp".into(), host_ip: None };
        let runtime = RuntimeConfig { port_mappings: vec![mapping], ..RuntimeConfig::default() };
        let attachment = Attachment { runtime, ..attachment("eth0") };

        host.client().add(&host.cache, &chain, &attachment).expect("a network");

        assert!(answers("10.16.0.1:8088", 80));
        host.check().expect("nothing to check");
        host.delete();
        let rules = run("iptables-save", &[]);
        assert!(!rules.contains("10.16.0.2"), "{rules}");
    });
}

#[test]
fn macvlan_gets_the_address_and_the_routing_that_static_and_sbr_are_told() {
    Host::with(|host| {
        run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        run("ip", &["link", "set", "up0", "up"]);
        let chain = network(json!({"name": "mac", "cniVersion": "0.4.0", "plugins": [
            {"type": "macvlan", "master": "up0", "mode": "bridge", "ipam": {"type": "static"},
             "capabilities": {"ips": true}},
            {"type": "sbr"},
        ]}));
        let ips = vec!["10.9.0.5/24".parse().expect("an address")];
        let attachment =
            Attachment { runtime: RuntimeConfig { ips, ..RuntimeConfig::default() }, ..attachment("eth0") };

        let result = host.client().add(&host.cache, &chain, &attachment).expect("a network");

        assert_eq!(result.ips[0].address.to_string(), "10.9.0.5/24");
        assert!(addresses(true).contains(&"eth0 10.9.0.5/24".to_owned()), "{:?}", addresses(true));
        assert!(run("ip", &["-n", "pod", "rule"]).contains("from 10.9.0.5"));
        host.delete();
        assert_eq!(addresses(true), ["lo"]);
        assert!(!run("ip", &["-n", "pod", "rule"]).contains("10.9.0.5"));
    });
}

#[test]
fn host_device_is_moved_into_the_pod_and_comes_back() {
    Host::with(|host| {
        run("ip", &["link", "add", "nic0", "type", "veth", "peer", "name", "wire0"]);
        let device = json!({"name": "dev", "cniVersion": "0.3.1", "type": "host-device", "device": "nic0",
            "ipam": {"type": "static", "addresses": [{"address": "10.10.0.2/24", "gateway": "10.10.0.1"}]}});

        host.add(&network(device)).expect("a network");

        assert!(addresses(true).contains(&"eth0 10.10.0.2/24".to_owned()), "{:?}", addresses(true));
        assert!(!addresses(false).contains(&"nic0".to_owned()));
        host.delete();
        assert!(addresses(false).contains(&"nic0".to_owned()));
    });
}

#[test]
fn dhcp_gets_a_lease_from_a_server_and_says_so_when_its_daemon_is_not_there() {
    Host::with(|host| {
        let dhcp = network(json!({"name": "lan", "cniVersion": "1.0.0", "type": "bridge", "bridge": "br0",
            "ipam": {"type": "dhcp"}}));
        let without = host.add(&dhcp).expect_err("no daemon").with_causes();
        assert!(without.contains("plugin \"bridge\"") && without.contains("/run/cni/dhcp.sock"), "{without}");

        run("ip", &["addr", "add", "10.11.0.1/24", "dev", "br0"]);
        run("ip", &["link", "set", "br0", "up"]);
        fs::create_dir_all("/run/cni").expect("a directory");
        let configuration = host.directory.path().join("udhcpd.conf");
        let leases = host.directory.path().join("leases");
        fs::write(&leases, "").expect("a file");
        let text = format!(
            "start 10.11.0.50\nend 10.11.0.60\ninterface br0\nlease_file {}\npidfile /run/udhcpd.pid\n\
             option subnet 255.255.255.0\noption router 10.11.0.1\noption lease 600\n",
            leases.display()
        );
        fs::write(&configuration, text).expect("a file");
        let background = |program: &str, arguments: &[&str]| {
            let child =
                Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            Background(child.expect("a daemon"))
        };
        let _server =
            background("busybox", &["udhcpd", "-f", "-I", "10.11.0.1", &configuration.to_string_lossy()]);
        let _daemon = background("/usr/lib/cni/dhcp", &["daemon"]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !Path::new("/run/cni/dhcp.sock").exists() {
            assert!(Instant::now() < deadline, "the daemon has no socket");
            thread::sleep(Duration::from_millis(20));
        }

        let result = host.add(&dhcp).expect("a lease");

        assert!(result.ips[0].address.to_string().starts_with("10.11.0."), "{result:?}");
        assert!(
            addresses(true).contains(&format!("eth0 {}", result.ips[0].address)),
            "{:?}",
            addresses(true)
        );
        host.delete();
        assert_eq!(addresses(true), ["lo"]);
    });
}

#[test]
fn kinds_of_links_that_the_kernel_lacks_are_reported_and_leave_nothing() {
    Host::with(|host| {
        run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        run("ip", &["link", "set", "up0", "up"]);
        let kinds = [
            json!({"name": "v", "cniVersion": "1.0.0", "type": "vlan", "master": "up0", "vlanId": 5,
                "ipam": host_local(&["10.12.0.0/24"])}),
            json!({"name": "i", "cniVersion": "1.0.0", "type": "ipvlan", "master": "up0",
                "ipam": host_local(&["10.12.0.0/24"])}),
        ];
        for kind in kinds {
            match host.add(&network(kind)) {
                Ok(result) => assert!(addresses(true).contains(&format!("eth0 {}", result.ips[0].address))),
                Err(error) => {
                    assert!(error.with_causes().contains("not supported"), "{}", error.with_causes())
                }
            }
            host.delete();
            assert_eq!(addresses(true), ["lo"]);
            assert!(host.leases("v").is_empty() && host.leases("i").is_empty());
        }
    });
}

#[test]
fn address_pool_that_is_exhausted_is_an_error_that_leaves_the_first_pod_alone() {
    Host::with(|host| {
        // One gateway, one address.
        let small = network(
            json!({"name": "small", "cniVersion": "1.0.0", "type": "ptp", "ipam": host_local(&["10.13.0.0/30"])}),
        );
        host.add(&small).expect("a network");
        let before = addresses(false).len();
        run("ip", &["netns", "add", "second"]);
        let second = Attachment {
            container_id: "b6c2".into(),
            netns: "/run/netns/second".into(),
            ..attachment("eth0")
        };
        let cache = Cache::new(host.directory.path().join("second"));

        let exhausted = host.client().add(&cache, &small, &second).expect_err("no address").with_causes();

        let expected = "network \"small\": plugin \"ptp\" failed on ADD: \
                        failed to allocate for range 0: no IP addresses available in range set: 10.13.0.1-10.13.0.2";
        assert_eq!(exhausted, expected);
        assert_eq!((addresses(false).len(), host.leases("small")), (before, vec!["10.13.0.2".to_owned()]));
        assert!(cache.interfaces().expect("a cache").is_empty());
    });
}

#[test]
fn two_networks_with_one_subnet_are_told_apart_by_nobody_but_the_caller() {
    Host::with(|host| {
        let bridge = |name: &str, bridge: &str| {
            network(json!({"name": name, "cniVersion": "1.0.0", "type": "bridge", "bridge": bridge,
                "isGateway": true, "ipam": host_local(&["10.14.0.0/24"])}))
        };
        let first = host.add(&bridge("one", "br1")).expect("a network");
        let second = host.client().add(&host.cache, &bridge("two", "br2"), &attachment("eth1"));

        // The plugins see nothing wrong, or trip over the second default route; then nothing of it is left.
        match second {
            Ok(second) => assert_eq!(second.ips[0].address.network(), first.ips[0].address.network()),
            Err(_) => assert!(host.leases("two").is_empty()),
        }
        host.delete();
        assert_eq!(addresses(true), ["lo"]);
        assert!(host.leases("one").is_empty() && host.leases("two").is_empty());
    });
}

#[test]
fn namespace_that_is_not_there_is_an_error_and_no_address_is_lost() {
    Host::with(|host| {
        run("ip", &["netns", "del", "pod"]);
        let ptp = network(json!({"name": "p2p", "type": "ptp", "ipam": host_local(&["10.15.0.0/24"])}));

        let failed = host.add(&ptp).expect_err("no namespace").with_causes();

        assert!(failed.contains("/run/netns/pod") && failed.contains("failed on ADD"), "{failed}");
        assert!(host.leases("p2p").is_empty() && host.cache.interfaces().expect("a cache").is_empty());
    });
}
