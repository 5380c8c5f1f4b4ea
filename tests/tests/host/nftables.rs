//! The client of nf_tables: what the kernel makes of its messages, as `nft` tells it, in network name spaces of the tests' own.

use std::process::Command;

use nftables::{
    Batch, Chain, Connection, ConnectionState, Family, Hook, Match, Policy, Ports, Priority, Protocol,
    Refusal, Rule, Subnet, Table, Verdict,
};

const TABLE: Table<'_> = Table { family: Family::Inet, name: "rkt-test" };

/// Runs in a network name space that ends with the test's thread.
fn alone<R>(work: impl FnOnce(&mut Connection) -> R) -> R {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network name space");
    work(&mut Connection::open().expect("a connection"))
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

fn chain<'a>(name: &'a str, hook: Hook<'a>, priority: Priority) -> Chain<'a> {
    Chain { name, hook, priority, policy: Policy::Accept }
}

#[test]
fn nft_reads_what_was_meant() {
    let tcp = |port: u16| [Match::Protocol(Protocol::Tcp), Match::DestinationPort(port.into())];
    let rules: Vec<(&str, Rule)> = vec![
        (
            "guard",
            Rule::always(Verdict::Drop)
                .when(Match::From("veth1".into()))
                .when(Match::Destination(subnet("127.0.0.0/8"))),
        ),
        (
            "to",
            Rule {
                matches: tcp(8080).to_vec(),
                verdict: Verdict::Redirect("10.1.0.2".parse().unwrap(), Some(80)),
            }
            .when(Match::DestinationIsHere),
        ),
        (
            "to",
            Rule::always(Verdict::Redirect("10.1.0.2".parse().unwrap(), None))
                .when(Match::Destination(subnet("192.0.2.1")))
                .when(Match::Protocol(Protocol::Udp))
                .when(Match::DestinationPort(Ports { first: 5000, last: 5010 })),
        ),
        (
            "to",
            Rule {
                matches: tcp(443).to_vec(),
                verdict: Verdict::Redirect("fd01::2".parse().unwrap(), Some(80)),
            }
            .when(Match::Destination(subnet("fd00::1"))),
        ),
        (
            "from",
            Rule::always(Verdict::Masquerade)
                .when(Match::Source(subnet("10.1.0.2")))
                .when(Match::NotDestination(subnet("10.1.0.0/20")))
                .when(Match::NotOutBy("veth1".into())),
        ),
        (
            "from",
            Rule::always(Verdict::Masquerade)
                .when(Match::Destination(subnet("fd01::/64")))
                .when(Match::Redirected),
        ),
        (
            "pass",
            Rule::always(Verdict::Accept)
                .when(Match::State(ConnectionState::ESTABLISHED.or(ConnectionState::RELATED))),
        ),
        ("pass", Rule::always(Verdict::Reject(Refusal::Reset)).when(Match::Protocol(Protocol::Tcp))),
        ("pass", Rule::always(Verdict::Accept).when(Match::Icmpv6(135))),
        ("pass", Rule::always(Verdict::Drop).when(Match::FamilyOf("::".parse().unwrap()))),
        ("pass", Rule::always(Verdict::Reject(Refusal::Prohibited))),
    ];

    let listed = alone(|connection| {
        let mut batch = Batch::new();
        batch.add_table(TABLE);
        batch.add_chain(TABLE, &chain("guard", Hook::Prerouting, Priority::Raw));
        batch.add_chain(TABLE, &chain("to", Hook::NatPrerouting, Priority::DestinationNat));
        batch.add_chain(TABLE, &chain("to-own", Hook::NatOutput, Priority::DestinationNat));
        batch.add_chain(TABLE, &chain("from", Hook::NatPostrouting, Priority::SourceNat));
        batch.add_chain(TABLE, &chain("pass", Hook::Forward, Priority::Filter));
        batch.add_mark(TABLE, "mark.veth1");
        for (chain, rule) in &rules {
            batch.add_rule(TABLE, chain, rule, "test");
        }
        connection.commit(batch).unwrap();
        nft(&["list", "table", "inet", "rkt-test"])
    });

    let lines: Vec<String> = listed.lines().map(|line| line.trim().to_owned()).collect();
    let expected = [
        "table inet rkt-test {",
        "chain guard {",
        "type filter hook prerouting priority raw; policy accept;",
        "iifname \"veth1\" ip daddr 127.0.0.0/8 counter packets 0 bytes 0 drop",
        "}",
        "",
        "chain to {",
        "type nat hook prerouting priority dstnat; policy accept;",
        "tcp dport 8080 fib daddr type local dnat ip to 10.1.0.2:80",
        "ip daddr 192.0.2.1 udp dport 5000-5010 dnat ip to 10.1.0.2",
        "tcp dport 443 ip6 daddr fd00::1 dnat ip6 to [fd01::2]:80",
        "}",
        "",
        "chain to-own {",
        "type nat hook output priority -100; policy accept;",
        "}",
        "",
        "chain from {",
        "type nat hook postrouting priority srcnat; policy accept;",
        "ip saddr 10.1.0.2 ip daddr != 10.1.0.0/20 oifname != \"veth1\" masquerade",
        "ip6 daddr fd01::/64 ct status dnat masquerade",
        "}",
        "",
        "chain pass {",
        "type filter hook forward priority filter; policy accept;",
        "ct state established,related accept",
        "meta l4proto tcp counter packets 0 bytes 0 reject with tcp reset",
        "icmpv6 type nd-neighbor-solicit accept",
        "meta nfproto ipv6 counter packets 0 bytes 0 drop",
        "counter packets 0 bytes 0 reject with icmpx admin-prohibited",
        "}",
        "",
        "chain mark.veth1 {",
        "}",
        "}",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_device_whose_frames_are_dropped_is_named_by_its_chain() {
    let table = Table { family: Family::Netdev, name: "rkt-test" };
    let listed = alone(|connection| {
        let mut batch = Batch::new();
        batch.add_table(table);
        let hook = Hook::Ingress { device: "lo" };
        batch.add_chain(table, &Chain { name: "in", hook, priority: Priority::Filter, policy: Policy::Drop });
        connection.commit(batch).unwrap();
        nft(&["list", "table", "netdev", "rkt-test"])
    });

    assert!(
        listed.contains("type filter hook ingress device \"lo\" priority filter; policy drop;"),
        "{listed}"
    );
}

#[test]
fn frames_that_come_to_a_bridge_are_told_apart_by_what_they_carry() {
    let table = Table { family: Family::Bridge, name: "rkt-test" };
    let rules = [
        Rule::always(Verdict::Accept).when(Match::From("veth1".into())).when(Match::Arp),
        Rule::always(Verdict::Accept).when(Match::Icmpv6(143)),
        Rule::always(Verdict::Accept).when(Match::Destination(subnet("10.1.0.0/20"))),
        Rule::always(Verdict::Accept)
            .when(Match::Destination(subnet("fd00::1")))
            .when(Match::Protocol(Protocol::Udp))
            .when(Match::DestinationPort(53.into())),
        Rule::always(Verdict::Drop).when(Match::FamilyOf("::".parse().unwrap())),
    ];
    let listed = alone(|connection| {
        let mut batch = Batch::new();
        batch.add_table(table);
        batch.add_chain(table, &chain("in", Hook::Prerouting, Priority::Bridged));
        for rule in &rules {
            batch.add_rule(table, "in", rule, "test");
        }
        connection.commit(batch).unwrap();
        nft(&["list", "table", "bridge", "rkt-test"])
    });

    let lines: Vec<&str> = listed.lines().map(str::trim).collect();
    let expected = [
        "table bridge rkt-test {",
        "chain in {",
        "type filter hook prerouting priority -150; policy accept;",
        "iifname \"veth1\" meta protocol arp accept",
        "icmpv6 type mld2-listener-report accept",
        "ip daddr 10.1.0.0/20 accept",
        "ip6 daddr fd00::1 udp dport 53 accept",
        "meta protocol ip6 counter packets 0 bytes 0 drop",
        "}",
        "}",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_refused_rule_is_named_and_nothing_of_its_transaction_stays() {
    alone(|connection| {
        let mut batch = Batch::new();
        batch.add_table(TABLE);
        batch.add_chain(TABLE, &chain("pass", Hook::Forward, Priority::Filter));
        batch.add_rule(TABLE, "nowhere", &Rule::always(Verdict::Drop), "drop everything");

        let error = connection.commit(batch).unwrap_err();

        let text = error.to_string();
        assert!(
            text.starts_with("nft refused to drop everything (chain nowhere of the table inet rkt-test)"),
            "{text}"
        );
        assert_eq!(nft(&["list", "ruleset"]), "");
    });
}

#[test]
fn a_table_is_made_once_and_removed_as_often_as_one_likes() {
    alone(|connection| {
        let add = || {
            let mut batch = Batch::new();
            batch.add_table(TABLE);
            batch.add_chain(TABLE, &chain("pass", Hook::Forward, Priority::Filter));
            batch
        };
        let remove = || {
            let mut batch = Batch::new();
            batch.remove_table(TABLE);
            batch
        };
        connection.commit(add()).unwrap();
        assert_eq!(connection.chains(Family::Inet).unwrap(), [("rkt-test".to_owned(), "pass".to_owned())]);
        assert!(connection.commit(add()).unwrap_err().to_string().contains("there already"));
        nft(&["add", "table", "inet", "other"]);

        for _ in 0..2 {
            connection.commit(remove()).unwrap();
            assert_eq!(nft(&["list", "ruleset"]), "table inet other {\n}\n");
        }
        assert!(connection.chains(Family::Inet).unwrap().is_empty());
    });
}

#[test]
fn a_transaction_that_no_socket_takes_is_refused_before_it_is_sent() {
    alone(|connection| {
        let mut batch = Batch::new();
        batch.add_table(TABLE);
        batch.add_chain(TABLE, &chain("pass", Hook::Forward, Priority::Filter));
        for _ in 0..3000 {
            batch.add_rule(TABLE, "pass", &Rule::always(Verdict::Drop), "drop");
        }

        let error = connection.commit(batch).unwrap_err();

        assert!(error.to_string().starts_with("3002 rules"), "{error}");
    });
}
