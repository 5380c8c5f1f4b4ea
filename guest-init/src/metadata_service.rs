//! Where the pod's apps find the metadata service, which is on the host.
//!
//! Responsible for: listening there. Must not know: HTTP, what becomes of connections (crate `tunnels`). Follows
//! rkt-reference 6.10 and tcp(7).

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use guest_api::{METADATA_ADDRESS, METADATA_PORT};

use crate::InitError;
use crate::sockets::listen_at;

/// Listens where apps expect the service.
pub fn listen() -> Result<OwnedFd, InitError> {
    let address = SocketAddrV4::new(METADATA_ADDRESS, METADATA_PORT);
    listen_at(address.into())
        .map_err(InitError::kernel(format!("listen on {address} for the metadata service")))
}
