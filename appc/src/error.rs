//! What can be wrong with a value of the App Container schema.

/// Why a text is not what the schema asks for. Messages are rkt's where rkt has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppcError {
    /// Not an AC identifier.
    #[error("invalid AC identifier {0:?}: must match ^[a-z0-9]+([-._~/][a-z0-9]+)*$")]
    InvalidIdentifier(String),
    /// Not an AC name.
    #[error("invalid AC name {0:?}: must match ^[a-z0-9]+([-][a-z0-9]+)*$")]
    InvalidName(String),
    /// A name that no directory or file could carry.
    #[error("name of {found} bytes is too long (at most {limit})")]
    NameTooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nothing that could be kept in a sanitised name.
    #[error("{0:?} has no character that a name may have")]
    NothingToSanitise(String),
    /// Not an image ID.
    #[error("invalid image ID {0:?}: must be \"sha512-\" and up to 128 hexadecimal digits")]
    InvalidImageId(String),
    /// Not a semantic version.
    #[error("invalid acVersion {text:?}: {reason}")]
    InvalidVersion {
        /// The text.
        text: String,
        /// What the version parser said.
        reason: String,
    },
    /// Not a quantity.
    #[error(
        "invalid quantity {0:?}: must be a number with an optional suffix (m, k, M, G, T, P, E, Ki, Mi, …)"
    )]
    InvalidQuantity(String),
    /// A label with the reserved name.
    #[error("invalid label name: \"name\"")]
    ReservedLabel,
    /// The same label twice.
    #[error("duplicate labels of name {0:?}")]
    DuplicateLabel(String),
    /// The same annotation twice.
    #[error("duplicate annotations of name {0:?}")]
    DuplicateAnnotation(String),
    /// The same environment variable twice.
    #[error("duplicate environment variable of name {0:?}")]
    DuplicateEnvironment(String),
    /// A name that cannot be an environment variable's.
    #[error("environment variable {0:?} has a bad name: must match ^[A-Za-z_][A-Za-z_0-9.-]*$")]
    InvalidEnvironmentName(String),
    /// App without user.
    #[error("user is required")]
    MissingUser,
    /// App without group.
    #[error("group is required")]
    MissingGroup,
    /// Relative working directory.
    #[error("workingDirectory must be an absolute path, not {0:?}")]
    RelativeWorkingDirectory(String),
    /// Two event handlers of one name.
    #[error("only one eventHandler of name {0:?} allowed")]
    DuplicateEventHandler(String),
    /// An event handler that no one calls.
    #[error("unrecognized eventHandler: {0}")]
    UnknownEventHandler(String),
    /// A port outside the range of ports.
    #[error("port {name:?}: {reason}")]
    InvalidPort {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A volume whose parts contradict each other.
    #[error("volume {name:?}: {reason}")]
    InvalidVolume {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The manifest names no operating system.
    #[error("missing os label in the image manifest")]
    MissingOs,
    /// The manifest names no architecture.
    #[error("missing arch label in the image manifest")]
    MissingArch,
    /// An operating system rkt does not know.
    #[error("bad os {0:?} (must be one of: [linux])")]
    BadOs(String),
    /// An architecture rkt does not know.
    #[error("bad arch {arch:?} for {os} (must be one of: [{known}])")]
    BadArch {
        /// The image's operating system.
        os: String,
        /// The image's architecture.
        arch: String,
        /// Those that are known, separated by spaces.
        known: String,
    },
    /// A known architecture that this host's processor cannot run.
    #[error("image is for {os}/{arch}, but this host can only run {host_os}/{host_arch}")]
    WrongHost {
        /// The image's operating system.
        os: String,
        /// The image's architecture.
        arch: String,
        /// The host's operating system.
        host_os: String,
        /// The host's architecture.
        host_arch: String,
    },
    /// Two apps of one name in a pod.
    #[error("multiple apps with name {0}")]
    DuplicateApp(String),
    /// An isolator of the pod itself that no machine can have.
    #[error("isolator {name} of the pod has no usable limit: {value}")]
    PodIsolator {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A machine without room for a kernel.
    #[error("the pod's machine cannot have {found} bytes of memory: it needs {least} MiB")]
    SmallMachine {
        /// What was asked for.
        found: u64,
        /// The least, in MiB.
        least: u64,
    },
    /// Two volumes of one name in a pod.
    #[error("duplicate volume name {0:?}")]
    DuplicateVolume(String),
    /// The bytes are not the JSON of a manifest.
    #[error("{kind} is malformed: {reason}{excerpt}")]
    Json {
        /// Which manifest.
        kind: &'static str,
        /// What the decoder said, with line and column.
        reason: String,
        /// The text around the error, or nothing.
        excerpt: String,
    },
    /// More bytes than any honest manifest has.
    #[error("{kind} of {found} bytes is too large (at most {limit})")]
    TooLarge {
        /// Which manifest.
        kind: &'static str,
        /// Its size in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
}
