//! rkt stage0: images, trust, store and pods on disk.

fn main() {}
