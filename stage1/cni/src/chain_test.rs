use std::fs;
use std::path::Path;

use serde_json::json;

use crate::plugin::{Command, PluginError};
use crate::runtime::{Bandwidth, PortMapping, RuntimeConfig};
use crate::scripted::{Host, answer, attachment, network, parse};
use crate::{Cache, CniError, ValidAttachment, Version};

#[test]
fn add_tells_each_plugin_what_the_one_before_it_did() {
    let host = Host::new();
    host.answering("first", &answer("1.0.0", "10.0.0.2/24"));
    let mut second = answer("1.0.0", "10.0.0.3/24");
    second["ofTheirOwn"] = json!({"kept": true});
    host.answering("second", &second);
    host.answering("third", &answer("1.0.0", "10.0.0.4/24"));

    let result = host
        .client()
        .add(&host.cache, &network("1.0.0", &["first", "second", "third"]), &attachment())
        .unwrap();

    assert_eq!(host.calls(), ["ADD first", "ADD second", "ADD third"]);
    assert_eq!(result.ips[0].address.to_string(), "10.0.0.4/24");
    assert_eq!(host.input("first", "ADD"), json!({"type": "first", "name": "net", "cniVersion": "1.0.0"}));
    assert_eq!(host.input("second", "ADD")["prevResult"], answer("1.0.0", "10.0.0.2/24"));
    assert_eq!(host.input("third", "ADD")["prevResult"], second);
}

#[test]
fn plugins_see_the_specified_environment_and_none_of_anybody_elses() {
    let host = Host::new();
    host.answering("one", &answer("0.4.0", "10.0.0.2/24"));

    host.client().add(&host.cache, &network("0.4.0", &["one"]), &attachment()).unwrap();

    let expected = [
        "CNI_ARGS=IP=10.0.0.5;K=V".to_owned(),
        "CNI_COMMAND=ADD".to_owned(),
        "CNI_CONTAINERID=a5b1".to_owned(),
        "CNI_IFNAME=eth0".to_owned(),
        "CNI_NETNS=/run/netns/pod".to_owned(),
        format!("CNI_PATH={}:{}", host.path("elsewhere").display(), host.path("plugins").display()),
        "CNI_VERSION=0.4.0".to_owned(),
    ];
    assert_eq!(host.environment("one", "ADD"), expected);
}

#[test]
fn plugins_get_the_capabilities_that_they_declare_and_no_others() {
    let host = Host::new();
    host.answering("ports", &answer("1.0.0", "10.0.0.2/24"));
    host.answering("both", &answer("1.0.0", "10.0.0.2/24"));
    let mut attachment = attachment();
    attachment.runtime = RuntimeConfig {
        port_mappings: vec![PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: "tcp".into(),
            host_ip: None,
        }],
        ips: vec!["10.0.0.9/24".parse().unwrap()],
        mac: Some("02:00:00:00:00:01".into()),
        bandwidth: Some(Bandwidth { ingress_rate: 1000, ..Bandwidth::default() }),
    };
    let network = parse(json!({"name": "net", "cniVersion": "1.0.0", "plugins": [
        {"type": "ports", "capabilities": {"portMappings": true, "bandwidth": false, "unheardOf": true}},
        {"type": "both", "capabilities": {"mac": true, "ips": true}, "runtimeConfig": {"mac": "stale"}},
    ]}));

    host.client().add(&host.cache, &network, &attachment).unwrap();

    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    assert_eq!(host.input("ports", "ADD")["runtimeConfig"], ports);
    assert_eq!(
        host.input("both", "ADD")["runtimeConfig"],
        json!({"ips": ["10.0.0.9/24"], "mac": "02:00:00:00:00:01"})
    );
}

#[test]
fn add_that_fails_is_undone_in_reverse_and_forgotten() {
    let host = Host::new();
    host.answering("first", &answer("1.0.0", "10.0.0.2/24"));
    host.plugin("second", "test $CNI_COMMAND = DEL && exit 0; echo '{\"code\": 100, \"msg\": \"no more\", \"details\": \"addresses\"}'; exit 1");
    host.answering("third", &answer("1.0.0", "10.0.0.4/24"));

    let failed = host
        .client()
        .add(&host.cache, &network("1.0.0", &["first", "second", "third"]), &attachment())
        .unwrap_err();

    assert_eq!(failed.with_causes(), "network \"net\": plugin \"second\" failed on ADD: no more; addresses");
    assert_eq!(host.calls(), ["ADD first", "ADD second", "DEL second", "DEL first"]);
    assert!(host.cache.records().unwrap().is_empty());
    assert_eq!(fs::read_dir(host.path("net")).unwrap().count(), 0);
}

#[test]
fn add_that_cannot_be_undone_says_both_and_stays_for_a_later_delete() {
    let host = Host::new();
    host.plugin(
        "one",
        "test -e $root/mended || { echo '{\"code\": 7, \"msg\": \"broken '$CNI_COMMAND'\"}'; exit 1; }",
    );

    let failed = host.client().add(&host.cache, &network("1.0.0", &["one"]), &attachment()).unwrap_err();

    let expected = "what was done is not undone (network \"net\": plugin \"one\" failed on DEL: broken DEL): \
                    network \"net\": plugin \"one\" failed on ADD: broken ADD";
    assert_eq!(failed.with_causes(), expected);
    assert_eq!(host.cache.interfaces().unwrap(), ["eth0"]);
    fs::write(host.path("mended"), "").unwrap();
    host.client().delete_all(&host.cache, None).unwrap();
    assert!(host.cache.interfaces().unwrap().is_empty());
}

#[test]
fn nothing_runs_when_a_plugin_of_the_chain_is_not_installed() {
    let host = Host::new();
    host.answering("first", &answer("1.0.0", "10.0.0.2/24"));
    fs::create_dir(host.path("plugins/directory")).unwrap();
    fs::write(host.path("plugins/not-executable"), "#!/bin/sh").unwrap();

    for kind in ["absent", "directory", "not-executable"] {
        let failed =
            host.client().add(&host.cache, &network("1.0.0", &["first", kind]), &attachment()).unwrap_err();
        let expected = format!("network \"net\": Could not find plugin {kind:?} in ");
        assert!(failed.to_string().starts_with(&expected), "{failed}");
    }
    assert!(host.calls().is_empty() && host.cache.records().unwrap().is_empty());
}

#[test]
fn attachments_that_no_plugin_could_serve_are_refused_before_anything_runs() {
    let host = Host::new();
    host.answering("one", &answer("1.0.0", "10.0.0.2/24"));
    let network = network("1.0.0", &["one"]);
    let mut long = attachment();
    long.ifname = "a-name-of-sixteen".into();
    let mut id = attachment();
    id.container_id = "../x".into();

    let name = host.client().add(&host.cache, &network, &long).unwrap_err();
    let id = host.client().add(&host.cache, &network, &id).unwrap_err();

    assert_eq!(
        name.to_string(),
        "interface name \"a-name-of-sixteen\" is refused: it is longer than 15 bytes"
    );
    assert!(matches!(id, CniError::ContainerId(_)), "{id}");
    assert!(host.calls().is_empty());
}

#[test]
fn delete_needs_nothing_but_the_record() {
    let host = Host::new();
    host.answering("first", &answer("1.0.0", "10.0.0.2/24"));
    host.answering("second", &answer("1.0.0", "10.0.0.3/24"));
    let mut network = parse(json!({"name": "net", "cniVersion": "1.0.0", "plugins": [
        {"type": "first", "mine": [1, 2]}, {"type": "second", "capabilities": {"mac": true}},
    ]}));
    let mut attachment = attachment();
    attachment.runtime.mac = Some("02:00:00:00:00:01".into());
    host.client().add(&host.cache, &network, &attachment).unwrap();
    // What is edited afterwards has no effect.
    network.plugins.clear();
    host.calls();

    let later = Cache::new(host.path("net"));
    let record = later.record("eth0").unwrap().unwrap();
    host.client().delete(&later, &record, Some(Path::new("/run/netns/now"))).unwrap();

    assert_eq!(host.calls(), ["DEL second", "DEL first"]);
    let first = json!({"type": "first", "mine": [1, 2], "name": "net", "cniVersion": "1.0.0", "prevResult": answer("1.0.0", "10.0.0.3/24")});
    assert_eq!(host.input("first", "DEL"), first);
    assert_eq!(host.input("second", "DEL")["runtimeConfig"], json!({"mac": "02:00:00:00:00:01"}));
    let environment = host.environment("first", "DEL");
    assert!(environment.contains(&"CNI_NETNS=/run/netns/now".to_owned()), "{environment:?}");
    assert!(environment.contains(&"CNI_ARGS=IP=10.0.0.5;K=V".to_owned()), "{environment:?}");
    assert!(later.records().unwrap().is_empty());
}

#[test]
fn delete_runs_every_plugin_even_if_one_fails_and_keeps_the_record_then() {
    let host = Host::new();
    host.answering("first", &answer("1.0.0", "10.0.0.2/24"));
    host.plugin("second", "test $CNI_COMMAND = DEL && exit 3; echo '{\"cniVersion\": \"1.0.0\"}'");
    host.client().add(&host.cache, &network("1.0.0", &["first", "second"]), &attachment()).unwrap();
    host.calls();

    let failed = host.client().delete_all(&host.cache, None).unwrap_err();

    assert_eq!(
        failed.with_causes(),
        "network \"net\": plugin \"second\" failed on DEL: it exited with status 3"
    );
    assert_eq!(host.calls(), ["DEL second", "DEL first"]);
    assert!(host.environment("first", "DEL").contains(&"CNI_NETNS=".to_owned()));
    assert_eq!(host.cache.interfaces().unwrap(), ["eth0"]);
}

#[test]
fn interfaces_are_deleted_last_first() {
    let host = Host::new();
    host.plugin("one", "echo $CNI_COMMAND $CNI_IFNAME >> $root/order; echo '{\"cniVersion\": \"1.0.0\"}'");
    for index in [0, 2, 10] {
        let mut attachment = attachment();
        attachment.ifname = format!("eth{index}");
        host.client().add(&host.cache, &network("1.0.0", &["one"]), &attachment).unwrap();
    }

    host.client().delete_all(&host.cache, None).unwrap();

    let order = fs::read_to_string(host.path("order")).unwrap();
    let deleted: Vec<&str> = order.lines().filter(|line| line.starts_with("DEL")).collect();
    assert_eq!(deleted, ["DEL eth10", "DEL eth2", "DEL eth0"]);
}

#[test]
fn version_is_the_one_named_or_the_highest_in_common() {
    let host = Host::new();
    host.plugin("new", "echo '{\"cniVersion\": \"1.0.0\", \"supportedVersions\": [\"0.3.1\", \"0.4.0\", \"1.0.0\", \"7.0.0\"]}'");
    host.plugin("older", "echo '{\"supportedVersions\": [\"0.1.0\", \"0.3.1\", \"0.4.0\"]}'");
    host.plugin("oldest", "echo '{\"code\": 4, \"msg\": \"unknown CNI_COMMAND: VERSION\"}'; exit 1");
    let several = |kinds: [&str; 2]| {
        let plugins = kinds.map(|kind| json!({"type": kind}));
        parse(json!({"name": "net", "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"], "plugins": plugins}))
    };
    let client = host.client();

    assert_eq!(client.negotiate(&network("0.3.1", &["new", "older"])).unwrap(), Version::V0_3_1);
    assert_eq!(client.negotiate(&parse(json!({"name": "net", "type": "new"}))).unwrap(), Version::V0_1_0);
    assert!(host.calls().is_empty());
    assert_eq!(client.negotiate(&several(["new", "new"])).unwrap(), Version::V1_0_0);
    assert_eq!(client.negotiate(&several(["new", "older"])).unwrap(), Version::V0_4_0);
    assert_eq!(client.negotiate(&network("", &["new", "older"])).unwrap(), Version::V0_1_0);
    let unnamed = parse(json!({"name": "net", "plugins": [{"type": "new"}, {"type": "older"}]}));
    assert_eq!(client.negotiate(&unnamed).unwrap(), Version::V0_4_0);
    let refused = client.negotiate(&several(["new", "oldest"])).unwrap_err();
    let expected = "network \"net\": its plugins support no CNI version in common (asked for: 0.3.1, 0.4.0, 1.0.0, 1.1.0)";
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn result_of_another_version_is_converted_for_the_next_plugin() {
    let host = Host::new();
    host.answering(
        "old",
        &json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1"}}),
    );
    host.answering("new", &answer("0.3.1", "10.0.0.2/24"));

    host.client().add(&host.cache, &network("0.3.1", &["old", "new"]), &attachment()).unwrap();

    let expected = json!({"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.0.0.2/24", "gateway": "10.0.0.1"}], "dns": {}});
    assert_eq!(host.input("new", "ADD")["prevResult"], expected);
}

#[test]
fn check_passes_the_last_result_to_each_plugin_and_reports_what_one_misses() {
    let host = Host::new();
    host.answering("first", &answer("0.4.0", "10.0.0.2/24"));
    let bad = "test $CNI_COMMAND != CHECK || { echo '{\"code\": 100, \"msg\": \"eth0 is gone\"}'; exit 1; }\n\
               echo '{\"cniVersion\": \"0.4.0\", \"ips\": [{\"version\": \"4\", \"address\": \"10.0.0.3/24\"}]}'";
    host.plugin("second", bad);
    host.client().add(&host.cache, &network("0.4.0", &["first", "second"]), &attachment()).unwrap();
    let record = host.cache.record("eth0").unwrap().unwrap();
    host.calls();

    let failed = host.client().check(&host.cache, &record, Path::new("/run/netns/pod")).unwrap_err();

    assert_eq!(failed.with_causes(), "network \"net\": plugin \"second\" failed on CHECK: eth0 is gone");
    assert_eq!(host.calls(), ["CHECK first", "CHECK second"]);
    assert_eq!(host.input("first", "CHECK")["prevResult"]["ips"][0]["address"], "10.0.0.3/24");
}

#[test]
fn check_is_left_out_where_the_network_or_its_version_has_none() {
    let host = Host::new();
    host.answering("one", &answer("0.3.1", "10.0.0.2/24"));
    let client = host.client();
    client.add(&host.cache, &network("0.3.1", &["one"]), &attachment()).unwrap();
    let disabled = parse(
        json!({"name": "net", "cniVersion": "1.0.0", "disableCheck": true, "plugins": [{"type": "one"}]}),
    );
    let mut second = attachment();
    second.ifname = "eth1".into();
    client.add(&host.cache, &disabled, &second).unwrap();
    host.calls();

    let records = host.cache.records().unwrap();
    let old = client.check(&host.cache, &records[0], Path::new("/n")).unwrap_err();
    client.check(&host.cache, &records[1], Path::new("/n")).unwrap();

    assert_eq!(old.to_string(), "network \"net\": CNI 0.3.1 has no CHECK");
    assert!(host.calls().is_empty());
}

#[test]
fn gc_names_the_attachments_that_are_in_use_to_every_plugin() {
    let host = Host::new();
    host.plugin("first", "echo '{\"code\": 9, \"msg\": \"busy\"}'; exit 1");
    host.plugin("second", "");
    let valid = [ValidAttachment { container_id: "a5b1".into(), ifname: "eth0".into() }];

    let failed = host.client().gc(&network("1.1.0", &["first", "second"]), &valid).unwrap_err();

    assert_eq!(failed.with_causes(), "network \"net\": plugin \"first\" failed on GC: busy");
    assert_eq!(host.calls(), ["GC first", "GC second"]);
    assert_eq!(
        host.input("second", "GC")["cni.dev/valid-attachments"],
        json!([{"containerID": "a5b1", "ifname": "eth0"}])
    );
    assert!(host.environment("second", "GC").contains(&"CNI_CONTAINERID=".to_owned()));
}

#[test]
fn gc_and_status_are_not_asked_of_networks_older_than_them() {
    let host = Host::new();
    host.plugin("one", "exit 1");
    let disabled =
        parse(json!({"name": "net", "cniVersion": "1.1.0", "disableGC": true, "plugins": [{"type": "one"}]}));

    host.client().gc(&network("1.0.0", &["one"]), &[]).unwrap();
    host.client().status(&network("1.0.0", &["one"])).unwrap();
    host.client().gc(&disabled, &[]).unwrap();

    assert!(host.calls().is_empty());
}

#[test]
fn status_is_the_first_plugins_that_is_not_ready() {
    let host = Host::new();
    host.plugin("ready", "");
    host.plugin(
        "down",
        "echo '{\"cniVersion\": \"1.1.0\", \"code\": 50, \"msg\": \"daemon is down\"}'; exit 1",
    );

    host.client().status(&network("1.1.0", &["ready"])).unwrap();
    let down = host.client().status(&network("1.1.0", &["ready", "down"])).unwrap_err();

    assert_eq!(host.input("ready", "STATUS"), json!({"type": "ready", "name": "net", "cniVersion": "1.1.0"}));
    let CniError::Plugin {
        command: Command::Status, cause: PluginError::Reported { code: 50, message }, ..
    } = down
    else {
        panic!("{down:?}")
    };
    assert_eq!(message, "daemon is down");
}

#[test]
fn flannel_is_delegated_by_its_own_plugin_if_that_is_installed() {
    let host = Host::new();
    fs::write(
        host.path("subnet.env"),
        "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n",
    )
    .unwrap();
    host.answering("bridge", &answer("0.3.1", "10.1.17.2/24"));
    let network = parse(
        json!({"name": "f", "cniVersion": "0.3.1", "type": "flannel", "subnetFile": host.path("subnet.env")}),
    );
    let client = host.client();

    client.add(&host.cache, &network, &attachment()).unwrap();
    // The daemon may be gone, or have another subnet, when the pod ends.
    fs::remove_file(host.path("subnet.env")).unwrap();
    client.delete_all(&host.cache, None).unwrap();
    let ours = host.calls();
    host.answering("flannel", &answer("0.3.1", "10.1.17.3/24"));
    client.add(&host.cache, &network, &attachment()).unwrap();

    assert_eq!(ours, ["ADD bridge", "DEL bridge"]);
    assert_eq!(host.input("bridge", "DEL")["ipam"]["subnet"], "10.1.17.0/24");
    assert_eq!(host.input("bridge", "DEL")["ipMasq"], json!(true));
    assert_eq!(host.calls(), ["ADD flannel"]);
}
