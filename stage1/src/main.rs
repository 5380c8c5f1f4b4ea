//! rkt stage1: runs a pod in a virtual machine.

fn main() {}
