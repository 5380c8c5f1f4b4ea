//! Which system calls an app may make.
//!
//! Responsible for: rkt's default filter, retain and remove sets with their wildcards, and what a set forbids without naming
//! it. Must not know: how the guest loads a filter. Follows rkt-reference 6.9 and 9.1, and systemd.exec(5).

mod docker;
mod program;
#[cfg(test)]
mod program_test;
mod systemd;
#[cfg(test)]
mod test;

use std::collections::BTreeSet;

use appc::App;
use nix::errno::Errno;
use serde_json::Value;
use syscalls::Sysno;

use crate::isolation::{IsolationError, strings};
use program::Action;

/// Allow-list of an app.
pub const RETAIN: &str = "os/linux/seccomp-retain-set";
/// Deny-list of an app.
pub const REMOVE: &str = "os/linux/seccomp-remove-set";

/// Names in a set. Linux has fewer than 500 calls and the sets' wildcards are a dozen; both may be named twice.
const MAX_NAMES: usize = 1024;

/// The first call that rkt's lists say nothing of: their last one is copy_file_range (326). Programs try such calls and do
/// without where there are none, so an allow-list that does not name them answers ENOSYS instead of what it does otherwise.
const FIRST_NEWER: Sysno = Sysno::preadv2;

/// Highest error number of Linux.
const LAST_ERRNO: i32 = 133;

/// What an app's isolators say of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The filter, as the kernel takes it; None to filter nothing.
    pub program: Option<Vec<u8>>,
    /// Names in the set that mean nothing here.
    pub unknown: Vec<String>,
}

/// Decides which system calls `app` may make.
pub fn filter(app: &App) -> Result<Filter, IsolationError> {
    let mut isolators = app.isolators.iter().filter_map(|isolator| match isolator.name.as_str() {
        RETAIN => Some((RETAIN, &isolator.value)),
        REMOVE => Some((REMOVE, &isolator.value)),
        _ => None,
    });
    let first = isolators.next();
    if isolators.next().is_some() {
        return Err(IsolationError::TooManySeccompSets);
    }
    let Some((isolator, value)) = first else {
        return Ok(Filter { program: Some(allow_list(&default_set(), Action::Kill)), unknown: Vec::new() });
    };
    let names = strings(isolator, value)?;
    if names.len() > MAX_NAMES {
        return Err(IsolationError::TooManyNames { isolator, names: names.len(), limit: MAX_NAMES });
    }
    let violation = violation(isolator, value)?;
    let mut set = Set::default();
    names.iter().for_each(|name| set.add(name));
    let program = match isolator {
        RETAIN if set.all => None,
        REMOVE if !set.empty && !set.all && set.named => {
            if set.calls.contains(&Sysno::execve) {
                return Err(IsolationError::ExecveRemoved);
            }
            Some(deny_list(&set.calls, violation))
        }
        // As in rkt, a set of nothing is the default one.
        _ if set.empty || set.all || !set.named => Some(allow_list(&default_set(), violation)),
        _ => Some(allow_list(&set.calls, violation)),
    };
    Ok(Filter { program, unknown: set.unknown })
}

/// What a set comes to.
#[derive(Debug, Default)]
struct Set {
    calls: BTreeSet<Sysno>,
    /// It says `@appc.io/all`.
    all: bool,
    /// It says `@appc.io/empty`.
    empty: bool,
    /// It says anything else, of calls that need not exist on this processor.
    named: bool,
    unknown: Vec<String>,
}

impl Set {
    fn add(&mut self, name: &str) {
        match name {
            "@appc.io/all" => self.all = true,
            "@appc.io/empty" => self.empty = true,
            _ => match group(name) {
                Some(lists) => {
                    self.named = true;
                    self.calls.extend(lists.iter().flat_map(|list| calls(list)));
                }
                None => self.add_call(name),
            },
        }
    }

    fn add_call(&mut self, name: &str) {
        self.named |= !name.starts_with('@');
        match name.parse::<Sysno>() {
            Ok(call) => drop(self.calls.insert(call)),
            Err(()) => self.unknown.push(name.to_owned()),
        }
    }
}

/// The lists of a wildcard.
fn group(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "@docker/default-whitelist" | "@rkt/default-whitelist" => &[docker::WHITELIST, docker::NEWER],
        "@docker/default-blacklist" | "@rkt/default-blacklist" => {
            &[docker::BLACKLIST, docker::NEWER_BLACKLIST]
        }
        "@systemd/clock" => &[systemd::CLOCK],
        "@systemd/default-whitelist" => &[systemd::DEFAULT],
        "@systemd/mount" => &[systemd::MOUNT],
        "@systemd/network-io" => &[systemd::NETWORK_IO],
        "@systemd/obsolete" => &[systemd::OBSOLETE],
        "@systemd/privileged" => &[systemd::PRIVILEGED],
        "@systemd/process" => &[systemd::PROCESS],
        "@systemd/raw-io" => &[systemd::RAW_IO],
        _ => return None,
    })
}

/// The calls of a list that this processor has; the lists have names of all.
fn calls(list: &'static str) -> impl Iterator<Item = Sysno> {
    list.split_ascii_whitespace().filter_map(|name| name.parse().ok())
}

fn default_set() -> BTreeSet<Sysno> {
    calls(docker::WHITELIST).chain(calls(docker::NEWER)).collect()
}

fn allow_list(allowed: &BTreeSet<Sysno>, violation: Action) -> Vec<u8> {
    let always: BTreeSet<Sysno> = calls(systemd::DEFAULT).collect();
    compile(|number| match known(number) {
        Some(call) if allowed.contains(&call) || always.contains(&call) => Action::Allow,
        Some(call) if call < FIRST_NEWER => violation,
        Some(_) => unheard_of(),
        // Gaps in the table, and what comes after it.
        None => unheard_of(),
    })
}

fn deny_list(denied: &BTreeSet<Sysno>, violation: Action) -> Vec<u8> {
    compile(|number| match known(number) {
        Some(call) if denied.contains(&call) => violation,
        _ => Action::Allow,
    })
}

fn compile(decide: impl Fn(u32) -> Action) -> Vec<u8> {
    program::compile(Sysno::last().id().unsigned_abs(), decide)
}

fn known(number: u32) -> Option<Sysno> {
    usize::try_from(number).ok().and_then(Sysno::new)
}

/// What a kernel says that does not have a call.
fn unheard_of() -> Action {
    Action::Errno(u16::try_from(libc::ENOSYS).unwrap_or_default())
}

/// What happens to a process that makes a call which it may not make.
fn violation(isolator: &'static str, value: &Value) -> Result<Action, IsolationError> {
    let name = match value.get("errno") {
        None | Some(Value::Null) => return Ok(Action::Kill),
        Some(name) => name,
    };
    let unknown = || IsolationError::UnknownErrno { isolator, name: crate::isolation::shown(name) };
    match name.as_str() {
        Some("") => Ok(Action::Kill),
        Some(text) => errno(text).map(Action::Errno).ok_or_else(unknown),
        None => Err(unknown()),
    }
}

/// The number of an error.
fn errno(name: &str) -> Option<u16> {
    let name = match name {
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        "ENOTSUP" => "EOPNOTSUPP",
        name => name,
    };
    let number = (1..=LAST_ERRNO).find(|number| format!("{:?}", Errno::from_raw(*number)) == name)?;
    u16::try_from(number).ok().filter(|_| name != "UnknownErrno")
}
