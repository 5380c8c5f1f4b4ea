use super::proxy::Proxies;

fn is_direct(none: &str, url: &str) -> bool {
    Proxies::new(None, Some("http://proxy".to_owned()), none).is_direct(&url.parse().unwrap())
}

#[test]
fn own_host_is_never_behind_a_proxy() {
    for url in ["https://localhost:8443/", "https://127.0.0.2/", "https://[::1]/"] {
        assert!(is_direct("", url), "{url}");
    }
    assert!(!is_direct("", "https://a.com/"));
}

#[test]
fn entries_of_no_proxy_cover_what_they_cover_in_go() {
    for (none, url, wanted) in [
        ("*", "https://a.com/", true),
        ("a.com", "https://a.com/", true),
        ("a.com", "https://b.a.com/", true),
        ("a.com", "https://ba.com/", false),
        (".a.com", "https://b.a.com/", true),
        (".a.com", "https://a.com/", false),
        ("*.a.com", "https://b.a.com/", true),
        ("b.com, A.com", "https://a.com/", true),
        ("a.com:8443", "https://a.com:8443/", true),
        ("a.com:8443", "https://a.com/", false),
        ("10.0.0.1", "https://10.0.0.1/", true),
        ("10.0.0.1", "https://10.0.0.11/", false),
        ("10.0.0.1:8443", "https://10.0.0.1:8443/", true),
        ("10.0.0.0/8", "https://10.200.3.4/", true),
        ("10.0.0.0/8", "https://11.0.0.1/", false),
        ("0.0.0.0/0", "https://11.0.0.1/", true),
        ("10.0.0.0/99", "https://10.0.0.1/", false),
        ("fd00::/8", "https://[fd12::1]/", true),
        ("[fd12::1]", "https://[fd12::1]/", true),
        ("fd00::/8", "https://10.0.0.1/", false),
        ("", "https://a.com/", false),
        (",,/,:", "https://a.com/", false),
    ] {
        assert_eq!(is_direct(none, url), wanted, "NO_PROXY={none} {url}");
    }
}
