//! rkt stage1: runs a pod in a virtual machine.
//!
//! Responsible for: starting what the library does. Must not know: entrypoints. Follows rkt-reference 4.1.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage1::main()
}
