//! Why an entrypoint of stage1 failed.

use std::io;
use std::path::PathBuf;

use crate::activation::ActivationError;
use firewall::ReservationError;

use crate::control_socket::client::ClientError;
use crate::entrypoints::attach::AttachError;
use crate::entrypoints::enter::EnterError;
use crate::entrypoints::stop::StopError;
use crate::flags::FlagError;
use crate::groups::GroupError;
use crate::hypervisor_options::VhostNetError;
use crate::kvm_device::KvmError;
use crate::network::{NetworkError, PortError};
use crate::plan::PlanError;
use crate::pod_directory::PodDirectoryError;
use crate::process::ProcessError;
use crate::shares::ShareError;
use crate::status::StatusError;
use crate::supervisor::SupervisorError;

/// Why an entrypoint failed; rkt exits with 254 for each.
#[derive(Debug, thiserror::Error)]
pub enum EntrypointError {
    /// argv\[0\] names no entrypoint.
    #[error("{0:?} is no entrypoint of this stage1")]
    UnknownEntrypoint(String),
    /// The command line is wrong.
    #[error("bad command line")]
    Flags(#[from] FlagError),
    /// The pod's lock was not handed over.
    #[error("RKT_LOCK_FD is not set to an open file descriptor: stage1 is started by rkt, not by hand")]
    NoLock,
    /// A time is no number.
    #[error("{variable} is {value:?}, want a number of seconds above zero")]
    Seconds {
        /// What says it.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// Features that nobody knows.
    #[error(
        "RKT_HYPERVISOR_HIDE_KVM_FEATURES is {0:?}, want names such as kvm-pv-eoi with commas between them"
    )]
    HiddenFeatures(String),
    /// What is asked of the jail is not known.
    #[error("RKT_HYPERVISOR_JAIL is {0:?}, want \"strict\" or nothing")]
    Jail(String),
    /// Signals could not be taken.
    #[error("cannot take signals")]
    Signals(#[source] io::Error),
    /// The pod directory is damaged.
    #[error(transparent)]
    PodDirectory(#[from] PodDirectoryError),
    /// The pod cannot be run as asked.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The service manager's sockets cannot be used.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// The pod's networks could not be set up or taken down.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A port cannot lead into the pod.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A port of the host is somebody else's.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// The host's kernel does not serve network cards.
    #[error(transparent)]
    VhostNet(#[from] VhostNetError),
    /// There is no KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The stage1 image is damaged.
    #[error("cannot open {} of the stage1 image", path.display())]
    Stage1File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A volume cannot be used.
    #[error(transparent)]
    Shares(#[from] ShareError),
    /// There is no memory for the guest, or not as the pod wants it.
    #[error("no memory for the virtual machine")]
    Memory(#[from] vmm::Error),
    /// The processes could not be connected.
    #[error("cannot create a socket pair")]
    Socket(#[source] io::Error),
    /// The pod's control groups could not be made or removed.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// A process could not enter one of them.
    #[error("cannot open the pod's control groups")]
    Place(#[source] io::Error),
    /// A process could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The pod's state could not be written down.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The pod's control socket could not be made.
    #[error("cannot listen on {}", crate::control_socket::SOCKET_NAME)]
    Listen(#[source] io::Error),
    /// The pod could not be spoken to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No command could be run in the pod.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// Nothing could be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The supervisor did not do what was asked of an app.
    #[error(transparent)]
    App(#[from] crate::entrypoints::app::AppError),
    /// `metrics` has failed.
    #[error(transparent)]
    Metrics(#[from] crate::entrypoints::metrics::MetricsError),
    /// The pod could not be stopped.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// The pod failed while it ran.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}
