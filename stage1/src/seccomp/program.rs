//! A decision for every system call, as the program that the kernel runs.
//!
//! Responsible for: its instructions. Must not know: names of system calls, what is decided. Follows seccomp(2) and the
//! kernel's Documentation/userspace-api/seccomp_filter.rst. seccompiler knows two answers in a filter; these have three.

/// What the kernel does with a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Carries it out.
    Allow,
    /// Does not, and returns this error.
    Errno(u16),
    /// Kills the process, all of its threads, by SIGSYS.
    Kill,
}

/// `linux/audit.h`: what the kernel calls 64-bit calls of x86. 32-bit ones have another number.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Calls of the x32 ABI have this bit; so do numbers below zero.
const X32_BIT: u32 = 0x4000_0000;

/// Where `struct seccomp_data` has them.
const OFFSET_OF_NUMBER: u32 = 0;
const OFFSET_OF_ARCHITECTURE: u32 = 4;

/// `linux/bpf_common.h`: load a word of the data, compare with a constant, return a constant.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Compiles `decide`, which is asked for every number up to `last`, and once for all that follow. Calls of other ABIs kill.
///
/// Calls that are next to each other and decided alike share two instructions. The kernel remembers which calls are always
/// allowed, so the length of the program costs them nothing.
pub fn compile(last: u32, decide: impl Fn(u32) -> Action) -> Vec<u8> {
    let mut program = Vec::new();
    instruction(&mut program, LOAD, 0, 0, OFFSET_OF_ARCHITECTURE);
    instruction(&mut program, JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64);
    instruction(&mut program, RETURN, 0, 0, value(Action::Kill));
    instruction(&mut program, LOAD, 0, 0, OFFSET_OF_NUMBER);
    let mut ranges: Vec<(u32, Action)> = Vec::new();
    for number in 0..=last.saturating_add(1) {
        let action = decide(number);
        if ranges.last().is_none_or(|(_, before)| *before != action) {
            ranges.push((number, action));
        }
    }
    ranges.push((X32_BIT, Action::Kill));
    for (first, action) in ranges.into_iter().rev() {
        instruction(&mut program, JUMP_GREATER_OR_EQUAL, 0, 1, first);
        instruction(&mut program, RETURN, 0, 0, value(action));
    }
    // The kernel wants to see that a program ends.
    instruction(&mut program, RETURN, 0, 0, value(Action::Kill));
    program
}

/// `struct sock_filter`.
fn instruction(program: &mut Vec<u8>, code: u16, if_true: u8, if_false: u8, operand: u32) {
    program.extend(code.to_le_bytes());
    program.extend([if_true, if_false]);
    program.extend(operand.to_le_bytes());
}

/// `linux/seccomp.h`: SECCOMP_RET_ALLOW, _ERRNO and _KILL_PROCESS.
fn value(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(number) => 0x0005_0000 | u32::from(number),
        Action::Kill => 0x8000_0000,
    }
}
