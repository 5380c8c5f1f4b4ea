use super::features::Features;
use super::header::{CHECKED_BYTES, HEADER_BYTES, Header, HeaderError};

const FRAME_BYTES: usize = 1000;
const ALL: Features = Features(1 | 1 << 11 | 1 << 12 | 1 << 56);
const TCP: u8 = 6;
const UDP: u8 = 17;
const NO_SEGMENTS: u8 = 0;
const TCP4_SEGMENTS: u8 = 1;
const TCP6_SEGMENTS: u8 = 4;
const UDP_SEGMENTS: u8 = 5;

/// The start of a frame of IPv4 whose header has so many bytes.
fn ipv4(header_bytes: u8, protocol: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0, 0x40 | (header_bytes / 4), 0, 0, 0, 0, 0, 0, 0, 64, protocol]);
    frame
}

fn ipv6(protocol: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64, 0xfd, 0]);
    frame
}

/// What comes of a frame that begins like this and asks for a checksum.
fn check(frame: &[u8], segments: u8, start: u16, offset: u16) -> Result<Header, HeaderError> {
    let mut bytes = vec![1, segments];
    for field in [54, if segments == NO_SEGMENTS { 0 } else { 100 }, start, offset, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(frame);
    Header::check(&bytes, FRAME_BYTES, ALL)
}

#[test]
fn checksums_of_tcp_and_udp_are_completed_behind_headers_of_any_length() {
    for (frame, segments, start, offset) in [
        (ipv4(20, TCP), NO_SEGMENTS, 34, 16),
        (ipv4(60, TCP), NO_SEGMENTS, 74, 16),
        (ipv4(20, UDP), NO_SEGMENTS, 34, 6),
        (ipv6(TCP), NO_SEGMENTS, 54, 16),
        (ipv6(UDP), NO_SEGMENTS, 54, 6),
        (ipv4(24, TCP), TCP4_SEGMENTS, 38, 16),
        (ipv6(TCP), TCP6_SEGMENTS, 54, 16),
        (ipv4(20, UDP), UDP_SEGMENTS, 34, 6),
        (ipv6(UDP), UDP_SEGMENTS, 54, 6),
    ] {
        let header = check(&frame, segments, start, offset);

        assert!(header.is_ok(), "{frame:?} {segments} {start} {offset}: {header:?}");
    }
}

#[test]
fn checksums_of_what_is_in_a_tunnel_are_completed() {
    // VXLAN, IPv4 in IPv4, IPv6 in IPv6, GRE.
    for (frame, start) in
        [(ipv4(20, UDP), 84), (ipv4(20, 4), 54), (ipv6(41), 94), (ipv4(20, 47), 58), (ipv6(47), 78)]
    {
        let header = check(&frame, NO_SEGMENTS, start, 16);

        assert!(header.is_ok(), "{frame:?} {start}: {header:?}");
    }
}

#[test]
fn nothing_is_written_over_addresses_types_or_ports() {
    let vlan = [&[2; 12], &[0x81, 0, 0, 7, 8, 0, 0x45, 0, 0, 0, 0, 0][..]].concat();
    let arp = [&[2; 12], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 2][..]].concat();
    let other_version = [&ipv4(20, TCP)[..14], &[0x65; 10]].concat();
    for (frame, segments, start, offset) in [
        // The sender's addresses, the time to live, the protocol.
        (ipv4(20, TCP), NO_SEGMENTS, 0, 6),
        (ipv4(20, TCP), NO_SEGMENTS, 14, 12),
        (ipv4(20, TCP), NO_SEGMENTS, 20, 6),
        (ipv4(20, UDP), NO_SEGMENTS, 22, 0),
        (ipv6(TCP), NO_SEGMENTS, 20, 16),
        (ipv6(UDP), NO_SEGMENTS, 38, 0),
        // Options, the last address among them that a packet has been to.
        (ipv4(60, UDP), NO_SEGMENTS, 34, 6),
        (ipv4(60, UDP), NO_SEGMENTS, 62, 6),
        // Ports, and numbers.
        (ipv4(20, TCP), NO_SEGMENTS, 34, 2),
        (ipv4(20, UDP), NO_SEGMENTS, 34, 0),
        (ipv4(20, TCP), NO_SEGMENTS, 34, 4),
        (ipv4(20, UDP), NO_SEGMENTS, 40, 0),
        (ipv4(20, TCP), NO_SEGMENTS, 84, 16),
        (ipv6(TCP), NO_SEGMENTS, 54, 2),
        // Types of messages, and what says which header is the next one.
        (ipv4(20, 1), NO_SEGMENTS, 34, 0),
        (ipv4(20, 2), NO_SEGMENTS, 34, 0),
        (ipv6(58), NO_SEGMENTS, 54, 0),
        (ipv6(58), NO_SEGMENTS, 54, 8),
        (ipv6(0), NO_SEGMENTS, 54, 0),
        (ipv6(44), NO_SEGMENTS, 54, 0),
        (ipv6(60), NO_SEGMENTS, 62, 16),
        // Headers that are too short, are not there, or are another protocol's.
        (ipv4(16, TCP), NO_SEGMENTS, 30, 16),
        (vlan, NO_SEGMENTS, 38, 16),
        (arp, NO_SEGMENTS, 34, 16),
        (other_version, NO_SEGMENTS, 34, 16),
        (ipv4(20, TCP)[..23].to_vec(), NO_SEGMENTS, 34, 16),
        // Splitting by another protocol than the frame's, or by one in a tunnel.
        (ipv4(20, UDP), TCP4_SEGMENTS, 34, 6),
        (ipv4(20, UDP), TCP4_SEGMENTS, 34, 16),
        (ipv4(20, TCP), TCP6_SEGMENTS, 34, 16),
        (ipv6(TCP), TCP4_SEGMENTS, 54, 16),
        (ipv4(20, TCP), UDP_SEGMENTS, 34, 16),
        (ipv4(20, UDP), UDP_SEGMENTS, 84, 6),
    ] {
        let refused = check(&frame, segments, start, offset).unwrap_err();

        let expected = HeaderError::NoChecksum { start: start.into(), offset: offset.into() };
        assert_eq!(refused, expected, "{frame:?} {segments} {start} {offset}");
    }
}

#[test]
fn start_of_the_frame_is_sent_as_it_was_checked() {
    let frame = ipv4(20, TCP);

    let header = check(&frame, NO_SEGMENTS, 34, 16).unwrap();

    assert_eq!(header.as_bytes().len(), CHECKED_BYTES);
    assert_eq!(header.as_bytes()[HEADER_BYTES..], frame);
}

#[test]
fn short_frames_without_checksum_pass_whole() {
    let bytes = [&[0; HEADER_BYTES][..], &[3; 14]].concat();

    let header = Header::check(&bytes, 14, ALL).unwrap();

    assert_eq!(header.as_bytes(), bytes);
}
