//! The one way to build, run, test and measure.

fn main() {}
