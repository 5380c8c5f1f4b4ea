use super::*;

const MAC: [u8; 6] = [0x02, 0x65, 0x02, 0xaa, 0xbb, 0xcc];
const OTHER_MAC: [u8; 6] = [0x02, 0x65, 0x02, 0xaa, 0xbb, 0xcd];

/// Runs the program over a frame, as the kernel does.
fn passes(program: &[Instruction], frame: &[u8], tagged: bool) -> bool {
    let load = |at: u32, size: usize| {
        if at == VLAN_TAG_PRESENT {
            return Some(u32::from(tagged));
        }
        let bytes = frame.get(at as usize..at as usize + size)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let Instruction { code, yes, no, operand } = program[at];
        at += 1;
        let loaded = match code {
            LOAD_WORD => load(operand, 4),
            LOAD_HALF => load(operand, 2),
            LOAD_BYTE => load(operand, 1),
            JUMP_EQUAL => {
                at += usize::from(if value == operand { yes } else { no });
                continue;
            }
            JUMP => {
                at += operand as usize;
                continue;
            }
            RETURN => return operand != 0,
            other => panic!("instruction {other:#x}"),
        };
        match loaded {
            Some(loaded) => value = loaded,
            None => return false,
        }
    }
}

fn addresses() -> Vec<IpAddr> {
    ["172.16.28.5", "172.16.28.6", "fd00::5"].map(|text| text.parse().unwrap()).to_vec()
}

fn allowed(frame: &[u8]) -> bool {
    passes(&filter(MAC, &addresses()).unwrap(), frame, false)
}

fn ethernet(source: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &source, &kind.to_be_bytes(), payload].concat()
}

fn ipv4_frame(mac: [u8; 6], source: &str) -> Vec<u8> {
    let mut packet = vec![0x45; 12];
    packet.extend(source.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend([10, 0, 0, 1]);
    ethernet(mac, 0x0800, &packet)
}

fn arp_frame(mac: [u8; 6], sender_mac: [u8; 6], sender: &str) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2];
    packet.extend(sender_mac);
    packet.extend(sender.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend([0; 10]);
    ethernet(mac, 0x0806, &packet)
}

fn ipv6_frame(source: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 255];
    packet.extend(source.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    ethernet(MAC, 0x86dd, &packet)
}

fn neighbour(kind: u8, target: &str) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.parse::<Ipv6Addr>().unwrap().octets()].concat()
}

#[test]
fn a_guest_sends_from_each_of_its_own_addresses() {
    assert!(allowed(&ipv4_frame(MAC, "172.16.28.5")));
    assert!(allowed(&ipv4_frame(MAC, "172.16.28.6")));
    assert!(allowed(&arp_frame(MAC, MAC, "172.16.28.6")));
    assert!(allowed(&ipv6_frame("fd00::5", 6, &[0; 20])));
    assert!(allowed(&ipv6_frame("fe80::65:2ff:feaa:bbcc", 17, &[0; 8])));
    assert!(allowed(&ipv6_frame("fd00::5", 58, &neighbour(135, "fd00::99"))));
    assert!(allowed(&ipv6_frame("fd00::5", 58, &neighbour(136, "fd00::5"))));
    assert!(allowed(&ipv6_frame("fd00::5", 44, &[58; 16])));
}

#[test]
fn a_guest_finds_out_whether_its_ipv6_address_is_free_and_joins_groups() {
    assert!(allowed(&ipv6_frame("::", 58, &neighbour(135, "fd00::5"))));
    assert!(allowed(&ipv6_frame("::", 58, &neighbour(135, "fe80::65:2ff:feaa:bbcc"))));
    assert!(allowed(&ipv6_frame("::", 0, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0])));
    assert!(allowed(&ipv6_frame("fe80::65:2ff:feaa:bbcc", 0, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0])));
}

#[test]
fn nobody_elses_address_passes() {
    for frame in [
        ipv4_frame(OTHER_MAC, "172.16.28.5"),
        ipv4_frame(MAC, "172.16.28.7"),
        ipv4_frame(MAC, "127.0.0.1"),
        ipv4_frame(MAC, "0.0.0.0"),
        arp_frame(MAC, OTHER_MAC, "172.16.28.5"),
        arp_frame(OTHER_MAC, MAC, "172.16.28.5"),
        arp_frame(MAC, MAC, "172.16.28.1"),
        ipv6_frame("fd00::6", 6, &[0; 20]),
        ipv6_frame("fe80::1", 6, &[0; 20]),
        ipv6_frame("::1", 6, &[0; 20]),
        ipv6_frame("::", 6, &[0; 20]),
        ipv6_frame("fd00::5", 58, &neighbour(136, "fd00::6")),
        ipv6_frame("::", 58, &neighbour(135, "fd00::6")),
        ipv6_frame("::", 58, &neighbour(136, "fd00::5")),
    ] {
        assert!(!allowed(&frame), "{frame:x?}");
    }
}

#[test]
fn a_guest_plays_neither_router_nor_switch() {
    let own = "fe80::65:2ff:feaa:bbcc";
    for frame in [
        ipv6_frame(own, 58, &neighbour(134, "::")),
        ipv6_frame(own, 58, &neighbour(137, "fd00::5")),
        ipv6_frame(own, 60, &[58, 0, 1, 4, 0, 0, 0, 0, 134, 0]),
        ipv6_frame(own, 43, &[58, 0, 0, 0, 0, 0, 0, 0, 134, 0]),
        ipv6_frame(own, 0, &[58, 0, 5, 2, 0, 0, 1, 0, 134, 0]),
        ipv6_frame(own, 0, &[60, 0, 5, 2, 0, 0, 1, 0, 143, 0]),
        ipv6_frame(own, 0, &[58, 1, 5, 2, 0, 0, 1, 0, 143, 0]),
        ethernet(MAC, 0x8100, &[0; 40]),
        ethernet(MAC, 0x88cc, &[0; 40]),
        ethernet(MAC, 38, &[0x42, 0x42, 3, 0, 0]),
        ethernet(MAC, 0x8035, &[0; 40]),
    ] {
        assert!(!allowed(&frame), "{frame:x?}");
    }
    let program = filter(MAC, &addresses()).unwrap();
    assert!(!passes(&program, &ipv4_frame(MAC, "172.16.28.5"), true));
}

#[test]
fn a_frame_that_is_cut_off_does_not_pass() {
    let frames = [
        ipv4_frame(MAC, "172.16.28.5"),
        arp_frame(MAC, MAC, "172.16.28.5"),
        ipv6_frame("::", 58, &neighbour(135, "fd00::5")),
    ];
    for (frame, needed) in frames.iter().zip([30, 32, 78]) {
        for length in 0..needed {
            assert!(!allowed(&frame[..length]), "{length} of {frame:x?}");
        }
        assert!(allowed(&frame[..needed]));
    }
}

#[test]
fn a_program_is_one_that_the_kernel_takes_whatever_the_addresses() {
    let many: Vec<IpAddr> = (0..MAX_ADDRESSES).map(|n| format!("fd00::{n}").parse().unwrap()).collect();
    for addresses in [Vec::new(), addresses(), many.clone()] {
        let program = filter(MAC, &addresses).unwrap();

        assert!(program.len() <= 4096);
        assert_eq!(program.last().map(|last| last.code), Some(RETURN));
        for (at, instruction) in program.iter().enumerate() {
            let furthest = match instruction.code {
                JUMP => instruction.operand as usize,
                JUMP_EQUAL => usize::from(instruction.yes.max(instruction.no)),
                _ => continue,
            };
            assert!(at + 1 + furthest < program.len());
        }
    }
    let too_many = [many, addresses()].concat();
    assert_eq!(filter(MAC, &too_many), Err(TooManyAddresses(MAX_ADDRESSES + 3)));
}
