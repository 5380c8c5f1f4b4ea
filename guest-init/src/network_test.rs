use super::*;

fn interface(name: &str, mac: u8) -> InterfaceSpec {
    InterfaceSpec {
        name: name.to_owned(),
        mac: [2, 0, 0, 0, 0, mac],
        mtu: 1500,
        addresses: Vec::new(),
        routes: Vec::new(),
        no_arp: false,
    }
}

fn card(index: u32, name: &str, mac: u8) -> Card {
    Card { index, name: name.to_owned(), mac: [2, 0, 0, 0, 0, mac] }
}

#[test]
fn cards_are_found_by_their_address_and_in_order_where_they_share_one() {
    let spec = NetworkSpec {
        interfaces: vec![interface("eth0", 9), interface("eth1", 5), interface("eth2", 5)],
        ..NetworkSpec::default()
    };
    let cards = [card(1, "lo", 0), card(2, "eth0", 5), card(3, "eth1", 5), card(4, "eth2", 9)];

    let assigned = assign(&spec, &cards).unwrap();

    let indexes: Vec<u32> = assigned.iter().map(|it| it.index).collect();
    assert_eq!(indexes, [4, 2, 3]);
    assert!(assigned.iter().all(|it| it.is_renamed));
}

#[test]
fn an_interface_without_a_card_is_named() {
    let spec = NetworkSpec { interfaces: vec![interface("eth7", 1)], ..NetworkSpec::default() };

    let error = assign(&spec, &[card(2, "eth0", 5)]).expect_err("there is none");

    assert!(error.to_string().contains("eth7"), "{error}");
}

#[test]
fn subnets_have_a_broadcast_address_unless_they_are_too_small_for_one() {
    let of = |address: &str, length| broadcast(Prefix { address: address.parse().unwrap(), length });

    assert_eq!(of("10.1.2.3", 16), Some([10, 1, 255, 255].into()));
    assert_eq!(of("10.1.2.2", 30), Some([10, 1, 2, 3].into()));
    assert_eq!(of("10.1.2.2", 31), None);
    assert_eq!(of("10.1.2.2", 32), None);
    assert_eq!(of("fd00::1", 64), None);
}

#[test]
fn addresses_of_cards_are_read_as_the_kernel_writes_them() {
    assert_eq!(parse_mac("02:00:5e:10:00:ff"), Some([2, 0, 0x5e, 0x10, 0, 0xff]));
    assert_eq!(parse_mac("02:00:5e:10:00"), None);
    assert_eq!(parse_mac(""), None);
}
