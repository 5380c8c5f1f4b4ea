use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::Network;
use crate::flannel::{FlannelError, delegate};

const SUBNET_FILE: &str =
    "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

fn resolve(subnet_file: &str, mut config: Value) -> Result<Value, FlannelError> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("subnet.env");
    fs::write(&path, subnet_file).unwrap();
    config["subnetFile"] = path.to_str().unwrap().into();
    let network = Network::parse(config.to_string().as_bytes(), Path::new("x"), false).unwrap();
    delegate(&network.plugins[0]).map(|plugin| Value::Object(plugin.raw))
}

#[test]
fn delegate_is_a_bridge_with_the_hosts_subnet() {
    let resolved = resolve(SUBNET_FILE, json!({"name": "f", "type": "flannel"})).unwrap();

    let expected = json!({
        "type": "bridge", "ipMasq": false, "mtu": 1472, "isGateway": true,
        "ipam": {"type": "host-local", "subnet": "10.1.17.0/24", "routes": [{"dst": "10.1.0.0/16"}]},
    });
    assert_eq!(resolved, expected);
}

#[test]
fn what_the_user_says_about_the_delegate_counts() {
    let config = json!({"name": "f", "type": "flannel", "delegate": {"type": "macvlan", "master": "eth0", "ipMasq": true, "mtu": 9000}});

    let resolved = resolve(SUBNET_FILE, config).unwrap();

    assert_eq!(
        (&resolved["type"], &resolved["ipMasq"], &resolved["mtu"]),
        (&json!("macvlan"), &json!(true), &json!(9000))
    );
    assert_eq!(resolved.get("isGateway"), None);
}

#[test]
fn delegate_must_leave_name_and_addresses_to_flannel() {
    for key in ["name", "ipam"] {
        let refused =
            resolve(SUBNET_FILE, json!({"name": "f", "type": "flannel", "delegate": {key: {}}})).unwrap_err();
        let expected = format!("'delegate' dictionary must not have '{key}' field, it'll be set by flannel");
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn subnet_file_that_is_missing_or_wrong_is_named() {
    let config = json!({"name": "f", "type": "flannel"});
    let without = resolve("FLANNEL_MTU=1472\n", config.clone()).unwrap_err().to_string();
    let wrong =
        resolve(&SUBNET_FILE.replace("10.1.17.1/24", "here"), config.clone()).unwrap_err().to_string();
    let network = json!({"name": "f", "type": "flannel", "subnetFile": "/nonexistent/subnet.env"});
    let network = Network::parse(network.to_string().as_bytes(), Path::new("x"), false).unwrap();
    let missing = delegate(&network.plugins[0]).unwrap_err().to_string();

    assert!(without.ends_with("subnet.env has no FLANNEL_IPMASQ"), "{without}");
    assert!(wrong.ends_with("subnet.env: FLANNEL_SUBNET=here is wrong"), "{wrong}");
    assert_eq!(missing, "cannot read /nonexistent/subnet.env (does flanneld run?)");
}
