use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::load::{Directories, Loaded, Request, Selection, load};
use crate::runtime::validate_interface_name;
use crate::{CniError, Network};

struct Host {
    root: TempDir,
}

impl Host {
    fn new() -> Host {
        let root = TempDir::new().unwrap();
        for directory in ["built-in", "local"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        let host = Host { root };
        host.network("built-in/99-default.conf", "default");
        host.network("built-in/99-default-restricted.conf", "default-restricted");
        host
    }

    fn network(&self, file: &str, name: &str) {
        self.write(file, &format!(r#"{{"name": "{name}", "type": "ptp", "ipMasq": true}}"#));
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.root.path().join(file), content).unwrap();
    }

    fn load(&self, requests: &[(&str, &str)]) -> Result<Loaded, CniError> {
        let request = |(name, args): &(&str, &str)| Request { name: (*name).into(), args: (*args).into() };
        let directories = Directories {
            built_in: self.root.path().join("built-in"),
            local: self.root.path().join("local"),
        };
        load(&directories, &Selection::new(requests.iter().map(request).collect()))
    }
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded.networks.iter().map(|one| format!("{} {}", one.ifname, one.network.name)).collect()
}

#[test]
fn default_network_is_the_built_in_one() {
    let loaded = Host::new().load(&[("default", "")]).unwrap();

    assert_eq!(names(&loaded), ["eth0 default"]);
    assert!(loaded.networks[0].network.built_in && loaded.notices.is_empty());
}

#[test]
fn local_network_overrides_a_built_in_one_of_its_name() {
    let host = Host::new();
    host.network("local/10-mine.conf", "default");

    let loaded = host.load(&[("default", "")]).unwrap();

    let directory = host.root.path().join("local");
    assert_eq!(
        loaded.notices,
        [format!("overriding \"default\" network with one from {}", directory.display())]
    );
    assert_eq!(names(&loaded), ["eth0 default"]);
    assert!(!loaded.networks[0].network.built_in);
}

#[test]
fn first_definition_of_a_name_in_a_directory_counts() {
    let host = Host::new();
    host.network("local/10-a.conf", "mine");
    host.network("local/20-b.conflist", "mine");

    let loaded = host.load(&[("mine", "")]).unwrap();

    assert_eq!(loaded.notices, ["\"mine\" network already defined, ignoring 20-b.conflist"]);
    assert_eq!(loaded.networks[0].network.source, host.root.path().join("local/10-a.conf"));
}

#[test]
fn interfaces_are_in_the_order_of_file_names_not_of_the_request() {
    let host = Host::new();
    host.network("local/20-b.conf", "b");
    host.network("local/10-c.json", "c");

    let loaded = host.load(&[("default", "IP=172.16.28.9"), ("b", ""), ("c", "K=V;L=W")]).unwrap();

    assert_eq!(names(&loaded), ["eth0 c", "eth1 b", "eth2 default"]);
    let args: Vec<&str> = loaded.networks.iter().map(|one| one.args.as_str()).collect();
    assert_eq!(args, ["K=V;L=W", "", "IP=172.16.28.9"]);
}

#[test]
fn all_means_every_network_and_none_means_none() {
    let host = Host::new();
    host.network("local/10-a.conf", "a");

    let all = host.load(&[("all", ""), ("a", "K=V")]).unwrap();
    let none = host.load(&[("none", "")]).unwrap();

    assert_eq!(names(&all), ["eth0 a", "eth1 default-restricted", "eth2 default"]);
    assert_eq!(all.networks[0].args, "K=V");
    assert_eq!(none, Loaded::default());
}

#[test]
fn names_that_nothing_defines_are_listed() {
    let missing = Host::new().load(&[("x", ""), ("default", ""), ("y", "")]).unwrap_err();

    assert_eq!(missing.to_string(), "networks not found: x, y");
}

#[test]
fn files_of_other_kinds_and_directories_are_no_networks() {
    let host = Host::new();
    host.write("local/plugin", "#!/bin/sh");
    host.write("local/10-a.conf.bak", "{");
    fs::create_dir(host.root.path().join("local/20-b.conf")).unwrap();

    assert_eq!(names(&host.load(&[("all", "")]).unwrap()).len(), 2);
}

#[test]
fn wrong_network_that_nobody_asked_for_harms_nobody() {
    let host = Host::new();
    host.write("local/10-a.conf", r#"{"name": "a", "type": "../x", "mtu": "thick"}"#);

    let default = host.load(&[("default", "")]);
    let wrong = host.load(&[("a", "")]).unwrap_err();

    assert!(default.is_ok());
    let file = host.root.path().join("local/10-a.conf");
    assert!(wrong.to_string().contains(&file.display().to_string()), "{wrong}");
}

#[test]
fn file_that_is_no_json_is_named() {
    let host = Host::new();
    host.write("local/10-a.conf", "{\"name\": ");

    let wrong = host.load(&[("default", "")]).unwrap_err();

    assert!(
        wrong.with_causes().contains("10-a.conf is wrong: it is not a JSON object: EOF"),
        "{}",
        wrong.with_causes()
    );
}

#[test]
fn file_that_is_too_long_or_no_file_is_refused() {
    let host = Host::new();
    host.write("local/10-a.conf", &" ".repeat((1 << 20) + 1));

    let long = host.load(&[("default", "")]).unwrap_err();

    assert!(long.with_causes().ends_with("it is longer than 1 MiB"), "{}", long.with_causes());
    fs::remove_file(host.root.path().join("local/10-a.conf")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", host.root.path().join("local/10-a.conf")).unwrap();
    let device = host.load(&[("default", "")]).unwrap_err();
    assert!(device.with_causes().ends_with("not a regular file"), "{}", device.with_causes());
}

#[test]
fn networks_that_come_with_rkt_are_as_documented() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../net.d");
    let read = |file: &str| {
        let path = directory.join(file);
        Network::parse(&fs::read(&path).unwrap(), &path, true).unwrap()
    };

    let (default, restricted) = (read("99-default.conf"), read("99-default-restricted.conf"));

    for (network, name, masquerades) in
        [(&default, "default", true), (&restricted, "default-restricted", false)]
    {
        let plugin = &network.plugins[0];
        assert_eq!((network.name.as_str(), network.ip_masq()), (name, masquerades));
        assert_eq!((plugin.kind.as_str(), plugin.ipam_kind.as_deref()), ("ptp", Some("host-local")));
    }
    assert_eq!(default.plugins[0].raw["ipam"]["subnet"], "172.16.28.0/24");
    assert_eq!(restricted.plugins[0].raw["ipam"]["subnet"], "172.31.0.0/16");
    assert!(restricted.plugins[0].raw["ipam"].get("routes").is_none());
}

#[test]
fn interface_names_that_linux_would_refuse_are_refused() {
    for name in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-letters-"] {
        assert!(validate_interface_name(name).is_err(), "{name}");
    }
    assert!(validate_interface_name("fifteen-letters").is_ok());
}
