//! Build step of this package.

fn main() {}
