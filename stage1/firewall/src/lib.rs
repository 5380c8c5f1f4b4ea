//! What the host's kernel lets out of a pod and through to it.
//!
//! Responsible for: one table of the packet filter for each pod, the sockets that keep its ports of the host, the forwarder behind
//! them, and the test of what its guest may send. Must not know: manifests, plugins, how the pod's network came to be. Follows
//! docs/networking.md and rkt-reference.md 5.4 and 6.7.
//!
//! In the order of use: [`Reservation::make`] takes ports before anything of the pod is there, [`table::install`] makes the rules when its
//! addresses are known, [`spoofing::filter`] says which frames of the guest's are forwarded, [`forwarder::serve`] runs beside the pod,
//! [`table::remove`] is called when it is gone, as often as one likes.

pub mod dhcp;
pub mod egress;
pub mod forwarder;
pub mod pod;
mod reservation;
mod route_localnet;
mod rules;
pub mod spoofing;
pub mod table;

pub use egress::{Destination, DestinationError};
pub use pod::{Forward, Link, Pod, PodAddress, Reach};
pub use reservation::{Reservation, ReservationError, Reserved};
