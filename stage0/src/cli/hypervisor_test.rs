use super::{HypervisorOptions, join};

fn joined(lists: &[&str]) -> Result<Option<String>, String> {
    let lists = lists.iter().map(|list| list.parse()).collect::<Result<Vec<HypervisorOptions>, _>>()?;
    join(&lists, false)
}

#[test]
fn options_of_several_flags_become_one_list_in_plain_numbers() {
    assert_eq!(joined(&[]), Ok(None));
    assert_eq!(joined(&["vhost-net"]), Ok(Some("vhost-net".to_owned())));
    let rates = joined(&["net-rx-bytes=10M,net-tx-packets=500", "net-tx-bytes=1Ki"]);
    assert_eq!(rates, Ok(Some("net-rx-bytes=10000000,net-tx-packets=500,net-tx-bytes=1024".to_owned())));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (list, message) in [
        ("", "unknown option \"\""),
        ("vhost-vsock", "unknown option \"vhost-vsock\" (there are vhost-net, net-rx-bytes"),
        ("vhost-net=yes", "\"vhost-net\" has no value"),
        ("net-rx-bytes", "\"net-rx-bytes\" needs a value"),
        ("net-rx-bytes=fast", "option \"net-rx-bytes\""),
        ("net-rx-bytes=0", "option \"net-rx-bytes\": 0 a second is not within 1 and 1000000000000"),
        ("net-tx-packets=2T", "2T a second is not within"),
        ("net-tx-packets=-1", "option \"net-tx-packets\""),
        ("net-tx-packets=1,net-tx-packets=2", "net-tx-packets was given twice"),
        ("vhost-net,net-tx-bytes=1M", "net-tx-bytes is not possible with vhost-net"),
    ] {
        let refused = joined(&[list]).unwrap_err();

        assert!(refused.contains(message), "{list}: {refused}");
    }
}

#[test]
fn kernel_does_not_serve_cards_whose_guest_may_not_call_everybody() {
    let refused = join(&["vhost-net".parse().unwrap()], true).unwrap_err();

    assert!(refused.contains("--egress"), "{refused}");
    assert!(join(&["net-tx-bytes=1M".parse().unwrap()], true).is_ok());
}
