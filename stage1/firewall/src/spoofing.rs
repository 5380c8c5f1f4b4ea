//! The test of what a guest may send.
//!
//! Responsible for: a program for the kernel that passes a frame if it comes from the pod's own addresses. Must not know: where the
//! program is attached. Follows bpf(4) in the classic form, Documentation/networking/filter.rst of Linux, RFC 826, 4861 and 8200.
//!
//! A guest owns its kernel, so what it may claim to be is decided outside: the MAC address, the IPv4 addresses and the IPv6 addresses
//! that the network gave the pod, in Ethernet, ARP, IP and neighbour discovery. It cannot play router (router advertisements, redirects),
//! switch (VLAN tags, spanning tree) or another pod. What is not understood does not pass.
//!
//! Each test either goes on or ends the program with a refusal beside it, so no jump is longer than one block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An instruction in the kernel's form (linux/filter.h, `struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// Instructions to skip if a test holds.
    pub yes: u8,
    /// Instructions to skip if it does not.
    pub no: u8,
    /// Its operand.
    pub operand: u32,
}

impl Instruction {
    /// As the kernel reads it.
    pub fn to_bytes(&self) -> [u8; 8] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.operand.to_ne_bytes());
        [a, b, self.yes, self.no, c, d, e, f]
    }
}

/// The program that passes every frame.
pub const PASS_EVERYTHING: Instruction = Instruction { code: RETURN, yes: 0, no: 0, operand: PASS };

/// Loads 4, 2 or 1 bytes of the frame.
const LOAD_WORD: u16 = 0x20;
pub(crate) const LOAD_HALF: u16 = 0x28;
pub(crate) const LOAD_BYTE: u16 = 0x30;
pub(crate) const JUMP_EQUAL: u16 = 0x15;
const JUMP: u16 = 0x05;
pub(crate) const RETURN: u16 = 0x06;

/// Loads from here are about the frame: `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`.
const VLAN_TAG_PRESENT: u32 = 0xffff_f000 + 48;

/// The filter matches; any other value than zero would name a traffic class.
pub(crate) const PASS: u32 = u32::MAX;
pub(crate) const REFUSE: u32 = 0;

const SOURCE_MAC: u32 = 6;
pub(crate) const ETHERTYPE: u32 = 12;
pub(crate) const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV6: u32 = 0x86dd;

const ARP_HARDWARE_AND_PROTOCOL: u32 = 14;
const ARP_ETHERNET_IPV4: u32 = 0x0001_0800;
const ARP_LENGTHS: u32 = 18;
const ARP_SIX_AND_FOUR: u32 = 0x0604;
const ARP_SENDER_MAC: u32 = 22;
const ARP_SENDER_ADDRESS: u32 = 28;

const IPV4_SOURCE: u32 = 26;

const IPV6_NEXT_HEADER: u32 = 20;
const IPV6_SOURCE: u32 = 22;
/// First byte behind the fixed header.
const IPV6_PAYLOAD: u32 = 54;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const ICMPV6: u32 = 58;
const DESTINATION_OPTIONS: u32 = 60;
const MULTICAST_LISTENER_REPORT: u32 = 131;
const MULTICAST_LISTENER_DONE: u32 = 132;
const MULTICAST_LISTENER_REPORT_2: u32 = 143;
const ROUTER_ADVERTISEMENT: u32 = 134;
const NEIGHBOUR_SOLICITATION: u32 = 135;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
const REDIRECT: u32 = 137;
/// The address that a neighbour message is about, behind its type, code, checksum and flags.
const NEIGHBOUR_TARGET: u32 = IPV6_PAYLOAD + 8;

/// Most addresses a pod may have on one network; the program grows with their square and may have 4096 instructions. Plugins give one or two.
pub const MAX_ADDRESSES: usize = 8;

/// A pod with more addresses than can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pod has at most {MAX_ADDRESSES} addresses on one network, not {0}")]
pub struct TooManyAddresses(pub usize);

/// The program for a guest with these addresses. It returns zero for frames that must not be forwarded.
pub fn filter(mac: [u8; 6], addresses: &[IpAddr]) -> Result<Vec<Instruction>, TooManyAddresses> {
    if addresses.len() > MAX_ADDRESSES {
        return Err(TooManyAddresses(addresses.len()));
    }
    let v4: Vec<Ipv4Addr> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .collect();
    let mut v6: Vec<Ipv6Addr> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(*address),
        })
        .collect();
    v6.push(link_local(mac));

    let mut program = Program::default();
    program.require(LOAD_BYTE, VLAN_TAG_PRESENT, 0);
    program.require_mac(SOURCE_MAC, mac);
    program.push(LOAD_HALF, ETHERTYPE);
    program.case(ETHERTYPE_ARP, arp(mac, &v4));
    program.case(ETHERTYPE_IPV4, ipv4(&v4));
    program.case(ETHERTYPE_IPV6, ipv6(&v6));
    program.push(RETURN, REFUSE);
    Ok(program.0)
}

/// The address that a Linux guest gives itself (RFC 4291, appendix A).
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn arp(mac: [u8; 6], own: &[Ipv4Addr]) -> Program {
    let mut program = Program::default();
    program.require(LOAD_WORD, ARP_HARDWARE_AND_PROTOCOL, ARP_ETHERNET_IPV4);
    program.require(LOAD_HALF, ARP_LENGTHS, ARP_SIX_AND_FOUR);
    program.require_mac(ARP_SENDER_MAC, mac);
    program.pass_if_one_of_v4(ARP_SENDER_ADDRESS, own);
    program
}

fn ipv4(own: &[Ipv4Addr]) -> Program {
    let mut program = Program::default();
    program.pass_if_one_of_v4(IPV4_SOURCE, own);
    program
}

fn ipv6(own: &[Ipv6Addr]) -> Program {
    let mut program = Program::default();
    for address in own {
        program.case_v6(IPV6_SOURCE, *address, &from_own_ipv6(own));
    }
    // A guest that does not have its address yet asks whether somebody else has it, and joins the groups it needs for that.
    program.case_v6(IPV6_SOURCE, Ipv6Addr::UNSPECIFIED, &from_unspecified(own));
    program.push(RETURN, REFUSE);
    program
}

fn from_own_ipv6(own: &[Ipv6Addr]) -> Program {
    let mut program = Program::default();
    program.push(LOAD_BYTE, IPV6_NEXT_HEADER);
    program.case(HOP_BY_HOP, listener_report());
    // Nobody needs them, and behind them a router advertisement would be out of sight.
    program.case(ROUTING, refuse());
    program.case(DESTINATION_OPTIONS, refuse());
    let mut icmp = Program::default();
    icmp.push(LOAD_BYTE, IPV6_PAYLOAD);
    icmp.case(ROUTER_ADVERTISEMENT, refuse());
    icmp.case(REDIRECT, refuse());
    icmp.case(NEIGHBOUR_ADVERTISEMENT, about(own));
    icmp.push(RETURN, PASS);
    program.case(ICMPV6, icmp);
    program.push(RETURN, PASS);
    program
}

fn from_unspecified(own: &[Ipv6Addr]) -> Program {
    let mut program = Program::default();
    program.push(LOAD_BYTE, IPV6_NEXT_HEADER);
    program.case(HOP_BY_HOP, listener_report());
    let mut icmp = Program::default();
    icmp.push(LOAD_BYTE, IPV6_PAYLOAD);
    icmp.case(NEIGHBOUR_SOLICITATION, about(own));
    icmp.push(RETURN, REFUSE);
    program.case(ICMPV6, icmp);
    program.push(RETURN, REFUSE);
    program
}

/// A multicast listener report, which alone needs an extension header: one of eight bytes, with ICMPv6 behind it.
fn listener_report() -> Program {
    let mut program = Program::default();
    program.require(LOAD_HALF, IPV6_PAYLOAD, ICMPV6 << 8);
    program.push(LOAD_BYTE, IPV6_PAYLOAD + 8);
    for kind in [MULTICAST_LISTENER_REPORT, MULTICAST_LISTENER_DONE, MULTICAST_LISTENER_REPORT_2] {
        program.case(kind, pass());
    }
    program.push(RETURN, REFUSE);
    program
}

/// A neighbour message about one of the addresses.
fn about(own: &[Ipv6Addr]) -> Program {
    let mut program = Program::default();
    for address in own {
        program.case_v6(NEIGHBOUR_TARGET, *address, &pass());
    }
    program.push(RETURN, REFUSE);
    program
}

fn pass() -> Program {
    Program(vec![Instruction { code: RETURN, yes: 0, no: 0, operand: PASS }])
}

fn refuse() -> Program {
    Program(vec![Instruction { code: RETURN, yes: 0, no: 0, operand: REFUSE }])
}

/// Instructions, one behind the other. A load beyond the frame's end ends the program with zero, which refuses.
#[derive(Clone, Debug, Default)]
struct Program(Vec<Instruction>);

impl Program {
    fn push(&mut self, code: u16, operand: u32) {
        self.0.push(Instruction { code, yes: 0, no: 0, operand });
    }

    /// Goes on if what is there is the value.
    fn require(&mut self, load: u16, at: u32, value: u32) {
        self.push(load, at);
        self.0.push(Instruction { code: JUMP_EQUAL, yes: 1, no: 0, operand: value });
        self.push(RETURN, REFUSE);
    }

    fn require_mac(&mut self, at: u32, mac: [u8; 6]) {
        let [a, b, c, d, e, f] = mac;
        self.require(LOAD_WORD, at, u32::from_be_bytes([a, b, c, d]));
        self.require(LOAD_HALF, at + 4, u32::from(u16::from_be_bytes([e, f])));
    }

    /// Runs the block, which must end the program, if what was loaded is the value. The block may be longer than a conditional jump.
    fn case(&mut self, value: u32, block: Program) {
        self.0.push(Instruction { code: JUMP_EQUAL, yes: 1, no: 0, operand: value });
        self.push(JUMP, block.length());
        self.0.extend(block.0);
    }

    /// The same for an address of 16 bytes, which is loaded first.
    fn case_v6(&mut self, at: u32, address: Ipv6Addr, block: &Program) {
        let [a, b, c, d] = words(address);
        let tests = [(at, a), (at + 4, b), (at + 8, c), (at + 12, d)];
        for (index, (at, word)) in tests.into_iter().enumerate() {
            self.push(LOAD_WORD, at);
            self.0.push(Instruction { code: JUMP_EQUAL, yes: 1, no: 0, operand: word });
            // The other words' tests, of three instructions each, and the block.
            let others = u32::try_from((3 - index) * 3).unwrap_or(0);
            self.push(JUMP, others + block.length());
        }
        self.0.extend_from_slice(&block.0);
    }

    fn pass_if_one_of_v4(&mut self, at: u32, own: &[Ipv4Addr]) {
        self.push(LOAD_WORD, at);
        for address in own {
            self.case(address.to_bits(), pass());
        }
        self.push(RETURN, REFUSE);
    }

    fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

fn words(address: Ipv6Addr) -> [u32; 4] {
    let bits = address.to_bits();
    [96, 64, 32, 0].map(|shift| u32::try_from(bits >> shift & u128::from(u32::MAX)).unwrap_or_default())
}

#[cfg(test)]
#[path = "spoofing_test.rs"]
mod spoofing_test;
