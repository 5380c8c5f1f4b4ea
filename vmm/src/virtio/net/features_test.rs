use super::features::{Features, configuration, offered};
use crate::virtio::device::FEATURES_COMMON;

const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_ECN: u64 = 1 << 9;
const GUEST_USO4: u64 = 1 << 54;
const GUEST_USO6: u64 = 1 << 55;
const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;

#[test]
fn several_queues_and_their_control_are_offered_where_there_are_several() {
    let of_several = 1 << 22 | 1 << 17 | CTRL_GUEST_OFFLOADS;

    assert_eq!(offered(1, false, false) & of_several, 0);
    assert_eq!(offered(2, false, false) & of_several, of_several);
    assert_eq!(offered(1, false, false) & FEATURES_COMMON, FEATURES_COMMON);
}

#[test]
fn mtu_is_offered_where_it_is_known() {
    assert_eq!(offered(1, false, false) & 1 << 3, 0);
    assert_eq!(offered(1, true, false) & 1 << 3, 1 << 3);
    assert_eq!(configuration([1, 2, 3, 4, 5, 6], 1, Some(9000)), [1, 2, 3, 4, 5, 6, 1, 0, 1, 0, 0x28, 0x23]);
}

#[test]
fn tap_splits_and_joins_what_was_agreed_on() {
    let offloads = |features| Features(features).tap_offloads();

    assert_eq!(offloads(0), 0);
    assert_eq!(offloads(GUEST_TSO4), 0);
    assert_eq!(offloads(GUEST_CSUM), libc::TUN_F_CSUM);
    assert_eq!(offloads(GUEST_CSUM | GUEST_TSO4), libc::TUN_F_CSUM | libc::TUN_F_TSO4);
    let udp = libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6;
    assert_eq!(offloads(GUEST_CSUM | GUEST_USO4 | GUEST_USO6), udp);
}

#[test]
fn choices_that_linux_refuses_are_not_made() {
    let offloads = |features| Features(features).tap_offloads();

    assert_eq!(offloads(GUEST_CSUM | GUEST_ECN), libc::TUN_F_CSUM);
    assert_eq!(offloads(GUEST_CSUM | GUEST_USO4), libc::TUN_F_CSUM);
}

#[test]
fn driver_chooses_among_agreed_offloads_only() {
    let agreed = Features(CTRL_GUEST_OFFLOADS | GUEST_CSUM | GUEST_TSO4);

    assert_eq!(agreed.choose_guest_offloads(GUEST_CSUM).map(Features::tap_offloads), Some(libc::TUN_F_CSUM));
    assert_eq!(agreed.choose_guest_offloads(GUEST_USO4), None);
    assert_eq!(Features(GUEST_CSUM).choose_guest_offloads(0), None);
}
