//! Which of the messages that scripts look for the tests assert.
//!
//! Responsible for: the list, and finding each of them in the tests' sources. Must not know: when rkt says what. Follows
//! rkt's command-line reference, "Frequently matched output strings".

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::tally::Tally;
use crate::workspace;

/// Where tests are: the end-to-end suites, and what lies beside the code.
const SOURCES: &[&str] = &["tests/tests", "stage0/src", "stage1/src"];

/// Text that scripts look for, without what differs from pod to pod.
const MESSAGES: &[&str] = &[
    "no command specified, assuming",
    "cannot run as unprivileged user",
    "is already stopped",
    "is not prepared",
    "Garbage collecting pod",
    "to garbage",
    "signature verified:",
    "disabling overlay support:",
    "successfully removed aci for image:",
    "dangling mount point",
    "no volume specified for mount point",
    "target file exists (try --overwrite)",
    "pod is not exited. Only exited pods can be exported",
    "pod contains multiple apps:",
    "specify app using",
    "flavor kvm requires private network configuration (try --net)",
    "flavor kvm requires private IPC namespace (try to remove --ipc)",
    "state=",
    "created=",
    "started=",
    "networks=",
    "pid=",
    "exited=",
    "app-app=",
];

/// Messages of rkt 1.30 that this rkt has no occasion for, and why.
const NOT_OURS: &[(&str, &str)] = &[
    (
        "signature verification for docker images is not supported",
        "it is supported: what lacks a signature is refused with the name of what was looked for",
    ),
    (
        "flag --private-users cannot be used with an lkvm stage1",
        "every pod has user ids of its own, so the flag is accepted",
    ),
];

/// A message that no test asserts is a failure.
pub(crate) fn judge() -> Result<Tally> {
    let mut tests = String::new();
    for directory in SOURCES {
        collect(&workspace::root().join(directory), &mut tests)?;
    }
    let missing = missing(&tests);
    let found = MESSAGES.len().saturating_sub(missing.len());
    println!("  {found} of {} messages that scripts look for are asserted by tests", MESSAGES.len());
    for (message, reason) in NOT_OURS {
        println!("  not ours: {message:?}: {reason}");
    }
    let mut tally = Tally::default();
    for message in missing {
        println!("  FAILED  no test asserts {message:?}");
        tally += Tally::of(false);
    }
    Ok(tally)
}

fn missing(tests: &str) -> Vec<&'static str> {
    MESSAGES.iter().copied().filter(|message| !tests.contains(message)).collect()
}

/// Appends every file of tests below a directory.
fn collect(directory: &Path, text: &mut String) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let path = entry.context("cannot list the tests")?.path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            collect(&path, text)?;
        } else if name.ends_with("_test.rs") || (name.contains("/tests/tests/") && name.ends_with(".rs")) {
            let source = fs::read_to_string(&path);
            text.push_str(&source.with_context(|| format!("cannot read {}", path.display()))?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::{MESSAGES, missing};

    #[test]
    fn a_message_is_asserted_when_a_test_quotes_it() {
        assert_eq!(missing(""), MESSAGES);
        assert!(!missing("expect_err(\"pod x is already stopped\")").contains(&"is already stopped"));
    }
}
