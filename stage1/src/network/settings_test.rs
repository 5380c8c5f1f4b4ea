use std::path::Path;

use cni::Network;
use serde_json::json;

use super::settings::names;

#[test]
fn settings_are_those_of_every_tuning_plugin_for_this_interface() {
    let text = json!({"name": "net", "cniVersion": "1.0.0", "plugins": [
        {"type": "bridge", "sysctl": {"net.ipv4.ip_forward": "1"}},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1"}},
        {"type": "tuning", "mtu": 1400},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "501"}, "args": {"cni": {"sysctl": {"net/core/x": "1"}}}},
    ]});
    let network = Network::parse(text.to_string().as_bytes(), Path::new("net.conflist"), false).unwrap();

    assert_eq!(
        names(&network, "eth3"),
        ["net/core/somaxconn", "net/ipv4/conf/eth3/arp_filter", "net/core/x"]
    );
}
