//! Real software: Debian's Redis server and client in one pod.

use rkt_tests::command::limit;
use rkt_tests::dist;

use crate::pod::{Pod, said};

#[test]
fn a_client_writes_and_reads_a_thousand_keys_over_the_loopback() {
    let (server, client) = (dist::image("redis-server"), dist::image("redis-tools"));
    let volume = "--volume=data,kind=empty,mode=0750,uid=101,gid=101";
    let images = [server.to_str().expect("UTF-8"), client.to_str().expect("UTF-8")];

    let output = Pod::start(&[&[volume], &images[..]].concat()).finish_within(limit(60)).expect_code(0);

    assert_eq!(said(&output.stdout, "redis-tools"), ["wrote 1000 keys", "read 1000 keys back"]);
    let server = said(&output.stdout, "redis-server");
    assert!(server.iter().any(|line| line.contains("Ready to accept connections")), "{server:?}");
    assert!(server.iter().any(|line| line.contains("bye bye")), "{server:?}");
}
