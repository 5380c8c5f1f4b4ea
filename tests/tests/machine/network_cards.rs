//! Network cards as `--hypervisor-options` makes them: how much they pass, and who serves them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Instant;

use nix::libc;
use rkt_tests::command::limit;
use rkt_tests::rkt::RKT_FAILED;

use crate::network::{alone, host};
use crate::pod::{Pod, open_files, rkt};

/// Bytes a second of the limited cards.
const RECEIVE_RATE: u64 = 16 << 10;
const SEND_RATE: u64 = 64 << 10;
/// What passes at once after a pause, and the largest frame, which may follow the last of these bytes.
const BURST: u64 = (64 << 10) + (64 << 10);

/// A pod on `default` with a web server that has a megabyte in `/data`.
fn start(options: &str) -> (Pod, String) {
    let script = "busybox dd if=/dev/zero of=/tmp/data bs=1024 count=1024 2> /dev/null; echo pod is up; \
                  exec busybox httpd -f -p 80 -h /tmp";
    let options = format!("--hypervisor-options={options}");
    let mut pod =
        Pod::start_on("default", &[&options, "example.com/busybox", "--stdout=stream", "--", "-c", script]);
    pod.wait_for("pod is up");
    let networks = rkt().status_value(&pod.uuid, "networks").expect("networks");
    let address = networks.strip_prefix("default:ip4=").expect("one network").to_owned();
    (pod, address)
}

/// Asks the pod's server for the megabyte, and reads so much of it.
fn read(address: &str, bytes: u64) {
    let server: SocketAddr = format!("{address}:80").parse().expect("an address");
    // The server may still be on its way.
    let deadline = Instant::now() + limit(20);
    let mut stream = loop {
        match TcpStream::connect_timeout(&server, limit(20)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
    };
    stream.set_read_timeout(Some(limit(20))).expect("a timeout");
    stream.write_all(b"GET /data HTTP/1.0\r\n\r\n").expect("sent");
    let mut data = vec![0; usize::try_from(bytes).expect("a size")];
    stream.read_exact(&mut data).expect("the megabyte");
}

/// What the guest has received, by its own count.
fn received(pod: &Pod) -> u64 {
    let counter = "/sys/class/net/eth0/statistics/rx_bytes";
    let output = rkt().run(["enter", &pod.uuid, "/bin/busybox", "cat", counter]).expect_code(0).out();
    output.trim().parse().expect("a number")
}

/// What may have passed since then.
fn allowed(rate: u64, since: Instant) -> u64 {
    BURST + (rate as f64 * since.elapsed().as_secs_f64()) as u64
}

#[test]
fn a_card_passes_no_more_than_its_limits_allow() {
    let _alone = alone();
    let (mut pod, address) = start(&format!("net-rx-bytes={RECEIVE_RATE},net-tx-bytes={SEND_RATE}"));

    let (wanted, started) = (2 * BURST, Instant::now());
    read(&address, wanted);
    let sent_most = allowed(SEND_RATE, started);
    assert!(wanted <= sent_most, "{wanted} bytes sent, {sent_most} allowed");

    let (before, started) = (received(&pod), Instant::now());
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    for _ in 0..4000 {
        // What the host has no room for counts as sent: nobody is to get it.
        let _ = socket.send_to(&[0; 1000], (&*address, 9));
    }
    let deadline = Instant::now() + limit(20);
    while received(&pod) - before < BURST / 4 {
        assert!(Instant::now() < deadline, "only {} bytes received", received(&pod) - before);
    }
    let bytes = received(&pod) - before;
    let received_most = allowed(RECEIVE_RATE, started);
    assert!(bytes <= received_most, "{bytes} bytes received, {received_most} allowed");

    let metrics = rkt().run(["status", "--metrics", &pod.uuid]).expect_code(0).out();
    let throttled: Vec<u64> = metrics
        .lines()
        .filter_map(|line| {
            line.strip_prefix("rkt_pod_network_throttled_total{")?.rsplit_once(' ')?.1.parse().ok()
        })
        .collect();
    assert!(throttled.len() == 2 && !throttled.contains(&0), "{metrics}");

    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish();
}

/// How the host schedules the thread that serves the pod's devices.
fn policy(pod: &Pod) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pod.vmm())).expect("the VMM runs");
    // The third field is the first one behind the name (proc_pid_stat(5)).
    let policy = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(41 - 3));
    policy.and_then(|policy| policy.parse().ok()).unwrap_or_else(|| panic!("no policy: {stat}"))
}

#[test]
fn frames_that_nobody_answers_leave_the_processor_to_their_sender_until_somebody_does() {
    let _alone = alone();
    let (mut pod, address) = start("net-tx-bytes=1000000000");
    assert_eq!(policy(&pod), libc::SCHED_OTHER);

    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let deadline = Instant::now() + limit(20);
    while policy(&pod) != libc::SCHED_BATCH {
        assert!(Instant::now() < deadline, "never");
        // What the host has no room for is lost, as it should be.
        (0..1000).for_each(|_| drop(socket.send_to(&[0; 18], (&*address, 9))));
    }

    read(&address, 1 << 20);
    let deadline = Instant::now() + limit(20);
    while policy(&pod) != libc::SCHED_OTHER {
        assert!(Instant::now() < deadline, "for ever");
    }
    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish();
}

#[test]
fn the_hosts_kernel_serves_a_card_when_it_is_asked_to() {
    let _alone = alone();
    let device = Path::new("/dev/vhost-net");
    if !device.exists() {
        let run =
            ["run", "--insecure-options=image", "--hypervisor-options=vhost-net", "example.com/busybox"];
        rkt().run(run).expect_code(RKT_FAILED).expect_err("modprobe vhost_net");
        return;
    }
    let (mut pod, address) = start("vhost-net");

    read(&address, 1 << 20);

    let files = open_files(pod.vmm());
    assert!(files.iter().any(|file| Path::new(file) == device), "{files:?}");
    // Its threads are the VMM's since Linux 6.4, the kernel's own before.
    let threads = host("busybox", &["ps", "-T", "-o", "comm"]);
    assert!(threads.contains("vhost-"), "{threads}");
    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish();
}
