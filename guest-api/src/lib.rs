//! The conversation between stage1 (on the host) and guest-init (PID 1 in the pod's VM).
//!
//! Responsible for: what can be said, in which order, and how it is framed. Must not know: sockets, KVM, the App
//! Container schema. Follows docs/architecture.md, "The control connection".
//!
//! One connection per pod, opened by the guest to [`CONTROL_PORT`] of the host ([`HOST_CID`]) over virtio-vsock.
//!
//! ```text
//! guest                              host
//!   Hello                     ->
//!                             <-     Configure(PodSpec)      once; the guest is nobody before it
//!   Started / StartFailed     ->                             one per app
//!   Ready                     ->                             every app was started
//!   Output, OutputClosed      ->     Credit                  per app and stream
//!   Exited                    ->                             one per started app, after all that it wrote
//!                             <-     Stop                    at any time after Configure
//!   Halting                   ->                             last message; the VM resets itself next
//! ```

mod frame;
mod message;

#[cfg(test)]
mod frame_test;

pub use frame::{FrameBuffer, FrameError, MAX_FRAME_BYTES, encode};
pub use message::{
    AppExit, AppId, AppSpec, FileMount, Hello, Identity, MountSpec, PodSpec, StdioStream, ToGuest, ToHost,
};

/// Version of the messages in this crate. The host refuses a guest that says another one: both sides ship in the
/// same stage1 image, so a mismatch is a packaging error and not something to negotiate around.
pub const PROTOCOL_VERSION: u16 = 1;

/// vsock context ID of the host (virtio specification 1.2, 5.10.4).
pub const HOST_CID: u32 = 2;

/// vsock context ID of every guest. Each VM has its own vsock device, so the number need not be unique on the host,
/// and a constant keeps cloned VMs possible.
pub const GUEST_CID: u32 = 3;

/// vsock port on the host that the guest connects to.
pub const CONTROL_PORT: u32 = 1024;

/// Tag of the one virtio-fs device. Its root holds `apps/NAME` and `volumes/NAME`.
pub const SHARE_TAG: &str = "rkt";

/// Bytes of one stream the guest may send before the host grants more with [`ToGuest::Credit`]. Enough to keep a pipe
/// (64 KiB) and a socket buffer busy, small enough that 100 apps with two streams cost the host at most 50 MiB.
pub const INITIAL_CREDIT_BYTES: u32 = 256 * 1024;

/// Largest payload of one [`ToHost::Output`]: the default capacity of a pipe, so one read fills one message.
pub const MAX_OUTPUT_BYTES: usize = 64 * 1024;
