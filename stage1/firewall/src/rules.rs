//! The rules of a pod.
//!
//! Responsible for: which rules there are, in which order; one pure function from the pod to a transaction. Must not know: how a
//! transaction is carried out. Follows docs/networking.md, "Rules".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nftables::{
    Batch, Chain, ConnectionState, Family, Hook, Match, Policy, Priority, Protocol, Refusal, Rule, Subnet,
    Table, Verdict,
};

use crate::egress::Destination;
use crate::pod::{Forward, Link, Pod, PodAddress, Reach};
use crate::route_localnet;

/// ICMPv6 messages by which neighbours find each other (RFC 4861): without them there is no host to send to.
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// ICMPv6 messages by which bridges that look know who wants them (RFC 2710, RFC 3810): without them they would not pass on questions for the
/// pod's hardware address.
const LISTENER_MESSAGES: [u8; 3] = [131, 132, 143];

/// Whether the host's own loopback can reach the pod by the kernel alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// The kernel forwards from 127.0.0.0/8.
    Kernel,
    /// The kernel forwards, and the setting it needs is to be undone with the table.
    KernelMarked,
    /// Only the forwarder does.
    Forwarder,
}

/// Name of a pod's table.
pub fn table_name(uuid: &str) -> String {
    format!("rkt-{uuid}")
}

/// Whether the pod needs any rules.
pub fn are_needed(pod: &Pod) -> bool {
    !pod.links.is_empty()
}

/// What makes the pod's table.
pub fn make(pod: &Pod, loopback: Loopback) -> Batch {
    let name = table_name(&pod.uuid);
    let table = Table { family: Family::Inet, name: &name };
    let mut rules = Rules { batch: Batch::new(), table };
    rules.batch.add_table(table);
    rules.guard_loopback(pod);
    rules.restrict(pod);
    if let Some(allowed) = &pod.egress {
        rules.limit_egress(pod, allowed);
        rules.limit_egress_on_bridges(pod, allowed);
    }
    rules.forward(pod, loopback);
    rules.masquerade(pod);
    if loopback == Loopback::KernelMarked
        && let Some(interface) = pod.forward_link().and_then(|link| link.interface.as_ref())
    {
        rules.batch.add_mark(table, &route_localnet::mark(interface));
    }
    rules.batch
}

struct Rules<'a> {
    batch: Batch,
    table: Table<'a>,
}

impl Rules<'_> {
    fn chain(&mut self, name: &str, hook: Hook<'_>, priority: Priority) {
        self.batch.add_chain(self.table, &Chain { name, hook, priority, policy: Policy::Accept });
    }

    fn add(&mut self, chain: &str, rule: &Rule, purpose: &str) {
        self.batch.add_rule(self.table, chain, rule, purpose);
    }

    /// Nothing from the pods' side reaches programs that listen on the host's loopback, whatever `route_localnet` says.
    fn guard_loopback(&mut self, pod: &Pod) {
        self.chain("loopback", Hook::Prerouting, Priority::Raw);
        for interface in pod.links.iter().filter_map(|link| link.interface.as_ref()) {
            for side in [Match::Destination, Match::Source] {
                let rule = from(interface, Verdict::Drop).when(side(loopback()));
                self.add("loopback", &rule, "keep the pod off the host's loopback");
            }
        }
    }

    fn restrict(&mut self, pod: &Pod) {
        let restricted = pod.links.iter().filter(|link| link.reach == Reach::Host);
        let interfaces: Vec<_> = restricted.filter_map(|link| link.interface.as_ref()).collect();
        if interfaces.is_empty() {
            return;
        }
        self.chain("restricted", Hook::Forward, Priority::Filter);
        for interface in interfaces {
            self.add("restricted", &from(interface, Verdict::Accept).when(answers()), "let the pod answer");
            self.add("restricted", &from(interface, Verdict::Drop), "restrict the pod to the host");
        }
    }

    /// On what the host's routing sees.
    fn limit_egress(&mut self, pod: &Pod, allowed: &[Destination]) {
        let links = pod.links.iter().filter(|link| link.own);
        let interfaces: Vec<_> = links.filter_map(|link| link.interface.as_ref()).collect();
        if interfaces.is_empty() {
            return;
        }
        for (chain, hook) in [("egress", Hook::Forward), ("egress-host", Hook::Input)] {
            self.chain(chain, hook, Priority::Filter);
            for interface in &interfaces {
                let link_messages: &[u8] = match hook {
                    Hook::Input => &[NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT],
                    _ => &[],
                };
                self.allow_only(chain, interface, link_messages, allowed);
            }
        }
    }

    /// On what a bridge sees before it decides whether a frame is another port's or the host's. Both tables come and go in one transaction.
    fn limit_egress_on_bridges(&mut self, pod: &Pod, allowed: &[Destination]) {
        let ports: Vec<_> = pod.links.iter().filter_map(|link| link.port.as_ref()).collect();
        if ports.is_empty() {
            return;
        }
        let mut bridged =
            Rules { batch: Batch::new(), table: Table { family: Family::Bridge, ..self.table } };
        bridged.batch.add_table(bridged.table);
        bridged.chain("egress", Hook::Prerouting, Priority::Bridged);
        for port in ports {
            let rule = from(port, Verdict::Accept).when(Match::Arp);
            bridged.add("egress", &rule, "let neighbours find each other");
            let mut link_messages = vec![NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT];
            link_messages.extend(LISTENER_MESSAGES);
            bridged.allow_only("egress", port, &link_messages, allowed);
        }
        self.batch.append(bridged.batch);
    }

    fn allow_only(&mut self, chain: &str, interface: &str, link_messages: &[u8], allowed: &[Destination]) {
        self.add(chain, &from(interface, Verdict::Accept).when(answers()), "let the pod answer");
        for kind in link_messages {
            let rule = from(interface, Verdict::Accept).when(Match::Icmpv6(*kind));
            self.add(chain, &rule, "let neighbours find each other");
        }
        for destination in allowed {
            for rule in allow(interface, destination) {
                self.add(chain, &rule, &format!("let the pod call {destination}"));
            }
        }
        let reset = from(interface, Verdict::Reject(Refusal::Reset)).when(Match::Protocol(Protocol::Tcp));
        self.add(chain, &reset, "refuse the pod's other calls");
        let refusal = from(interface, Verdict::Reject(Refusal::Prohibited));
        self.add(chain, &refusal, "refuse the pod's other calls");
    }

    fn forward(&mut self, pod: &Pod, loopback: Loopback) {
        if pod.forwards.is_empty() {
            return;
        }
        self.chain("ports", Hook::NatPrerouting, Priority::DestinationNat);
        self.chain("ports-host", Hook::NatOutput, Priority::DestinationNat);
        let addresses = pod.forward_addresses();
        for forward in &pod.forwards {
            for pod_address in &addresses {
                let Some(places) = places(forward, pod_address.address, loopback) else { continue };
                for (chain, conditions) in places {
                    let to = Verdict::Redirect(pod_address.address, Some(forward.pod_port));
                    let matches = [
                        conditions,
                        vec![
                            Match::Protocol(forward.protocol),
                            Match::DestinationPort(forward.host_port.into()),
                        ],
                    ];
                    let rule = Rule { matches: matches.concat(), verdict: to };
                    self.add(chain, &rule, &format!("forward port {}", forward.host_port));
                }
            }
        }
    }

    fn masquerade(&mut self, pod: &Pod) {
        let outwards = pod.links.iter().any(|link| link.masquerade);
        if !outwards && pod.forwards.is_empty() {
            return;
        }
        self.chain("sources", Hook::NatPostrouting, Priority::SourceNat);
        for PodAddress { address, subnet } in pod.forward_addresses() {
            let to_pod = Rule::always(Verdict::Masquerade)
                .when(Match::Destination(address.into()))
                .when(Match::Redirected);
            if address.is_ipv4() {
                let rule = to_pod.clone().when(Match::Source(loopback()));
                self.add("sources", &rule, "let the pod answer the host's loopback");
            }
            // The neighbour's answer would not pass through the host, which alone knows whom it was asked for.
            let rule = to_pod.when(Match::Source(subnet));
            self.add("sources", &rule, "let the pod answer its neighbours");
        }
        for link in pod.links.iter().filter(|link| link.masquerade) {
            for address in &link.addresses {
                for rule in outward(link, address) {
                    self.add("sources", &rule, "let the pod call beyond the host");
                }
            }
        }
    }
}

fn from(interface: &str, verdict: Verdict) -> Rule {
    Rule::always(verdict).when(Match::From(interface.to_owned()))
}

fn answers() -> Match {
    Match::State(ConnectionState::ESTABLISHED.or(ConnectionState::RELATED))
}

fn allow(interface: &str, destination: &Destination) -> Vec<Rule> {
    let rule = from(interface, Verdict::Accept).when(Match::Destination(destination.subnet));
    let protocols = match (destination.protocol, destination.ports) {
        (Some(protocol), _) => vec![protocol],
        (None, Some(_)) => vec![Protocol::Tcp, Protocol::Udp],
        (None, None) => return vec![rule],
    };
    let with = |protocol| {
        let rule = rule.clone().when(Match::Protocol(protocol));
        match destination.ports {
            Some(ports) => rule.when(Match::DestinationPort(ports)),
            None => rule,
        }
    };
    protocols.into_iter().map(with).collect()
}

/// Where a port is forwarded to this address: chains, and what the packet's destination has to be there.
fn places(forward: &Forward, to: IpAddr, how: Loopback) -> Option<Vec<(&'static str, Vec<Match>)>> {
    let (incoming, own) = ("ports", "ports-host");
    let by_kernel = how != Loopback::Forwarder;
    match forward.host {
        Some(host) if host.is_ipv4() != to.is_ipv4() => None,
        Some(host) if !host.is_unspecified() => {
            let exactly = || vec![Match::Destination(host.into())];
            match (host.is_loopback(), by_kernel && host.is_ipv4()) {
                (true, true) => Some(vec![(own, exactly())]),
                (true, false) => None,
                (false, _) => Some(vec![(incoming, exactly()), (own, exactly())]),
            }
        }
        None | Some(_) => {
            let here = vec![Match::FamilyOf(to), Match::DestinationIsHere];
            let mut own_here = here.clone();
            if to.is_ipv6() {
                own_here.push(Match::NotDestination(IpAddr::V6(Ipv6Addr::LOCALHOST).into()));
            } else if !by_kernel {
                own_here.push(Match::NotDestination(loopback()));
            }
            Some(vec![(incoming, here), (own, own_here)])
        }
    }
}

fn outward(link: &Link, pod: &PodAddress) -> Vec<Rule> {
    let rule = Rule::always(Verdict::Masquerade)
        .when(Match::Source(pod.address.into()))
        .when(Match::NotDestination(pod.subnet))
        .when(Match::NotDestination(multicast(pod.address)));
    vec![match &link.interface {
        Some(interface) => rule.when(Match::NotOutBy(interface.clone())),
        None => rule,
    }]
}

/// Nobody answers a group, so nobody needs to know whom to answer.
fn multicast(family: IpAddr) -> Subnet {
    let (address, length) = match family {
        IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
        IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
    };
    Subnet::new(address, length).unwrap_or(address.into())
}

fn loopback() -> Subnet {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Subnet::new(address, 8).unwrap_or(address.into())
}
