//! What a command may say on stderr when others work at the same pods, by rkt's reference (commands, pod states, garbage
//! collection, strings that scripts match).

use crate::command::Finished;
use crate::rkt::RKT_FAILED;

/// What starting a pod says.
const STARTED: &[&str] = &[
    "group \"rkt\" not found",
    "is not prepared",
    "no matches found",
    // Its preparation is over, and somebody else has removed it before it ran.
    "was removed",
    // Of our stage1.
    "loopback",
    "the pod was killed",
];

/// Parts of lines by command.
const KNOWN: &[(&str, &[&str])] = &[
    ("run", STARTED),
    ("prepare", STARTED),
    ("run-prepared", STARTED),
    // A pod that is being prepared has no creation time yet.
    (
        "list",
        &["error(s) encountered when listing pods", "invalid creation time", "---", "misc:", "appc version"],
    ),
    ("status", &["no matches found", "invalid creation time"]),
    ("stop", &["is not running", "no matches found", "failed to stop 1 pod(s)"]),
    (
        "rm",
        &[
            "is currently running",
            "is currently being prepared",
            "is currently being deleted",
            "no matches found",
            "failed to remove one or more pods",
        ],
    ),
    (
        "gc",
        &["moving pod", "moving failed prepare", "moving expired prepared pod", "still within grace period"],
    ),
    ("image", &["removed treestore", "successfully removed aci", "image(s) successfully removed"]),
];

/// Checks that a command says nothing on stderr but what the reference knows.
#[track_caller]
pub fn expect_known(command: &str, output: &Finished) {
    let known = KNOWN.iter().find(|(name, _)| *name == command).map_or(&[][..], |(_, known)| known);
    for line in output.err().lines() {
        assert!(known.iter().any(|part| line.contains(part)), "{command} said {line:?}: {output:?}");
    }
}

/// Checks that a command did its work, or said why not in words of the reference.
#[track_caller]
pub fn expect_done_or_refused(command: &str, output: &Finished) {
    expect_known(command, output);
    let refused = output.code() == RKT_FAILED && !output.stderr.is_empty();
    assert!(output.code() == 0 || refused, "{command}: {output:?}");
}
