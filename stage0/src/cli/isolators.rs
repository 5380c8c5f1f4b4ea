//! Values of the flags that become isolators.
//!
//! Responsible for: their grammar and limits. Must not know: what an isolator does, what the image says. Follows
//! rkt-reference.md 1.4 and 6.9.

use std::ops::RangeInclusive;

/// Weights of the kernel's CPU scheduler.
const CPU_SHARES: RangeInclusive<i64> = 2..=262_144;
/// proc(5), `oom_score_adj`.
const OOM_SCORE_ADJ: RangeInclusive<i64> = -1000..=1000;

/// Whether a set says what an app keeps or what it loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetMode {
    /// Everything else is taken away.
    Retain,
    /// Everything else stays.
    Remove,
}

impl SetMode {
    /// The word in flags and in isolators' names.
    pub const fn as_str(self) -> &'static str {
        match self {
            SetMode::Retain => "retain",
            SetMode::Remove => "remove",
        }
    }
}

/// `--caps-retain`, `--caps-remove`: names of capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilitySet(pub Vec<String>);

/// `--seccomp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompFilter {
    /// What the set means.
    pub mode: SetMode,
    /// Name of the error that a forbidden call fails with; empty: the process is killed.
    pub errno: String,
    /// System calls and `@` wildcards.
    pub set: Vec<String>,
}

/// `CAP_X[,CAP_Y…]`. Which names exist is stage1's knowledge.
pub fn parse_capabilities(text: &str) -> Result<CapabilitySet, String> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !is_capability(name)) {
        Some(name) => Err(format!("{name:?} is not the name of a capability")),
        None => Ok(CapabilitySet(names)),
    }
}

fn is_capability(name: &str) -> bool {
    name.strip_prefix("CAP_").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// `mode=retain|remove[,errno=EXXX],NAME[,NAME…]`.
pub fn parse_seccomp(text: &str) -> Result<SeccompFilter, String> {
    let (mut mode, mut errno, mut set) = (None, String::new(), Vec::new());
    for item in text.split(',') {
        match item.split_once('=') {
            Some(("mode", "retain")) => mode = Some(SetMode::Retain),
            Some(("mode", "remove")) => mode = Some(SetMode::Remove),
            Some(("mode", _)) => return Err("invalid seccomp mode command-line override".to_owned()),
            Some(("errno", name)) => name.clone_into(&mut errno),
            Some(_) => return Err("invalid seccomp command-line override".to_owned()),
            None if item.is_empty() => return Err("invalid seccomp command-line override".to_owned()),
            None => set.push(item.to_owned()),
        }
    }
    let mode = mode.ok_or("invalid seccomp mode command-line override")?;
    if set.is_empty() {
        return Err("set must be non-empty".to_owned());
    }
    // Beyond letters: E2BIG is one.
    if !errno.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Err("errno must be an upper case string".to_owned());
    }
    Ok(SeccompFilter { mode, errno, set })
}

/// A scheduler weight.
pub fn parse_cpu_shares(text: &str) -> Result<i64, String> {
    within("os/linux/cpu-shares", text, &CPU_SHARES)
}

/// How willingly the kernel ends a process when memory runs out.
pub fn parse_oom_score_adj(text: &str) -> Result<i64, String> {
    within("os/linux/oom-score-adj", text, &OOM_SCORE_ADJ)
}

fn within(name: &str, text: &str, range: &RangeInclusive<i64>) -> Result<i64, String> {
    let value: i64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("{name} must be between {} and {}, got {value}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seccomp_filters_name_a_mode_and_at_least_one_call() {
        let filter = parse_seccomp("mode=remove,errno=EPERM,mount,@docker/default-blacklist").unwrap();

        assert_eq!((filter.mode, filter.errno.as_str()), (SetMode::Remove, "EPERM"));
        assert_eq!(filter.set, ["mount", "@docker/default-blacklist"]);
        for (wrong, why) in [
            ("mount", "invalid seccomp mode"),
            ("mode=kill,mount", "invalid seccomp mode"),
            ("mode=retain,colour=red,mount", "invalid seccomp command-line override"),
            ("mode=retain", "set must be non-empty"),
            ("mode=retain,errno=eperm,mount", "errno must be an upper case string"),
        ] {
            assert!(parse_seccomp(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }

    #[test]
    fn capabilities_have_their_whole_names() {
        assert_eq!(parse_capabilities("CAP_KILL,CAP_CHOWN").unwrap().0, ["CAP_KILL", "CAP_CHOWN"]);
        for wrong in ["", "CAP_KILL,", "kill", "CAP_", "CAP_kill"] {
            assert!(parse_capabilities(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_stay_in_their_ranges() {
        assert_eq!((parse_cpu_shares("2"), parse_cpu_shares("262144")), (Ok(2), Ok(262_144)));
        assert_eq!(
            parse_cpu_shares("1").unwrap_err(),
            "os/linux/cpu-shares must be between 2 and 262144, got 1"
        );
        assert_eq!(parse_oom_score_adj("-1000"), Ok(-1000));
        assert_eq!(
            parse_oom_score_adj("1001").unwrap_err(),
            "os/linux/oom-score-adj must be between -1000 and 1000, got 1001"
        );
        assert!(parse_cpu_shares("many").is_err());
    }
}
