use super::*;

fn answer(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(7_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn a_refusal_says_what_the_kernel_said() {
    let mut body = (-22_i32).to_ne_bytes().to_vec();
    body.extend([0; HEADER_BYTES]);
    body.extend([12, 0, 1, 0]);
    body.extend(b"no rule\0");
    let bytes = answer(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &body);

    let message = Messages(&bytes).next().unwrap();

    assert_eq!(message.sequence, 7);
    assert_eq!(message.verdict(), Some((22, Some("no rule".to_owned()))));
    let error = refused("forward port 80".to_owned(), 22, Some("no rule".to_owned()));
    assert!(error.to_string().starts_with("nft refused to forward port 80 (no rule)"), "{error}");
}

#[test]
fn messages_that_are_cut_off_or_too_short_end_the_answer() {
    let whole = answer(NLMSG_ERROR, 0, &0_i32.to_ne_bytes());

    assert_eq!(Messages(&whole).count(), 1);
    for length in 0..whole.len() {
        assert_eq!(Messages(&whole[..length]).count(), 0);
    }
    let short = answer(NLMSG_ERROR, 0, &[1, 2]);
    assert_eq!(Messages(&short).next().unwrap().verdict(), None);
    let mut lying = whole;
    lying[0] = 3;
    assert_eq!(Messages(&lying).count(), 0);
}
