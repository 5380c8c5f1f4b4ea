//! An app for tests: sends frames as somebody else would, `spoof OWN-ADDRESS`. Each frame carries a word that says what is wrong with
//! it, for whoever looks at what gets through; the word of the one that is right is `honest`.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// What the words begin with.
const MARK: &str = "spoof-test:";

/// The pod's first interface.
const INTERFACE: &std::ffi::CStr = c"eth0";

const BROADCAST: [u8; 6] = [0xff; 6];
const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0x66, 0x66, 0x66];
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const IPV6: u16 = 0x86dd;

/// From linux/if_packet.h.
const PACKET_VNET_HDR: libc::c_int = 15;

fn main() -> ExitCode {
    match run() {
        Ok(()) => {
            println!("all sent");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("spoof: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let own = std::env::args().nth(1).and_then(|text| text.parse::<Ipv4Addr>().ok());
    let own = own.ok_or(io::ErrorKind::InvalidInput)?.to_bits();
    let mac = own_mac()?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None)?;
    let other = Ipv4Addr::from_bits(own ^ 0xff);
    let own = Ipv4Addr::from_bits(own);
    let (ipv4, ipv6) = (|source, word| ipv4(source, word), |next, word| ipv6(mac, next, word));
    let frames = [
        frame(OTHER_MAC, IPV4, &ipv4(own, "mac")),
        frame(mac, IPV4, &ipv4(other, "ipv4-source")),
        frame(mac, IPV4, &ipv4(Ipv4Addr::LOCALHOST, "loopback")),
        frame(mac, ARP, &arp(mac, other, "arp-address")),
        frame(mac, ARP, &arp(OTHER_MAC, own, "arp-mac")),
        frame(mac, VLAN, &[&[0, 7, 8, 0][..], &ipv4(own, "vlan")].concat()),
        frame(mac, IPV6, &stranger(&ipv6(17, "ipv6-source"))),
        frame(mac, IPV6, &ipv6(58, "router")),
        frame(mac, 38, b"spoof-test:spanning-tree........................"),
        frame(mac, 0x88b5, b"spoof-test:experiment..........................."),
    ];
    frames.iter().try_for_each(|frame| send(&socket, frame))?;
    // A checksum that the host is to write: over the source, and where it belongs.
    let offload = socket_with_offloads()?;
    for (place, word) in [((20, 6), "checksum-over-source"), ((34, 6), "checksum")] {
        send(&offload, &[&checksum_at(place)[..], &frame(mac, IPV4, &ipv4(own, word))].concat())?;
    }
    send(&socket, &frame(mac, IPV4, &ipv4(own, "honest")))
}

/// A socket whose frames have an offload header in front of them (packet(7), PACKET_VNET_HDR).
fn socket_with_offloads() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None)?;
    let (on, size) = (1_i32, size_of::<i32>() as libc::socklen_t);
    let value = (&raw const on).cast();
    // SAFETY: the value lives through the call, which reads as many bytes of it as it is told there are.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, value, size) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// `struct virtio_net_hdr` that asks for a checksum over all from one byte on, so many bytes behind it.
fn checksum_at((start, offset): (u16, u16)) -> Vec<u8> {
    [1_u16, 0, 0, start, offset].into_iter().flat_map(u16::to_le_bytes).collect()
}

fn own_mac() -> io::Result<[u8; 6]> {
    let text = std::fs::read_to_string("/sys/class/net/eth0/address")?;
    let bytes: Vec<u8> =
        text.trim().split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}

fn frame(source: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&BROADCAST[..], &source, &kind.to_be_bytes(), payload].concat()
}

fn word(word: &str) -> Vec<u8> {
    format!("{MARK}{word};").into_bytes()
}

/// A datagram to an address for documentation. Its checksums are wrong, which nobody looks at who only looks at addresses.
fn ipv4(source: Ipv4Addr, text: &str) -> Vec<u8> {
    let text = word(text);
    let length = u16::try_from(28 + text.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.octets());
    packet.extend([192, 0, 2, 99, 0x30, 0x39, 0x30, 0x39]);
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(text);
    packet
}

fn arp(mac: [u8; 6], sender: Ipv4Addr, text: &str) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2];
    packet.extend(mac);
    packet.extend(sender.octets());
    packet.extend(BROADCAST);
    packet.extend([192, 0, 2, 99]);
    packet.extend(word(text));
    packet
}

/// From the pod's own link-local address; a message of ICMPv6 is a router advertisement.
fn ipv6(mac: [u8; 6], next: u8, text: &str) -> Vec<u8> {
    let text = [&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &word(text)].concat();
    let [a, b, c, d, e, f] = mac;
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(text);
    packet
}

/// The same packet from another address.
fn stranger(packet: &[u8]) -> Vec<u8> {
    packet.iter().enumerate().map(|(at, byte)| if at == 23 { byte ^ 0xff } else { *byte }).collect()
}

fn send(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the name is a constant with a NUL behind it.
    let index = unsafe { libc::if_nametoindex(INTERFACE.as_ptr()) };
    // SAFETY: all zeroes are a valid value of this structure of numbers.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    to.sll_halen = 6;
    to.sll_addr = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
    let size = libc::socklen_t::try_from(size_of_val(&to)).map_err(io::Error::other)?;
    // SAFETY: frame and address live through the call, which reads as many bytes of them as it is told there are.
    let sent = unsafe {
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), size)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
