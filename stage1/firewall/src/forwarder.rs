//! Connections that the kernel does not forward.
//!
//! Responsible for: carrying what arrives at the reserved sockets to the pod and back. Must not know: rules. Follows
//! docs/networking.md, "Ports".
//!
//! That is what comes from `::1`, whatever comes by IPv6 to a pod that has IPv4 only, and everything when somebody has flushed the
//! packet filter. The pod then sees the host's address as the caller's.

mod datagrams;
mod streams;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use nftables::Protocol;
use rustix::event::{PollFd, PollFlags};

use crate::pod::PodAddress;
use crate::reservation::{Reservation, Reserved};

use datagrams::Datagrams;
use streams::Streams;

/// Serves the sockets until the process ends. Returns only if waiting for them fails.
pub fn serve(reservation: Reservation, pod: &[PodAddress]) -> io::Error {
    let addresses: Vec<IpAddr> = pod.iter().map(|address| address.address).collect();
    let mut streams = Vec::new();
    let mut datagrams = Vec::new();
    for Reserved { forward, socket } in reservation.sockets {
        let Some(target) = target(&socket, &addresses) else { continue };
        let target = SocketAddr::new(target, forward.pod_port);
        match forward.protocol {
            Protocol::Tcp => streams.push((TcpListener::from(socket), target)),
            Protocol::Udp => datagrams.push(Datagrams::new(UdpSocket::from(socket), target)),
        }
    }
    run(&Streams::new(streams), &mut datagrams)
}

/// The pod's address of the socket's family, or the other if it has none.
fn target(socket: &OwnedFd, addresses: &[IpAddr]) -> Option<IpAddr> {
    let here =
        rustix::net::getsockname(socket).ok().and_then(|address| SocketAddr::try_from(address).ok())?;
    let same = addresses.iter().find(|address| address.is_ipv4() == here.is_ipv4());
    same.or(addresses.first()).copied()
}

fn run(streams: &Streams, datagrams: &mut [Datagrams]) -> io::Error {
    loop {
        let listeners = streams.listeners();
        let sockets = listeners.chain(datagrams.iter().flat_map(Datagrams::sockets));
        let mut waiting: Vec<PollFd<'_>> =
            sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)).collect();
        match rustix::event::poll(&mut waiting, Some(&datagrams::TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return errno.into(),
        }
        // Everything is non-blocking; asking those that have nothing costs one system call each, and there are few.
        drop(waiting);
        streams.accept();
        for datagrams in &mut *datagrams {
            datagrams.relay();
        }
    }
}
