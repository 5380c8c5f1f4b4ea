use super::*;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

#[test]
fn a_subnet_has_its_addresses_and_no_others() {
    assert!(subnet("10.1.0.0/16").contains("10.1.255.3".parse().unwrap()));
    assert!(!subnet("10.1.0.0/16").contains("10.2.0.0".parse().unwrap()));
    assert!(subnet("0.0.0.0/0").contains("255.1.2.3".parse().unwrap()));
    assert!(!subnet("0.0.0.0/0").contains("::1".parse().unwrap()));
    assert!(subnet("fd00::/8").contains("fdff::9".parse().unwrap()));
    assert!(subnet("::/0").contains("fe80::1".parse().unwrap()));
    assert!(!subnet("10.0.0.1").contains("10.0.0.2".parse().unwrap()));
}

#[test]
fn a_subnet_is_written_by_its_first_address() {
    assert_eq!(subnet("10.1.2.3/16").to_string(), "10.1.0.0/16");
    assert_eq!(subnet("10.1.2.3/32").to_string(), "10.1.2.3");
    assert_eq!(subnet("fd00::5").to_string(), "fd00::5");
}

#[test]
fn what_is_no_subnet_is_refused() {
    for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "x/8"] {
        let error = text.parse::<Subnet>().unwrap_err();

        assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
    }
}
