use super::*;

fn resolved(flags: &[&str], hosts: &mut Hosts) -> Result<Option<String>, String> {
    let flags: Vec<Egress> = flags.iter().map(|flag| flag.parse().unwrap()).collect();
    resolve(&flags, hosts)
}

#[test]
fn stage1_is_told_when_something_was_said() {
    let mut hosts = Hosts::Default;

    assert_eq!(resolved(&[], &mut hosts), Ok(None));
    assert_eq!(resolved(&["deny"], &mut hosts), Ok(Some("deny".to_owned())));
    assert_eq!(
        resolved(&["allow:10.0.0.0/8:443", "deny", "allow:udp:[fd00::1]:53"], &mut hosts),
        Ok(Some("allow:10.0.0.0/8:443,udp:[fd00::1]/128:53".to_owned()))
    );
    assert_eq!(hosts, Hosts::Default);
}

#[test]
fn a_name_is_looked_up_once_and_written_down_for_the_pod() {
    let mut hosts = Hosts::Default;

    let told = resolved(&["allow:tcp:localhost:80,tcp:localhost:443"], &mut hosts).unwrap().unwrap();

    assert!(told.contains("tcp:127.0.0.1/32:80") && told.contains("tcp:127.0.0.1/32:443"), "{told}");
    let Hosts::Stage0(entries) = hosts else { panic!("{hosts:?}") };
    let named = entries.iter().filter(|entry| entry.address == "127.0.0.1").count();
    assert_eq!(named, 1, "{entries:?}");
}

#[test]
fn a_name_without_an_address_and_one_that_cannot_be_written_down_are_refused() {
    let unknown = resolved(&["allow:no-such-host.invalid"], &mut Hosts::Default).unwrap_err();
    assert!(unknown.starts_with("--egress: cannot look up \"no-such-host.invalid\""), "{unknown}");

    let host = resolved(&["allow:localhost"], &mut Hosts::Host).unwrap_err();
    assert!(host.contains("--hosts-entry=host"), "{host}");
}

#[test]
fn more_than_the_packet_filter_takes_is_refused() {
    let list: Vec<String> = (0..=MAX_DESTINATIONS).map(|n| format!("10.0.{n}.1")).collect();

    let error = resolved(&[&format!("allow:{}", list.join(","))], &mut Hosts::Default).unwrap_err();

    assert!(error.contains("65 destinations"), "{error}");
}
