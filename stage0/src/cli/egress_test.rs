use super::*;

#[test]
fn destinations_are_addresses_or_names_with_or_without_protocol_and_ports() {
    let written = |text: &str| match text.parse::<Egress>().unwrap() {
        Egress::Deny => "deny".to_owned(),
        Egress::Allow(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };

    assert_eq!(written("deny"), "deny");
    assert_eq!(written("allow:10.1.2.3/8:443"), "10.0.0.0/8:443");
    assert_eq!(
        written("allow:tcp:[fd00::1]:80-90,udp:10.0.0.1:53,[fd12::3]/8"),
        "tcp:[fd00::1]/128:80-90,udp:10.0.0.1/32:53,[fd00::]/8"
    );
    assert_eq!(
        written("allow:tcp:crates.io:443,localhost,_a.b-c.d3"),
        "tcp:crates.io:443,localhost,_a.b-c.d3"
    );
}

#[test]
fn what_is_none_is_refused_and_named() {
    for (text, named) in [
        ("", "\"\" is neither"),
        ("allow", "\"allow\" is neither"),
        ("deny,allow:10.0.0.1", "is neither"),
        ("allow:", "\"\" is not in"),
        ("allow:10.0.0.1,", "\"\" is not in"),
        ("allow:10.0.0.1,10.0.0.1/33", "\"10.0.0.1/33\" is not in"),
        ("allow:10.0.0", "\"10.0.0\" is not in"),
        ("allow:10.0.0.256:80", "is not in"),
        ("allow:crates.io/8", "is not in"),
        ("allow:crates..io", "is not in"),
        ("allow:crates.io:http", "is not in"),
        ("allow:crates.io:0", "is not in"),
        ("allow:crates.io:90-80", "is not in"),
        ("allow:fd00::1", "is not in"),
        ("allow:[fd00::1", "is not in"),
        ("allow:[10.0.0.1]", "is not in"),
        ("allow:sctp:crates.io", "is not in"),
        ("allow:a b", "is not in"),
    ] {
        let error = text.parse::<Egress>().unwrap_err();

        assert!(error.contains(named), "{text}: {error}");
    }
}
