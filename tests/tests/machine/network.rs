//! Pods on networks of Debian's plugins: what they reach and what reaches them, what their interfaces are like, and that nothing
//! of it is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use rkt_tests::command::{self, limit};
use serde_json::{Value, json};

use crate::pod::{Pod, rkt, said};

/// A network that only one test uses.
struct Network {
    name: &'static str,
    file: PathBuf,
}

impl Network {
    /// Defines it by what `plugin` says besides its name.
    fn define(name: &'static str, plugin: Value) -> Self {
        let mut configuration = plugin;
        configuration["name"] = json!(name);
        configuration["cniVersion"] = json!("1.0.0");
        let directory = rkt().local_config().join("net.d");
        std::fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join(format!("{name}.conf"));
        std::fs::write(&file, configuration.to_string()).expect("a configuration");
        Self { name, file }
    }

    /// The addresses that host-local has given and not taken back.
    fn leases(&self) -> Vec<String> {
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
fn host_local(subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets.iter().map(|subnet| json!([{ "subnet": subnet }])).collect();
    let default = |subnet: &&str| json!({ "dst": if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" } });
    let routes: Vec<Value> = subnets.iter().map(default).collect();
    json!({ "type": "host-local", "ranges": ranges, "routes": routes })
}

/// Runs a program of the host's and returns what it prints.
#[track_caller]
fn host(program: &str, arguments: &[&str]) -> String {
    command::run(Command::new(program).args(arguments), limit(30)).expect_code(0).out()
}

/// One packet there and back.
#[track_caller]
fn ping(address: &str) {
    host("busybox", &["ping", "-c", "1", "-W", "10", address]);
}

/// A shell in a pod on these networks that runs `script`, says that it is up, and waits to be stopped.
fn shell(networks: &str, script: &str) -> Pod {
    let tools = "for tool in ip ping cat wget nslookup nc sleep; do eval \"$tool() { busybox $tool \\\"\\$@\\\"; }\"; done";
    let script = format!("{tools}\n{script}\necho pod is up\nsleep 100000");
    let mut pod = Pod::start_on(
        networks,
        &["example.com/busybox", "--stdout=stream", "--stderr=stream", "--", "-c", &script],
    );
    pod.wait_for("pod is up");
    pod
}

/// What there is on the host that networks could leave behind.
fn traces() -> BTreeSet<String> {
    let lines = |program: &str, arguments: &[&str]| -> Vec<String> {
        host(program, arguments).lines().map(str::to_owned).collect()
    };
    let links = lines("ip", &["-brief", "link"]).into_iter().map(|line| {
        line.split_whitespace().next().unwrap_or_default().split('@').next().unwrap_or_default().to_owned()
    });
    links.chain(lines("ip", &["netns"])).chain(lines("ip", &["route", "show", "table", "all"])).collect()
}

#[test]
fn a_pod_on_a_point_to_point_network_reaches_the_host_and_the_host_it() {
    let ipam = host_local(&["10.201.1.0/24", "fd00:c9:1::/64"]);
    let network = Network::define("ptp-test", json!({ "type": "ptp", "mtu": 1400, "ipam": ipam }));
    let before = traces();

    let script = "ip -o addr show dev eth0; ip -o link show dev eth0; ip route; \
                  ping -c 1 -W 10 10.201.1.1 && echo reached 4; ping -c 1 -W 10 fd00:c9:1::1 && echo reached 6";
    let mut pod = shell("ptp-test", script);
    ping("10.201.1.2");
    ping("fd00:c9:1::2");

    let listed = pod.run(["list", "--no-legend"]).expect_code(0).out();
    let line = listed.lines().find(|line| pod.uuid.starts_with(line.split('\t').next().unwrap_or("-")));
    assert!(line.is_some_and(|line| line.ends_with("ptp-test:ip4=10.201.1.2")), "{listed}");
    let info = std::fs::read(rkt().data().join("pods/run").join(&pod.uuid).join("net-info.json"));
    let info: Value = serde_json::from_slice(&info.expect("net-info.json")).expect("JSON");
    let wanted = json!([{
        "netName": "ptp-test", "netConf": "net/ptp-test.conf", "pluginPath": "/usr/lib/cni/ptp", "ifName": "eth0",
        "ip": "10.201.1.2", "args": "", "mask": "255.255.255.0",
    }]);
    assert_eq!(info, wanted);
    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    let output = pod.finish();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in
        ["10.201.1.2/24", "fd00:c9:1::2/64", "mtu 1400", "default via 10.201.1.1", "reached 4", "reached 6"]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    assert_eq!(network.leases().len(), 2);
    pod.run(["rm", &pod.uuid]).expect_code(0);
    let left: Vec<String> = traces().difference(&before).cloned().collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
    assert!(network.leases().is_empty(), "{:?}", network.leases());
    let _ = said(&output.stdout, "busybox");
}
