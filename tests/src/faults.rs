//! The build of the product that can be killed at labelled points of its life (`fault::point` in stage0 and stage1), and
//! the list of these points, taken from the source. `cargo xtask test` builds it into `target/faults`; what the product is
//! built from has none of it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dist;

/// How a point stands in the source, before its name.
const CALL: &str = "fault::point(\"";

/// A moment: the Nth time that a command gets to a point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The point's name.
    pub point: String,
    /// Which time, from 1.
    pub hit: usize,
}

impl Moment {
    /// Lets a command die at this moment.
    pub fn ends(&self, command: &mut Command) {
        command.env("RKT_FAULT_POINT", &self.point).env("RKT_FAULT_HIT", self.hit.to_string());
    }
}

/// A file of the build with points: `target/faults`, or the directory that `RKT_FAULTS` names.
///
/// # Panics
/// When it has not been built.
#[track_caller]
pub fn file(name: &str) -> PathBuf {
    let directory =
        env::var_os("RKT_FAULTS").map_or_else(|| dist::workspace().join("target/faults"), PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: `cargo xtask test host` builds it", path.display());
    path
}

/// The points in the source of a crate (`stage0`, `stage1`).
pub fn points(name: &str) -> BTreeSet<String> {
    let mut points = BTreeSet::new();
    collect(&dist::workspace().join(name).join("src"), &mut points);
    points
}

fn collect(directory: &Path, points: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("the source is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, points);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the source is text");
            // In a comment it is an example.
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                if let Some((_, rest)) = line.split_once(CALL) {
                    let (point, _) = rest.split_once('"').expect("a name on one line");
                    assert!(points.insert(point.to_owned()), "two points are called {point}");
                }
            }
        }
    }
}

/// Lets a command note the points that it passes.
pub fn trace(command: &mut Command, file: &Path) {
    command.env("RKT_FAULT_TRACE", file);
}

/// The moments of a command that was traced, in order.
pub fn traced(file: &Path) -> Vec<Moment> {
    let mut moments: Vec<Moment> = Vec::new();
    for point in fs::read_to_string(file).unwrap_or_default().lines() {
        let hit = 1 + moments.iter().filter(|moment| moment.point == point).count();
        moments.push(Moment { point: point.to_owned(), hit });
    }
    moments
}
