use super::*;

#[test]
fn a_destination_is_addresses_with_or_without_protocol_and_ports() {
    for (text, written) in [
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.0/8:443", "10.0.0.0/8:443"),
        ("tcp:10.0.0.1:8000-8010", "tcp:10.0.0.1/32:8000-8010"),
        ("udp:[fd00::1]:53", "udp:[fd00::1]/128:53"),
        ("[fd00::]/8:443", "[fd00::]/8:443"),
        ("tcp:[fd00::]/8", "tcp:[fd00::]/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ] {
        let destination: Destination = text.parse().unwrap();

        assert_eq!(destination.to_string(), written);
        assert_eq!(written.parse(), Ok(destination));
    }
}

#[test]
fn what_is_no_destination_is_refused() {
    for text in [
        "",
        "tcp",
        "tcp:",
        "example.com:443",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:70000",
        "10.0.0.1:9-8",
        "10.0.0.1:80-",
        "10.0.0.1/33",
        "10.0.0.1/",
        "fd00::1",
        "[fd00::1",
        "[10.0.0.1]:80",
        "[fd00::1]x",
        "sctp:10.0.0.1",
        "10.0.0.1:80:90",
    ] {
        assert_eq!(text.parse::<Destination>(), Err(DestinationError(text.to_owned())));
    }
}
