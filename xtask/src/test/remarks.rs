//! Tests that somebody should look at: those that failed, and those that did only the first time.
//!
//! Responsible for their names from all runners, some of which are in machines, and for showing them at the end of a run. Must
//! not know: how tests are run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::workspace;

/// Failures up to which each gets a second try: more than that are no accident, and would take long.
pub(crate) const SECOND_TRIES: usize = 8;

fn path() -> PathBuf {
    workspace::target().join("test-remarks")
}

/// A run of tests begins.
pub(crate) fn begin() {
    // There may be none.
    let _ = fs::remove_file(path());
}

/// `name` failed, and when it was tried once more it did not, or did again.
pub(crate) fn tried_again(name: &str, passed: bool) {
    remark(name, if passed { "failed, and passed when it was run again" } else { "FAILED twice" });
}

/// `name` failed.
pub(crate) fn failed(name: &str) {
    remark(name, "FAILED");
}

/// One write each, since several runners append to the file at once.
fn remark(name: &str, what: &str) {
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path())
        .and_then(|mut file| file.write_all(format!("  {name}: {what}\n").as_bytes()));
    if let Err(error) = written {
        println!("  {name}: {what} (not kept for the end: {error})");
    }
}

/// Prints them all.
pub(crate) fn show() {
    print!("{}", fs::read_to_string(path()).unwrap_or_default());
}
