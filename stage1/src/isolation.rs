//! What an app may do and use, from its isolators.
//!
//! Responsible for: rkt's default capability set, retain and remove sets, limits in the guest's units, and saying what is
//! wrong with an isolator. Must not know: how the guest applies any of it. Follows rkt-reference 6.9 and capabilities(7).

use appc::App;
use guest_api::Isolation;
use serde_json::Value;

use crate::flags::RunFlags;
use crate::seccomp;

const RETAIN: &str = "os/linux/capabilities-retain-set";
const REMOVE: &str = "os/linux/capabilities-remove-set";
const NO_NEW_PRIVILEGES: &str = "os/linux/no-new-privileges";
const OOM_SCORE: &str = "os/linux/oom-score-adj";
pub const CPU_SHARES: &str = "os/linux/cpu-shares";
const MEMORY: &str = "resource/memory";
const CPU: &str = "resource/cpu";

/// Bytes that a pod's processes may read from, and write to, each disk in a second.
pub const BLOCK_BANDWIDTH: &str = "resource/block-bandwidth";

/// How often they may do so.
pub const BLOCK_IOPS: &str = "resource/block-iops";

/// Isolators that have an effect: on the app, on the size of its VM, or on what the pod may take of its host.
pub const APPLIED: [&str; 11] = [
    RETAIN,
    REMOVE,
    NO_NEW_PRIVILEGES,
    OOM_SCORE,
    CPU_SHARES,
    MEMORY,
    CPU,
    seccomp::RETAIN,
    seccomp::REMOVE,
    BLOCK_BANDWIDTH,
    BLOCK_IOPS,
];

/// Characters of a value that an error message shows; the rest helps nobody find it.
const SHOWN_CHARACTERS: usize = 200;

/// What an app can be given at most without isolators.
const DEFAULT_SET: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETFCAP",
    "CAP_SYS_CHROOT",
];

/// Every capability of Linux 6.12; its place here is its number.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What the kernel takes as a score, and as shares in the first version of control groups.
const OOM_SCORES: std::ops::RangeInclusive<i64> = -1000..=1000;
const SHARES: std::ops::RangeInclusive<i64> = 2..=262_144;

/// Weights of the second version.
const WEIGHTS: i64 = 10_000;

/// What is wrong with an app's isolators.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsolationError {
    /// Two ways to say the same.
    #[error("cannot have both {RETAIN} and {REMOVE}")]
    BothSets,
    /// A name that is none.
    #[error("isolator {isolator}: unknown capability {name:?}")]
    UnknownCapability {
        /// The isolator.
        isolator: &'static str,
        /// The name.
        name: String,
    },
    /// A set without names.
    #[error("isolator {0}: set must be non-empty")]
    EmptySet(&'static str),
    /// A set that nobody can have meant.
    #[error("isolator {isolator}: a set of {names} names (at most {limit} are allowed)")]
    TooManyNames {
        /// The isolator.
        isolator: &'static str,
        /// How many it has.
        names: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Only one filter an app (rkt-reference 6.9).
    #[error("too many seccomp isolators specified")]
    TooManySeccompSets,
    /// An error that Linux does not have.
    #[error("isolator {isolator}: unknown errno {name}")]
    UnknownErrno {
        /// The isolator.
        isolator: &'static str,
        /// What it says instead, quoted.
        name: String,
    },
    /// The filter is in force before the app is executed.
    #[error("isolator {}: execve cannot be removed, the app itself is executed by it", seccomp::REMOVE)]
    ExecveRemoved,
    /// A value of another kind, or beyond what the kernel takes.
    #[error("isolator {isolator}: invalid value {value} (want {expected})")]
    InvalidValue {
        /// The isolator.
        isolator: &'static str,
        /// Its value.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
}

/// Decides what `app` may do and use.
pub fn of(app: &App, flags: &RunFlags) -> Result<Isolation, IsolationError> {
    let capabilities = capabilities(app)?;
    limit(app, BLOCK_BANDWIDTH, "a positive number of bytes a second as its limit", |limit| limit.value())?;
    limit(app, BLOCK_IOPS, "a positive number of operations a second as its limit", |limit| limit.value())?;
    Ok(Isolation {
        capabilities: if flags.disable_capabilities_restriction { u64::MAX } else { capabilities },
        no_new_privileges: no_new_privileges(app)?,
        oom_score_adjustment: number(app, OOM_SCORE, &OOM_SCORES, "a number from -1000 to 1000")?
            .and_then(|score| i16::try_from(score).ok()),
        memory_bytes: limit(app, MEMORY, "a positive number of bytes as its limit", |limit| limit.value())?,
        cpu_milli: limit(app, CPU, "a positive number of processors as its limit", |limit| {
            limit.milli_value()
        })?,
        cpu_weight: number(app, CPU_SHARES, &SHARES, "a number from 2 to 262144")?.map(weight),
        protect_paths: !flags.disable_paths,
        seccomp: if flags.disable_seccomp { None } else { seccomp::filter(app)?.program },
    })
}

fn capabilities(app: &App) -> Result<u64, IsolationError> {
    let defaults = DEFAULT_SET.iter().filter_map(|name| bit(name)).fold(0, |all, bit| all | bit);
    match (set(app, RETAIN)?, set(app, REMOVE)?) {
        (Some(_), Some(_)) => Err(IsolationError::BothSets),
        (Some(retained), None) => Ok(retained),
        (None, Some(removed)) => Ok(defaults & !removed),
        (None, None) => Ok(defaults),
    }
}

fn set(app: &App, isolator: &'static str) -> Result<Option<u64>, IsolationError> {
    let Some(found) = app.isolator(isolator) else { return Ok(None) };
    let unknown = |name: &str| IsolationError::UnknownCapability { isolator, name: cut(name) };
    let mut bits =
        strings(isolator, &found.value)?.into_iter().map(|name| bit(name).ok_or_else(|| unknown(name)));
    bits.try_fold(0, |all, bit| Ok(all | bit?)).map(Some)
}

/// The names in an isolator's set.
pub fn strings<'a>(isolator: &'static str, value: &'a Value) -> Result<Vec<&'a str>, IsolationError> {
    let names = value.get("set").and_then(Value::as_array);
    let names = names.and_then(|names| names.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match names {
        Some(names) if names.is_empty() => Err(IsolationError::EmptySet(isolator)),
        Some(names) => Ok(names),
        None => {
            Err(IsolationError::InvalidValue { isolator, value: shown(value), expected: "a set of names" })
        }
    }
}

/// A value as an error message shows it.
pub fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn bit(name: &str) -> Option<u64> {
    CAPABILITIES.iter().position(|known| known.eq_ignore_ascii_case(name)).map(|number| 1 << number)
}

fn no_new_privileges(app: &App) -> Result<bool, IsolationError> {
    let Some(found) = app.isolator(NO_NEW_PRIVILEGES) else { return Ok(false) };
    found.value.as_bool().ok_or_else(|| IsolationError::InvalidValue {
        isolator: NO_NEW_PRIVILEGES,
        value: shown(&found.value),
        expected: "true or false",
    })
}

fn number(
    app: &App,
    isolator: &'static str,
    range: &std::ops::RangeInclusive<i64>,
    expected: &'static str,
) -> Result<Option<i64>, IsolationError> {
    let Some(found) = app.isolator(isolator) else { return Ok(None) };
    let value = found.value.as_i64().filter(|number| range.contains(number));
    value.map(Some).ok_or_else(|| IsolationError::InvalidValue {
        isolator,
        value: shown(&found.value),
        expected,
    })
}

pub fn limit(
    app: &App,
    isolator: &'static str,
    expected: &'static str,
    amount: impl FnOnce(appc::Quantity) -> i128,
) -> Result<Option<u64>, IsolationError> {
    let Some(found) = app.isolator(isolator) else { return Ok(None) };
    // A request without a limit limits nothing.
    if found.value.get("limit").is_none() {
        return Ok(None);
    }
    let amount = found.limit().map(amount).and_then(|amount| u64::try_from(amount).ok());
    amount.filter(|amount| *amount > 0).map(Some).ok_or_else(|| IsolationError::InvalidValue {
        isolator,
        value: shown(&found.value),
        expected,
    })
}

/// The weight for a number of shares; the ends of both scales meet, as in systemd and Kubernetes.
fn weight(shares: i64) -> u16 {
    let weight = 1 + (shares - SHARES.start()) * (WEIGHTS - 1) / (SHARES.end() - SHARES.start());
    u16::try_from(weight).unwrap_or(u16::MAX)
}
