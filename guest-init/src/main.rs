//! PID 1 of a pod's VM.

fn main() {}
