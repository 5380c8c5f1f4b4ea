//! No rule of the port forwarder's filter is there for nothing: without it, the process ends before its work is done.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use filters::{Alternative, PORT_FORWARDER};
use firewall::{Forward, PodAddress, Reservation};
use nftables::{Protocol, Subnet};

use super::process::{Child, Company, End, report_refused_calls, spawn};

/// For how long one who is refused nothing is given work.
const WATCHED: Duration = Duration::from_secs(10);

/// How long an answer is waited for from one who may have ended.
const PATIENCE: Duration = Duration::from_millis(300);

/// What the ports lead to: it sends back what it gets, to one caller after the other.
struct Pod {
    port: u16,
}

impl Pod {
    fn new() -> Self {
        // A port that both protocols have free.
        let (streams, datagrams) = loop {
            let streams = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(datagrams) = UdpSocket::bind(streams.local_addr().unwrap()) {
                break (streams, datagrams);
            }
        };
        let port = streams.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in streams.incoming().flatten() {
                let mut from = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut from, &mut &stream);
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((count, from)) = datagrams.recv_from(&mut buffer) {
                let _ = datagrams.send_to(&buffer[..count], from);
            }
        });
        Self { port }
    }
}

/// Ports of the host that lead there, by both protocols and from both families.
fn reserve(pod: u16) -> Reservation {
    let free = || TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    loop {
        let forward =
            |protocol, host: IpAddr| Forward { protocol, host: Some(host), host_port: free(), pod_port: pod };
        let forwards = [
            forward(Protocol::Tcp, Ipv4Addr::LOCALHOST.into()),
            forward(Protocol::Tcp, Ipv6Addr::LOCALHOST.into()),
            forward(Protocol::Udp, Ipv4Addr::LOCALHOST.into()),
        ];
        if let Ok(reservation) = Reservation::make(&forwards) {
            return reservation;
        }
    }
}

/// A forwarder behind nothing but its filter, or that without one of its alternatives.
fn forwarder(reservation: &Reservation, number: usize) -> Child {
    let reservation = reservation.try_clone().unwrap();
    let subnet = Subnet::new(Ipv4Addr::LOCALHOST.into(), 8).unwrap();
    let pod = [PodAddress { address: Ipv4Addr::LOCALHOST.into(), subnet }];
    let keep: Vec<_> = reservation.sockets.iter().map(|one| one.socket.as_raw_fd()).collect();
    let work = move || {
        std::thread::spawn(|| ()).join().unwrap();
        rustix::thread::set_no_new_privs(true).unwrap();
        report_refused_calls().unwrap();
        PORT_FORWARDER.apply_without(number).unwrap();
        firewall::forwarder::serve(reservation, &pod).to_string()
    };
    spawn("port forwarder", Company::Host, &keep, work).unwrap()
}

fn call(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"to the pod").ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    (answer == b"to the pod").then_some(())
}

fn send(address: SocketAddr) -> Option<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.send_to(b"to the pod", address).ok()?;
    let mut answer = [0; 64];
    (socket.recv(&mut answer).ok()? == 10).then_some(())
}

/// Gives a forwarder of these ports something to do, if it is there to do it.
fn work(reservation: &Reservation, forwarder: &Child) {
    for reserved in reservation.sockets.iter().take_while(|_| !forwarder.has_ended()) {
        let address: SocketAddr = rustix::net::getsockname(&reserved.socket).unwrap().try_into().unwrap();
        let _ = if reserved.forward.protocol == Protocol::Tcp { call(address) } else { send(address) };
    }
}

fn is_superfluous(pod: &Pod, number: usize) -> bool {
    let reservation = reserve(pod.port);
    let forwarder = forwarder(&reservation, number);
    let begun = Instant::now();
    while !forwarder.has_ended() {
        work(&reservation, &forwarder);
        if begun.elapsed() > WATCHED {
            forwarder.kill().unwrap();
            return true;
        }
    }
    // Where a thread begins, glibc has signals blocked, and nobody hears of the refusal.
    !matches!(forwarder.wait::<String>().unwrap(), End::Refused(_) | End::Killed(libc::SIGSYS))
}

#[test]
fn every_rule_of_the_port_forwarders_filter_is_needed() {
    let pod = Pod::new();

    let mut superfluous = Vec::new();
    for (number, alternative) in PORT_FORWARDER.alternatives().into_iter().enumerate() {
        let Alternative { rule, value } = alternative;
        if !alternative.is_spare() && is_superfluous(&pod, number) {
            superfluous.push(format!("{} {value:x?}: {}", rule.call, rule.why));
        }
    }

    assert_eq!(superfluous, Vec::<String>::new());
}
