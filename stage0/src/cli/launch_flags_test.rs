//! Modes of `/etc/resolv.conf` and `/etc/hosts` follow from the flags as in rkt.

use super::launch_flags::{LaunchFlags, NameFlags};
use crate::pod::name_files::{DnsConfig, Hosts, HostsEntry, ResolvConf};

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn networks_default_to_the_one_named_default() {
    assert_eq!(LaunchFlags::default().networks().unwrap().to_string(), "default");
}

#[test]
fn network_names_must_be_given_and_unique() {
    let networks = |text: &str| LaunchFlags { net: list(&[text]), ..LaunchFlags::default() }.networks();

    assert_eq!(networks("a:IP=10.0.0.1,b").unwrap().to_string(), "a:IP=10.0.0.1,b");
    assert!(networks("a,,b").unwrap_err().contains("can't be empty"));
    assert!(networks("a,b,a:x=y").unwrap_err().contains("duplicate"));
    assert!(networks("none").unwrap().has("none") && !networks("nonesuch").unwrap().has("none"));
}

#[test]
fn addresses_and_search_words_make_rkt_write_resolv_conf() {
    let flags = NameFlags {
        dns: list(&["10.0.0.1,10.0.0.2", "fd00::1"]),
        dns_search: list(&["example.com"]),
        dns_opt: list(&["ndots:2"]),
        dns_domain: Some("corp".to_owned()),
        ..NameFlags::default()
    };

    let expected = DnsConfig {
        servers: list(&["10.0.0.1", "10.0.0.2", "fd00::1"]),
        search: list(&["example.com"]),
        options: list(&["ndots:2"]),
        domain: Some("corp".to_owned()),
    };
    assert_eq!(flags.resolv_conf(), Ok(ResolvConf::Stage0(expected)));
    assert_eq!(NameFlags::default().resolv_conf(), Ok(ResolvConf::Default));
}

#[test]
fn modes_of_dns_stand_alone() {
    let mode = |words: &[&str]| NameFlags { dns: list(words), ..NameFlags::default() };
    let with_option = NameFlags { dns_opt: list(&["ndots:2"]), ..mode(&["host"]) };

    assert_eq!(mode(&["host"]).resolv_conf(), Ok(ResolvConf::Host));
    assert_eq!(mode(&["none"]).resolv_conf(), Ok(ResolvConf::None));
    assert_eq!(
        mode(&["10.0.0.1", "none"]).resolv_conf().unwrap_err(),
        "no other --dns options allowed when --dns=none is passed"
    );
    assert_eq!(
        with_option.resolv_conf().unwrap_err(),
        "Cannot call --dns-opt, --dns-search, or --dns-domain with --dns=host"
    );
    assert_eq!(mode(&["10.0.0.1,x"]).resolv_conf().unwrap_err(), "Invalid IP passed to --dns: x");
}

#[test]
fn a_value_cannot_bring_a_line_of_its_own() {
    let flags = NameFlags { dns_search: list(&["a\nnameserver 10.0.0.1"]), ..NameFlags::default() };
    let hosts = NameFlags { hosts_entry: list(&["10.0.0.1=a\n10.0.0.2 b"]), ..NameFlags::default() };

    assert!(flags.resolv_conf().is_err());
    assert!(hosts.hosts().is_err());
}

#[test]
fn hosts_entries_of_one_address_share_a_line() {
    let hosts = |words: &[&str]| NameFlags { hosts_entry: list(words), ..NameFlags::default() }.hosts();

    let entries = vec![
        HostsEntry { address: "10.0.0.1".to_owned(), names: list(&["a", "c"]) },
        HostsEntry { address: "fd00::1".to_owned(), names: list(&["b"]) },
    ];
    assert_eq!(hosts(&["10.0.0.1=a,fd00::1=b", "10.0.0.1=c"]), Ok(Hosts::Stage0(entries)));
    assert_eq!(hosts(&["host"]), Ok(Hosts::Host));
    assert_eq!(hosts(&[]), Ok(Hosts::Default));
}

#[test]
fn hosts_entries_that_make_no_sense_are_refused() {
    let error =
        |words: &[&str]| NameFlags { hosts_entry: list(words), ..NameFlags::default() }.hosts().unwrap_err();

    assert_eq!(error(&["host", "10.0.0.1=a"]), "cannot pass --hosts-entry=host with multiple hosts-entries");
    assert_eq!(error(&["10.0.0.1"]), "Did not understand --hosts-entry 10.0.0.1");
    assert_eq!(error(&["x=a"]), "Invalid IP passed to --hosts-entry: x");
}
