//! Pods on networks of Debian's plugins: what they reach and what reaches them, what their interfaces are like, and that nothing
//! of it is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rkt_tests::command::{self, limit};
use serde_json::{Value, json};

use crate::pod::{Pod, fresh_path, rkt};

/// One test at a time: each compares what the host has before and after.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A network that only one test uses.
pub struct Network {
    name: &'static str,
    file: PathBuf,
}

impl Network {
    /// Defines it by what `plugin` says besides its name.
    pub fn define(name: &'static str, plugin: Value) -> Self {
        Self::write(name, "conf", plugin)
    }

    /// Defines it as a chain of plugins.
    pub fn chain(name: &'static str, plugins: &[Value]) -> Self {
        Self::write(name, "conflist", json!({ "plugins": plugins }))
    }

    fn write(name: &'static str, kind: &str, mut configuration: Value) -> Self {
        configuration["name"] = json!(name);
        configuration["cniVersion"] = json!("1.0.0");
        let directory = rkt().local_config().join("net.d");
        std::fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join(format!("{name}.{kind}"));
        if !file.exists() {
            // A test that is run again gets the same addresses again, not the ones after those.
            let _ = std::fs::remove_dir_all(format!("/var/lib/cni/networks/{name}"));
        }
        std::fs::write(&file, configuration.to_string()).expect("a configuration");
        Self { name, file }
    }

    /// The addresses that host-local has given and not taken back.
    pub fn leases(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(format!("/var/lib/cni/networks/{}", self.name)) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(|first: char| first.is_ascii_hexdigit())).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// host-local over these subnets, with a default route for each.
pub fn host_local(subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
    let default = |subnet: &&str| json!({ "dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" } });
    let routes: Vec<Value> = subnets.iter().map(default).collect();
    json!({ "type": "host-local", "ranges": ranges, "routes": routes })
}

/// Runs a program of the host's and returns what it prints.
#[track_caller]
pub fn host(program: &str, arguments: &[&str]) -> String {
    command::run(Command::new(program).args(arguments), limit(30)).expect_code(0).out()
}

/// One packet there and back.
#[track_caller]
pub fn ping(address: &str) {
    host("busybox", &["ping", "-c", "1", "-W", "10", address]);
}

/// What makes busybox's tools commands of their own, in a shell of the image with nothing else.
pub const TOOLS: &str = "for tool in ip ping cat tr wget nslookup nc sleep ls; do eval \"$tool() { busybox $tool \\\"\\$@\\\"; }\"; done";

/// A shell in a pod on these networks that runs `script`, says that it is up, and waits to be stopped.
fn shell(networks: &str, script: &str) -> Pod {
    let script = format!("{TOOLS}\n{script}\necho pod is up\nsleep 100000");
    let mut pod = Pod::start_on(
        networks,
        &["example.com/busybox", "--stdout=stream", "--stderr=stream", "--", "-c", &script],
    );
    pod.wait_for("pod is up");
    pod
}

/// What there is on the host that networks could leave behind: links, name spaces, routes and rkt's rules.
pub fn traces() -> BTreeSet<String> {
    let lines = |program: &str, arguments: &[&str]| -> Vec<String> {
        host(program, arguments).lines().map(str::to_owned).collect()
    };
    let links = lines("ip", &["-brief", "link"]).into_iter().map(|line| {
        line.split_whitespace().next().unwrap_or_default().split('@').next().unwrap_or_default().to_owned()
    });
    let rules = lines("nft", &["list", "tables"]).into_iter().filter(|table| table.contains("rkt-"));
    let routes = lines("ip", &["route", "show", "table", "all"]);
    links.chain(lines("ip", &["netns"])).chain(routes).chain(rules).collect()
}

/// Checks that the pod's removal brings back what was before, and gives the addresses back.
#[track_caller]
pub fn expect_gone(pod: &Pod, before: &BTreeSet<String>, networks: &[&Network]) {
    pod.run(["rm", &pod.uuid]).expect_code(0);
    // The kernel gives links that were there before their addresses when it is ready to, those of other pods for example.
    let is_late = |trace: &str| {
        let device = trace.split_whitespace().skip_while(|word| *word != "dev").nth(1);
        device.is_some_and(|device| before.contains(device))
            && ["fe80::", "ff00::"].iter().any(|it| trace.contains(it))
    };
    let left: Vec<String> = traces()
        .difference(before)
        .filter(|trace| !trace.contains("other-") && !is_late(trace))
        .cloned()
        .collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    for network in networks {
        assert!(network.leases().is_empty(), "{}: {:?}", network.name, network.leases());
    }
}

/// Stops the pod and returns what its app said.
#[track_caller]
pub fn stop(pod: &mut Pod) -> String {
    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish().out()
}

#[track_caller]
pub fn expect_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn a_pod_on_a_point_to_point_network_reaches_the_host_and_the_host_it() {
    let _alone = alone();
    let ipam = host_local(&["10.201.1.0/24", "fd00:c9:1::/64"]);
    let network = Network::define("ptp-test", json!({ "type": "ptp", "mtu": 1400, "ipam": ipam }));
    let before = traces();

    let script = "ip -o addr show dev eth0; ip -o link show dev eth0; ip route; \
                  ping -c 1 -W 10 10.201.1.1 && echo reached 4; ping -c 1 -W 10 fd00:c9:1::1 && echo reached 6";
    let mut pod = shell("ptp-test", script);
    ping("10.201.1.2");
    ping("fd00:c9:1::2");

    let listed = pod.run(["list", "--no-legend", "--full"]).expect_code(0).out();
    let line = listed.lines().find(|line| line.starts_with(&pod.uuid)).unwrap_or_default();
    assert!(line.ends_with("ptp-test:ip4=10.201.1.2"), "{listed}");
    let directory = rkt().data().join("pods/run").join(&pod.uuid);
    let info = std::fs::read(directory.join("net-info.json")).expect("net-info.json");
    let wanted = json!([{
        "netName": "ptp-test", "netConf": "net/ptp-test.conf", "pluginPath": "stage1/rootfs/usr/lib/rkt/plugins/net/ptp", "ifName": "eth0",
        "ip": "10.201.1.2", "args": "", "mask": "255.255.255.0",
    }]);
    assert_eq!(serde_json::from_slice::<Value>(&info).expect("JSON"), wanted);
    assert!(directory.join("net/ptp-test.conf").exists());
    let namespace = std::fs::read_to_string(directory.join("netns")).expect("netns");
    assert_eq!(namespace, format!("/run/netns/rkt-{}", pod.uuid));
    assert_eq!(network.leases().len(), 2);
    let mac =
        host("ip", &["netns", "exec", &format!("rkt-{}", pod.uuid), "cat", "/sys/class/net/eth0/address"]);
    let text = stop(&mut pod);
    expect_all(
        &text,
        &["10.201.1.2/24", "fd00:c9:1::2/64", "mtu 1400", mac.trim(), "default via 10.201.1.1"],
    );
    expect_all(&text, &["reached 4", "reached 6"]);
    // Whatever has become of the configuration, and of the plugins' namespace.
    drop(Network::define("ptp-test", json!({ "type": "no-such-plugin" })));
    expect_gone(&pod, &before, &[&network]);
}

#[test]
fn pods_on_one_bridge_reach_each_other_and_names_are_looked_up_where_the_first_network_says() {
    let _alone = alone();
    let dns =
        json!({ "nameservers": ["10.201.2.1"], "search": ["a.example", "b.example"], "domain": "a.example" });
    let ipam = host_local(&["10.201.2.0/24", "fd00:c9:2::/64"]);
    let bridge =
        json!({ "type": "bridge", "bridge": "other-bridge", "isGateway": true, "ipam": ipam, "dns": dns });
    let bridge = Network::define("1-bridge-test", bridge);
    let second = json!({
        "type": "ptp", "dns": { "nameservers": ["10.9.9.9"] },
        "ipam": { "type": "host-local", "subnet": "10.201.3.0/24" },
    });
    let second = Network::define("2-second-test", second);
    let before = traces();

    let mut one = shell(
        "2-second-test,1-bridge-test:IP=10.201.2.77",
        "tr '\\n' '|' < /etc/resolv.conf; echo; ip -o addr",
    );
    let script = "ping -c 1 -W 10 10.201.2.77 && echo reached it; tr '\\n' '|' < /etc/resolv.conf; echo";
    let mut two = shell("1-bridge-test", script);
    ping("10.201.2.77");
    ping("10.201.3.2");
    let address = rkt().status_value(&two.uuid, "networks").expect("networks");
    let address = address.strip_prefix("1-bridge-test:ip4=").expect("one network").to_owned();
    let enter = ["enter", &one.uuid, "/bin/busybox", "ping", "-c", "1", "-W", "10", &address];
    one.run(enter).expect_code(0);
    let status = one.status_value(&one.uuid, "networks");
    assert_eq!(status.as_deref(), Some("1-bridge-test:ip4=10.201.2.77, 2-second-test:ip4=10.201.3.2"));

    one.run(["stop", "--force", &one.uuid]).expect_code(0);
    let output = one.finish().expect_err("ignoring the DNS configuration of network \"2-second-test\"");
    let text = output.out();
    let resolv = "# Generated by rkt from network 1-bridge-test||search a.example b.example|nameserver 10.201.2.1|\
                  domain a.example|";
    expect_all(&text, &[resolv, "eth0", "10.201.2.77/24", "eth1", "10.201.3.2/24"]);
    expect_all(&stop(&mut two), &["reached it", resolv]);
    one.run(["rm", &one.uuid]).expect_code(0);
    expect_gone(&two, &before, &[&bridge, &second]);
    host("ip", &["link", "del", "other-bridge"]);
}

#[test]
fn a_host_without_plugins_of_its_own_has_the_default_network_from_a_mount_name_space_of_its_own() {
    let _alone = alone();
    let before = traces();
    let leases = || -> BTreeSet<String> {
        let entries = std::fs::read_dir("/var/lib/cni/networks/default").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("172.")).collect()
    };
    // Pods of other tests may have theirs.
    let others = leases();
    // rkt's name space, and with it the pod's name in /run/netns, is private here, as in a unit with private mounts.
    let script = "mount -t tmpfs none /usr/lib/cni && exec \"$@\"";
    let app = "busybox ip -o addr; busybox ping -c 1 -W 10 172.16.28.1 && echo reached the host; busybox sleep 100000";
    let image = "example.com/busybox";
    let mut pod = Pod::start_by_script_on("default", script, &[image, "--stdout=stream", "--", "-c", app]);
    pod.wait_for("reached the host");
    let address = pod.status_value(&pod.uuid, "networks").expect("networks");
    ping(address.strip_prefix("default:ip4=").expect("an address"));

    // What is mounted in the other name space is nothing that `rkt stop` could use.
    pod.running().send(Signal::SIGTERM);
    pod.running().send(Signal::SIGTERM);
    let text = pod.finish().out();
    expect_all(&text, &["eth0", "172.16.28."]);
    expect_gone(&pod, &before, &[]);
    assert_eq!(leases().difference(&others).cloned().collect::<Vec<_>>(), Vec::<String>::new());
}

/// Two interfaces of the host that are connected, the second of which has an address.
pub struct Cable(String);

impl Cable {
    pub fn lay(name: &str, address: &str) -> Self {
        let far = format!("{name}-far");
        host("ip", &["link", "add", name, "type", "veth", "peer", "name", &far]);
        host("ip", &["link", "set", name, "up"]);
        host("ip", &["link", "set", &far, "up"]);
        if !address.is_empty() {
            host("ip", &["addr", "add", address, "dev", &far]);
        }
        Self(name.to_owned())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.0]).output();
    }
}

#[test]
fn a_pod_can_be_on_networks_of_every_kind_at_once() {
    let _alone = alone();
    let cables = [
        Cable::lay("other-mv", "10.201.10.1/24"),
        Cable::lay("other-iv", "10.201.11.1/24"),
        Cable::lay("other-vl", ""),
        Cable::lay("other-hd", "10.201.13.1/24"),
    ];
    host("ip", &["link", "add", "link", "other-vl-far", "name", "other-vl.42", "type", "vlan", "id", "42"]);
    host("ip", &["link", "set", "other-vl.42", "up"]);
    host("ip", &["addr", "add", "10.201.12.1/24", "dev", "other-vl.42"]);
    let subnet = |number: u8| json!({ "type": "host-local", "subnet": format!("10.201.{number}.0/24") });
    let fixed = json!({ "type": "static", "addresses": [{ "address": "10.201.13.2/24" }] });
    let networks = [
        Network::define("a-macvlan", json!({ "type": "macvlan", "master": "other-mv", "ipam": subnet(10) })),
        Network::define("b-ipvlan", json!({ "type": "ipvlan", "master": "other-iv", "ipam": subnet(11) })),
        Network::define(
            "c-vlan",
            json!({ "type": "vlan", "master": "other-vl", "vlanId": 42, "ipam": subnet(12) }),
        ),
        Network::define("d-device", json!({ "type": "host-device", "device": "other-hd", "ipam": fixed })),
    ];
    let before = traces();

    let script = "for n in 10 11 12 13; do ping -c 1 -W 10 10.201.$n.1 > /dev/null && echo reached $n; done";
    let mut pod = shell("a-macvlan,b-ipvlan,c-vlan,d-device", script);
    let addresses = pod.status_value(&pod.uuid, "networks").expect("networks");
    for network in addresses.split(", ") {
        ping(network.split_once('=').expect("an address").1);
    }

    let text = stop(&mut pod);
    expect_all(&text, &["reached 10", "reached 11", "reached 12", "reached 13"]);
    let networks: Vec<&Network> = networks.iter().collect();
    expect_gone(&pod, &before, &networks);
    drop(cables);
}

/// A plugin of the test's own, next to the configurations.
fn plugin(name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;

    let directory = rkt().local_config().join("net.d");
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a plugin");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Checks that gc has nothing left to undo.
#[track_caller]
fn expect_no_record(uuid: &str) {
    let directory = rkt().data().join("pods/run").join(uuid).join("net/cache");
    let records: Vec<_> = std::fs::read_dir(directory).into_iter().flatten().flatten().collect();
    assert!(records.is_empty(), "{records:?}");
}

#[test]
fn a_signal_ends_a_pod_whose_network_hangs_and_what_was_done_is_undone() {
    let _alone = alone();
    let log = fresh_path("hanging");
    let script = format!(
        "cat > /dev/null; echo $CNI_COMMAND >> {}; [ $CNI_COMMAND = ADD ] || exit 0\n\
         ip -n ${{CNI_NETNS##*/}} link add $CNI_IFNAME type dummy; exec sleep 100000",
        log.display()
    );
    plugin("hangs", &script);
    let ipam = json!({ "type": "host-local", "subnet": "10.201.20.0/24" });
    let good = Network::define("0-good", json!({ "type": "ptp", "ipam": ipam }));
    let hanging = Network::define("z-hanging", json!({ "type": "hangs" }));
    let before = traces();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let _ = std::fs::remove_file(&log);
        let mut pod = Pod::start_on("0-good,z-hanging", &["example.com/busybox"]);
        let deadline = Instant::now() + limit(30);
        while !log.exists() {
            assert!(Instant::now() < deadline, "the plugin was not run");
            std::thread::sleep(Duration::from_millis(20));
        }

        pod.running().send(signal);

        let said = "network \"z-hanging\": plugin \"hangs\" failed on ADD: it had not finished when a signal asked for an end";
        pod.finish().expect_code(254).expect_err(said);
        assert_eq!(std::fs::read_to_string(&log).expect("the log"), "ADD\nDEL\n");
        expect_no_record(&pod.uuid);
        expect_gone(&pod, &before, &[&good]);
    }
    drop(hanging);
}

#[test]
fn what_goes_wrong_is_named_and_undone() {
    let _alone = alone();
    let refused = r#"cat > /dev/null; [ $CNI_COMMAND = ADD ] || exit 0
                     echo '{"cniVersion":"1.0.0","code":11,"msg":"no luck","details":"today"}'; exit 1"#;
    plugin("refuses", refused);
    plugin("mumbles", "cat > /dev/null; echo it is done");
    let nothing = "cat > /dev/null; [ $CNI_COMMAND = ADD ] && ip -n ${CNI_NETNS##*/} link add $CNI_IFNAME type dummy; \
                   echo '{\"cniVersion\":\"1.0.0\"}'";
    plugin("addressless", nothing);
    plugin("does-nothing", "cat > /dev/null; echo '{\"cniVersion\":\"1.0.0\"}'");
    let with_address = "[ $CNI_COMMAND = ADD ] || { echo '{}'; exit 0; }; in=\"ip -n ${CNI_NETNS##*/}\"; cat > /dev/null; \
                        $in link add $CNI_IFNAME type dummy && $in addr add 10.201.23.2/24 dev $CNI_IFNAME || exit 1; \
                        echo '{\"cniVersion\":\"1.0.0\"}'";
    plugin("takes-the-tap", &format!("{with_address}; $in link add tap1 type dummy"));
    plugin("takes-the-table", &format!("{with_address}; nft add table inet rkt-$CNI_CONTAINERID"));
    let cable = Cable::lay("other-l3s", "");
    let ipam = |subnet: &str| json!({ "type": "host-local", "subnet": subnet });
    let good = Network::define("0-good", json!({ "type": "ptp", "ipam": ipam("10.201.20.0/24") }));
    let full = json!({ "type": "host-local", "subnet": "10.201.22.0/24", "rangeStart": "10.201.22.5", "rangeEnd": "10.201.22.5" });
    let networks = [
        Network::define("z-missing", json!({ "type": "no-such-plugin" })),
        Network::define("z-refused", json!({ "type": "refuses" })),
        Network::define("z-mumbled", json!({ "type": "mumbles" })),
        Network::define("z-addressless", json!({ "type": "addressless" })),
        Network::define("z-nothing", json!({ "type": "does-nothing" })),
        Network::define("z-same", json!({ "type": "ptp", "ipam": ipam("10.201.20.128/25") })),
        Network::define("z-full", json!({ "type": "ptp", "ipam": full })),
        Network::define(
            "z-long",
            json!({ "type": "bridge", "bridge": "a-bridge-of-a-name-too-long", "ipam": ipam("10.201.23.0/24") }),
        ),
        Network::define("z-tap", json!({ "type": "takes-the-tap" })),
        Network::define("z-nft", json!({ "type": "takes-the-table" })),
        Network::define(
            "z-l3s",
            json!({ "type": "ipvlan", "mode": "l3s", "master": "other-l3s", "ipam": ipam("10.201.23.0/24") }),
        ),
    ];
    std::fs::create_dir_all("/var/lib/cni/networks/z-full").expect("a directory");
    std::fs::write("/var/lib/cni/networks/z-full/10.201.22.5", "somebody\r\neth0").expect("a lease");
    let before = traces();
    let cases = [
        ("z-missing", "Could not find plugin \"no-such-plugin\""),
        ("z-refused", "no luck; today"),
        ("z-mumbled", "it is done"),
        ("z-addressless", "network \"z-addressless\": net-plugin returned no IP configuration"),
        ("z-nothing", "network \"z-nothing\": its plugin made no interface eth1"),
        ("z-same", "networks \"0-good\" and \"z-same\" have the same subnet"),
        ("z-full", "no IP addresses available"),
        ("z-long", "plugin \"bridge\" failed on ADD: "),
        ("z-tap", "network \"z-tap\": cannot make a tap"),
        ("z-nft", "nft refused to make the table inet rkt-"),
        ("z-l3s", "interface eth1 of mode l3s gets packets, not frames"),
        ("z-unheard", "networks not found: z-unheard"),
    ];
    for (name, words) in cases {
        let file = fresh_path("uuid");
        let (selected, save) =
            (format!("--net=0-good,{name}"), format!("--uuid-file-save={}", file.display()));

        let output = rkt().run(["run", "--insecure-options=image", &selected, &save, "example.com/busybox"]);

        output.expect_code(254).expect_err(words);
        let uuid = std::fs::read_to_string(&file).expect("a UUID");
        let left: Vec<String> =
            traces().difference(&before).filter(|trace| !trace.contains("other-")).cloned().collect();
        assert!(left.is_empty(), "{name} left behind: {left:#?}");
        for network in [&good].into_iter().chain(&networks).filter(|network| network.name != "z-full") {
            assert!(network.leases().is_empty(), "{name}: {:?}", network.leases());
        }
        expect_no_record(&uuid);
        rkt().run(["rm", &uuid]).expect_code(0);
    }
    drop(cable);
    let lists: Vec<String> = (1..=9).map(|number| format!("many-{number}")).collect();
    let many: Vec<Network> = lists
        .iter()
        .map(|name| {
            Network::define(name.clone().leak(), json!({ "type": "ptp", "ipam": ipam("10.201.20.0/24") }))
        })
        .collect();
    let networks_of_many = format!("--net={}", lists.join(","));
    let output = rkt().run(["run", "--insecure-options=image", &networks_of_many, "example.com/busybox"]);
    output.expect_code(254).expect_err("a pod can have 8 networks, not 9");
    drop((networks, many));
    let _ = std::fs::remove_dir_all("/var/lib/cni/networks/z-full");
}

#[test]
fn sandboxes_and_prepared_pods_have_networks_too() {
    let _alone = alone();
    let ipam = json!({ "type": "host-local", "subnet": "10.201.30.0/24" });
    let network = Network::define("late-test", json!({ "type": "ptp", "ipam": ipam }));
    let before = traces();
    let image = "example.com/busybox";
    let prepared =
        rkt().run(["prepare", "--quiet", image, "--", "-c", "busybox ping -c 1 -W 10 10.201.30.1"]);
    let prepared = prepared.expect_code(0).out().trim().to_owned();

    rkt().run(["run-prepared", "--net=late-test", &prepared]).expect_code(0);
    let pod = Pod::sandbox_on("late-test");
    let address = pod.status_value(&pod.uuid, "networks").expect("networks");
    ping(address.strip_prefix("late-test:ip4=").expect("an address"));
    pod.run([
        "app",
        "add",
        &pod.uuid,
        image,
        "--name=a",
        "--",
        "-c",
        "busybox ip -o addr; busybox sleep 10000",
    ])
    .expect_code(0);
    pod.run(["app", "start", "--app=a", &pod.uuid]).expect_code(0);
    let seen = pod.run(["enter", "--app=a", &pod.uuid, "/bin/busybox", "ip", "-o", "addr"]).expect_code(0);
    expect_all(&seen.out(), &["eth0", "10.201.30."]);

    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    rkt().wait_for_state(&pod.uuid, "exited");
    rkt().run(["rm", &prepared]).expect_code(0);
    expect_gone(&pod, &before, &[&network]);
}
