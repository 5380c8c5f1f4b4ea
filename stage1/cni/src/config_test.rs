use std::path::Path;

use serde_json::{Value, json};

use crate::config::{ConfigError, Network};
use crate::version::Version;

fn parse(text: &Value) -> Result<Network, ConfigError> {
    Network::parse(text.to_string().as_bytes(), Path::new("/etc/rkt/net.d/10-a.conf"), false)
}

#[test]
fn conf_becomes_a_network_of_one_plugin_with_all_that_was_written() {
    let written = json!({
        "name": "a", "type": "bridge", "bridge": "br0", "ipMasq": true, "mtu": 1400, "isDefaultGateway": true,
        "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}, "big": 18_446_744_073_709_551_615_u64,
    });

    let network = parse(&written).unwrap();

    let plugin = &network.plugins[0];
    assert_eq!((network.name.as_str(), network.plugins.len(), plugin.kind.as_str()), ("a", 1, "bridge"));
    assert_eq!((plugin.ip_masq, plugin.mtu, plugin.is_default_gateway), (true, Some(1400), true));
    assert_eq!(plugin.ipam_kind.as_deref(), Some("host-local"));
    assert_eq!(Value::Object(plugin.raw.clone()), written);
    assert!(network.versions.is_empty());
}

#[test]
fn conflist_keeps_the_order_of_its_plugins_and_the_capabilities_that_are_on() {
    let written = json!({
        "name": "chain", "cniVersion": "0.4.0", "disableCheck": true,
        "plugins": [
            {"type": "ptp"},
            {"type": "portmap", "capabilities": {"portMappings": true, "aliases": false}},
        ],
    });

    let network = parse(&written).unwrap();

    let kinds: Vec<&str> = network.plugins.iter().map(|plugin| plugin.kind.as_str()).collect();
    assert_eq!(kinds, ["ptp", "portmap"]);
    assert_eq!((network.disable_check, network.versions.as_slice()), (true, &[Version::V0_4_0][..]));
    assert!(network.has_capability("portMappings") && !network.has_capability("aliases"));
}

#[test]
fn masquerading_is_taken_out_of_what_the_plugin_reads() {
    let mut network = parse(&json!({"name": "a", "type": "ptp", "ipMasq": true})).unwrap();

    let wanted = network.take_masquerade();

    assert!(wanted && !network.ip_masq());
    assert_eq!(network.plugins[0].raw["ipMasq"], json!(false));
    assert!(!network.take_masquerade());
}

#[test]
fn versions_that_are_too_new_are_left_out_of_a_list_and_refused_alone() {
    let several =
        json!({"name": "a", "type": "x", "cniVersion": "1.0.0", "cniVersions": ["9.0.0", "0.4.0", "1.0.0"]});
    let alone = json!({"name": "a", "type": "x", "cniVersion": "9.0.0"});

    let network = parse(&several).unwrap();
    let refused = parse(&alone).unwrap_err();

    assert_eq!(network.versions, [Version::V0_4_0, Version::V1_0_0]);
    assert_eq!(refused.to_string(), "CNI version \"9.0.0\" is not supported (0.1.0 to 1.1.0 are)");
}

#[test]
fn wrong_configurations_are_refused_with_the_key_at_fault() {
    let cases = [
        (json!({"type": "x"}), "\"name\" is missing"),
        (json!({"name": "a"}), "\"type\" is missing"),
        (json!({"name": "a", "plugins": []}), "\"plugins\" is empty"),
        (json!({"name": "a", "plugins": {}}), "\"plugins\" is an object, want a list"),
        (json!({"name": "a", "plugins": [1]}), "\"plugins\" is 1, want a list of objects"),
        (json!({"name": "a", "type": "x", "mtu": -1}), "\"mtu\" is -1, want a number of bytes"),
        (json!({"name": "a", "type": "x", "ipMasq": "maybe"}), "\"ipMasq\" is a string, want true or false"),
        (json!({"name": "a", "type": "x", "ipam": "dhcp"}), "\"ipam\" is a string, want an object"),
        (json!({"name": 7, "type": "x"}), "\"name\" is 7, want a string"),
    ];
    for (written, message) in cases {
        assert_eq!(parse(&written).unwrap_err().to_string(), message, "{written}");
    }
    let name = parse(&json!({"name": "../a", "type": "x"})).unwrap_err();
    assert!(matches!(name, ConfigError::Name(_)), "{name}");
    let kind = parse(&json!({"name": "a", "type": "../../bin/sh"})).unwrap_err();
    assert!(matches!(kind, ConfigError::Kind(_)), "{kind}");
    let chain = json!({"name": "a", "plugins": vec![json!({"type": "x"}); 33]});
    assert!(matches!(parse(&chain).unwrap_err(), ConfigError::TooManyPlugins(33)));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z/.0-9]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            let key = prop_oneof![
                "[a-z]{1,4}",
                proptest::sample::select(vec![
                    "name",
                    "type",
                    "plugins",
                    "ipam",
                    "mtu",
                    "ipMasq",
                    "cniVersion",
                    "cniVersions",
                    "capabilities",
                ])
                .prop_map(str::to_owned),
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..8)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Network::parse(&text, Path::new("x"), false);
        }

        #[test]
        fn a_network_that_was_accepted_survives_being_kept(value in json_value()) {
            if let Ok(network) = parse(&value) {
                let kept = serde_json::to_vec(&network).unwrap();
                prop_assert_eq!(serde_json::from_slice::<Network>(&kept).unwrap(), network);
            }
        }
    }
}
