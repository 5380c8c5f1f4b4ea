use vmm::{NetLimit, Rate};

use super::hypervisor_options::HypervisorOptions;

fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() })
}

#[test]
fn rates_become_buckets_that_hold_a_tenth_of_a_second_or_a_large_frame() {
    let options = HypervisorOptions::parse(
        "net-rx-bytes=10000000,net-rx-packets=5,net-tx-bytes=1000,net-tx-packets=1000000",
    )
    .unwrap();

    let receive = NetLimit { bytes: rate(10_000_000, 1_000_000), packets: rate(5, 64) };
    let transmit = NetLimit { bytes: rate(1000, 65536), packets: rate(1_000_000, 100_000) };
    assert_eq!(options.limits.receive, receive);
    assert_eq!(options.limits.transmit, transmit);
    assert!(!options.vhost_net);
}

#[test]
fn what_the_hypervisor_does_not_know_or_cannot_keep_is_refused() {
    for text in [
        "",
        "vhost-net=1",
        "vhost",
        "net-rx-bytes",
        "net-rx-bytes=",
        "net-rx-bytes=0",
        "net-rx-bytes=-1",
        "net-rx-bytes=10M",
        "disk-bytes=1",
        "vhost-net,net-rx-bytes=1",
        "net-rx-bytes=1,vhost-net",
    ] {
        assert_eq!(HypervisorOptions::parse(text), None, "{text:?}");
    }
}

#[test]
fn nothing_of_the_hosts_is_opened_that_was_not_asked_for() {
    let options = HypervisorOptions::default();

    assert!(options.open_vhost_net("/nowhere".as_ref(), 4).unwrap().is_empty());
}

#[test]
fn host_without_vhost_net_is_told_what_loads_it() {
    let options = HypervisorOptions::parse("vhost-net").unwrap();

    let error = options.open_vhost_net("/nowhere/vhost-net".as_ref(), 1).unwrap_err();

    let text = error.to_string();
    assert!(text.starts_with("cannot open /nowhere/vhost-net") && text.contains("modprobe"), "{text}");
    assert_eq!(options.open_vhost_net("/dev/null".as_ref(), 3).unwrap().len(), 3);
}
