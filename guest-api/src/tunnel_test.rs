use proptest::prelude::*;

use super::*;

const PIECE: [u8; MAX_TUNNEL_BYTES] = [7; MAX_TUNNEL_BYTES];

#[test]
fn a_peer_may_send_what_it_was_granted_and_no_byte_more() {
    let mut tunnel = TunnelState::new();
    for _ in 0..4 {
        tunnel.receive(&PIECE).unwrap();
    }

    assert_eq!(tunnel.receive(b"x"), Err(TunnelFault::BeyondCredit));
    assert_eq!(TunnelState::new().receive(&[0; MAX_TUNNEL_BYTES + 1]), Err(TunnelFault::BeyondCredit));
}

#[test]
fn what_was_written_is_granted_again_in_steps() {
    let mut tunnel = TunnelState::new();
    tunnel.receive(&PIECE).unwrap();

    tunnel.wrote(PIECE.len() - 1);
    assert_eq!(tunnel.grant(), None);
    assert_eq!(tunnel.waiting(), [7]);
    tunnel.wrote(1);

    assert_eq!(tunnel.grant(), Some(16 * 1024));
    assert_eq!(tunnel.grant(), None);
    for _ in 0..4 {
        tunnel.receive(&PIECE).unwrap();
    }
}

#[test]
fn what_nobody_takes_is_dropped_and_granted_again() {
    let mut tunnel = TunnelState::new();
    tunnel.receive(&PIECE).unwrap();
    tunnel.drop_input();
    tunnel.receive(&PIECE).unwrap();

    assert!(tunnel.waiting().is_empty());
    assert_eq!(tunnel.grant(), Some(32 * 1024));
}

#[test]
fn credit_is_for_what_was_sent() {
    let mut tunnel = TunnelState::new();
    assert_eq!(tunnel.receive_credit(1), Err(TunnelFault::BeyondSent));
    assert_eq!(tunnel.receive_credit(u32::MAX), Err(TunnelFault::BeyondSent));

    tunnel.sent(10);
    tunnel.receive_credit(10).unwrap();

    assert_eq!(tunnel.receive_credit(1), Err(TunnelFault::BeyondSent));
}

#[test]
fn a_tunnel_is_over_when_both_sides_have_ended_it() {
    let mut tunnel = TunnelState::new();
    tunnel.receive(b"last").unwrap();
    tunnel.receive_end().unwrap();

    assert_eq!(tunnel.receive(b"more"), Err(TunnelFault::AfterEnd));
    assert_eq!(tunnel.receive_end(), Err(TunnelFault::AfterEnd));
    assert!(!tunnel.is_drained() && !tunnel.is_over());
    tunnel.wrote(4);
    assert!(tunnel.is_drained() && !tunnel.is_over());
    assert!(tunnel.end() && !tunnel.end());
    assert!(tunnel.is_over());
    assert_eq!(tunnel.may_send(), 0);
}

proptest! {
    /// Two sides that keep to the rules never find fault with each other, and every byte arrives in order.
    #[test]
    fn honest_sides_agree(steps in prop::collection::vec((0..2_u8, 1..40_000_usize), 1..200)) {
        let (mut near, mut far) = (TunnelState::new(), TunnelState::new());
        let (mut sent, mut arrived) = (0_usize, 0_usize);
        for (kind, size) in steps {
            if kind == 0 {
                let count = near.may_send().min(size);
                let data: Vec<u8> = (sent..sent + count).map(|byte| (byte % 251) as u8).collect();
                near.sent(count);
                sent += count;
                prop_assert_eq!(far.receive(&data), Ok(()));
            } else {
                let count = far.waiting().len().min(size);
                for (offset, byte) in far.waiting()[..count].iter().enumerate() {
                    prop_assert_eq!(usize::from(*byte), (arrived + offset) % 251);
                }
                far.wrote(count);
                arrived += count;
                if let Some(bytes) = far.grant() {
                    prop_assert_eq!(near.receive_credit(bytes), Ok(()));
                }
            }
            prop_assert!(sent - arrived <= 64 * 1024);
        }
    }
}
