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
//!   HandlerStarted            ->                             per pre-start handler of an app
//!   Started / StartFailed     ->                             one per app, unless a pre-start handler failed
//!   Ready                     ->                             every app was started, and says so if it is one that does
//!   Output, OutputClosed      ->     Credit                  per process and stream
//!   InputCredit               ->     Input, InputClosed      per process that takes input
//!                             <-     Resize, Signal          per process; without effect once it has ended
//!   HandlerStarted            ->                             per post-stop handler of an app
//!   HandlerFailed             ->                             what `Exited` or `StartFailed` then tells the end of
//!   Failing                   ->                             an app has failed; its end may take a while
//!   OutOfMemory               ->                             at most one per app
//!   Notices                   ->                             of an app that runs, for the host's service manager
//!   Exited                    ->                             one per app that was started or whose pre-start handler failed,
//!                                                            after all that it wrote
//!                             <-     Stop, Kill              at any time after Configure
//!                             <-     Clock                   at any time after Configure
//!   Halting                   ->                             last message; the VM resets itself next
//! ```
//!
//! The apps of a mutable pod come and go; every start of an app has a number of its own:
//!
//! ```text
//!                             <-     StartApp(AppSpec)       at any time after Ready
//!   Started / StartFailed     ->                             and all that follows for any app
//!                             <-     StopApp                 at any time after StartApp
//!                             <-     ForgetApp               once after its Exited or StartFailed
//!   OutputClosed              ->                             every stream that is still open
//!   Forgotten                 ->                             the end of the number
//! ```
//!
//! A command in an app is a session, from its `Exec` on:
//!
//! ```text
//!                             <-     Exec(SessionSpec)       at any time after Started of its app
//!   SessionFailed             ->                             instead of all that follows
//!   SessionStarted            ->                             before any Output
//!   Output .. InputCredit     <->    Credit .. Signal        as for apps
//!                             <-     HangUp                  whoever asked for it is gone
//!   OutputClosed              ->                             every stream
//!   SessionExited             ->                             the end of it: the guest forgets its number
//! ```
//!
//! The host may send `Input`, `InputClosed`, `Resize`, `Signal` and `HangUp` right behind `Exec`: they wait for the program.
//! Messages to a session that the guest has forgotten cross its `SessionExited` or `SessionFailed` on the wire and are no
//! error. A pod's end does not wait for sessions: between the first SIGKILL and `Halting` they may end without
//! `SessionExited`.
//!
//! A connection of an app to the metadata service is a tunnel, a stream of bytes in both directions, and so is one that the host
//! has accepted for an app ([`ListeningSocket`]):
//!
//! ```text
//!   Opened                    ->                             at any time after Configure, to the metadata service
//!                             <-     Opened                  at any time after Ready, to an app's socket
//!   Data, Credit              <->    Data, Credit
//!   End                       <->    End                     after the last Data of a side; in any order
//! ```

pub mod bytes;
mod frame;
mod message;
mod network;
mod output;
mod spec;
mod tunnel;
mod tunnel_message;

#[cfg(test)]
mod frame_test;
#[cfg(test)]
mod network_test;
#[cfg(test)]
mod output_test;
#[cfg(test)]
mod stdio_test;
#[cfg(test)]
mod tunnel_test;

pub use frame::{FrameBuffer, FrameError, MAX_FRAME_BYTES, append, encode};
pub use message::{
    AppExit, AppId, HandlerEnd, Hello, Notice, Process, SessionId, StdioStream, ToGuest, ToHost, WindowSize,
};
pub use network::{
    AddressSpec, InterfaceSpec, MAX_INTERFACES, MAX_SETTING_BYTES, NetworkFault, NetworkSpec, Prefix,
    RouteSpec, RuleSpec, SettingSpec, is_interface_name,
};
pub use output::{Incoming, MAX_OUTPUT_FRONT_BYTES, Output, OutputFront, output_front};
pub use spec::{
    AppSpec, Endpoint, FileMount, Handler, Identity, Isolation, Lifecycle, ListeningSocket, MountSpec,
    PodSpec, SessionSpec, Stdio,
};
pub use tunnel::{TunnelFault, TunnelState};
pub use tunnel_message::{Destination, TunnelId, TunnelMessage};

/// Version of the messages in this crate. The host refuses a guest that says another one: both sides ship in the
/// same stage1 image, so a mismatch is a packaging error and not something to negotiate around.
pub const PROTOCOL_VERSION: u16 = 5;

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

/// Bytes of standard input the host may send to a process before the guest grants more with [`ToHost::InputCredit`]: what Linux's
/// socket device takes on its way to the guest, so that the host writes on while the process reads. One that does not read costs
/// the guest no more than this.
pub const INITIAL_INPUT_CREDIT_BYTES: u32 = 256 * 1024;

/// Largest payload of one [`ToGuest::Input`]: a quarter of the credit, so that one message is on its way while the process
/// reads another.
pub const MAX_INPUT_BYTES: usize = 64 * 1024;

/// Sessions a pod may have at once. Each costs three pipes, the credit of their streams and a process; nobody types into as
/// many terminals, and health checks come one at a time.
pub const MAX_SESSIONS: usize = 64;

/// Where apps find the metadata service: on the pod's own loopback, so that it does not matter which networks the pod has.
pub const METADATA_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::LOCALHOST;

/// The port that rkt's metadata service has on a host (rkt-reference 6.10).
pub const METADATA_PORT: u16 = 18112;

/// Connections to the metadata service that a pod may have at once. A request is answered within milliseconds, so a hundred
/// apps that all start at the same time wait for each other without noticing it.
pub const MAX_METADATA_TUNNELS: usize = 32;

/// Connections to apps' sockets that the host passes on at once; others wait in the backlog of the host's socket. With their
/// credit they cost each side no more than 16 MiB.
pub const MAX_SOCKET_TUNNELS: usize = 128;

/// Longest [`Notice::Status`]: a line of a terminal or two.
pub const MAX_STATUS_BYTES: usize = 256;

/// Sockets that one app is started with: PID 1 keeps their descriptors' numbers free.
pub const MAX_LISTENING_SOCKETS: usize = 16;

/// Bytes that each side may send through a tunnel before the other grants more with [`TunnelMessage::Credit`]: most manifests
/// fit.
pub const INITIAL_TUNNEL_CREDIT_BYTES: u32 = 64 * 1024;

/// Largest payload of one [`TunnelMessage::Data`]: a quarter of the credit, so that one message is on
/// its way while another is written.
pub const MAX_TUNNEL_BYTES: usize = 16 * 1024;

/// Size of an instruction of [`Isolation::seccomp`]: `struct sock_filter`.
pub const FILTER_INSTRUCTION_BYTES: usize = 8;

/// Largest [`Isolation::seccomp`]: what the kernel takes (`BPF_MAXINSNS`).
pub const MAX_FILTER_BYTES: usize = 4096 * FILTER_INSTRUCTION_BYTES;
