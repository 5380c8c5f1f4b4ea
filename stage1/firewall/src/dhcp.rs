//! Which frames of a network are the guest's where the network's addresses come from a DHCP server.
//!
//! Responsible for: a program for the kernel that leaves answers of such a server to the pod's name space. Must not know: where the
//! program is attached. Follows RFC 2131, and the filters of `spoofing`.
//!
//! The plugin's daemon renews the lease by the interface in the pod's name space. A frame that is redirected where it arrives never gets
//! to the daemon's socket, so the lease would expire under the pod.

use crate::spoofing::{
    ETHERTYPE, ETHERTYPE_IPV4, Instruction, JUMP_EQUAL, LOAD_BYTE, LOAD_HALF, PASS, REFUSE, RETURN,
};

/// Instructions that no other filter has: a test for bits, the length of an IPv4 header, and a load behind it.
const JUMP_IF_ANY: u16 = 0x45;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const LOAD_HALF_BEHIND: u16 = 0x48;

const IPV4_START: u32 = 14;
const IPV4_FRAGMENT: u32 = IPV4_START + 6;
const IPV4_FRAGMENT_OFFSET: u32 = 0x1fff;
const IPV4_PROTOCOL: u32 = IPV4_START + 9;
const UDP: u32 = 17;
const UDP_DESTINATION: u32 = 2;

/// Where clients are answered.
const CLIENT_PORT: u32 = 68;

/// The program that passes every frame but those to a DHCP client, for which it returns zero.
pub fn all_but_answers() -> Vec<Instruction> {
    let step = |code, operand| Instruction { code, yes: 0, no: 0, operand };
    let unless = |operand, others| Instruction { code: JUMP_EQUAL, yes: 0, no: others, operand };
    vec![
        step(LOAD_HALF, ETHERTYPE),
        unless(ETHERTYPE_IPV4, 8),
        step(LOAD_BYTE, IPV4_PROTOCOL),
        unless(UDP, 6),
        step(LOAD_HALF, IPV4_FRAGMENT),
        Instruction { code: JUMP_IF_ANY, yes: 4, no: 0, operand: IPV4_FRAGMENT_OFFSET },
        step(LOAD_HEADER_LENGTH, IPV4_START),
        step(LOAD_HALF_BEHIND, IPV4_START + UDP_DESTINATION),
        unless(CLIENT_PORT, 1),
        step(RETURN, REFUSE),
        step(RETURN, PASS),
    ]
}
