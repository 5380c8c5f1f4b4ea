//! A list of rules as the program that the kernel runs for every system call.
//!
//! Responsible for: its instructions, which the compiler computes, so that starting a pod costs no time for them. Must not know: which
//! calls are listed. Follows seccomp(2) and the kernel's Documentation/userspace-api/seccomp_filter.rst.
//!
//! A rule is found by halving the numbers. The kernel works out by itself which numbers are always allowed and runs nothing for them later; it
//! does so by running the program for every number there is, which takes a tenth of the time that it would if the rules were tried in turn.

/// What an argument has to be.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// One of these.
    Among {
        /// Which argument, from 0.
        index: u32,
        /// What it may be.
        values: &'static [u32],
        /// An argument that has to be 0 beside it.
        zero: Option<u32>,
    },
    /// Anything without these bits.
    Without {
        /// Which argument, from 0.
        index: u32,
        /// What it may not have.
        bits: u32,
    },
}

/// What becomes of a call that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Allowed,
    /// It fails with this error.
    Fails(u16),
}

/// One system call.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its number.
    pub call: libc::c_long,
    /// Of all calls of this number, those with such an argument. All others are refused.
    pub argument: Option<Argument>,
    /// What becomes of them.
    pub verdict: Verdict,
    /// What the thread does with it.
    pub why: &'static str,
    /// How much of it is for hosts and situations that tests do not make.
    pub spare: Spare,
}

/// What a pod gets by without, mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// Nothing of the rule.
    None,
    /// These values of the argument.
    Values(&'static [u32]),
    /// The whole rule.
    All,
}

/// `linux/audit.h`: what the kernel calls 64-bit calls of x86. 32-bit ones have another number; x32 ones have a bit in their
/// number that no rule has.
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Where `struct seccomp_data` has them.
const OFFSET_OF_NUMBER: u32 = 0;
const OFFSET_OF_ARCHITECTURE: u32 = 4;
const OFFSET_OF_ARGUMENTS: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

/// `linux/bpf_common.h`: load a word of the data, compare with a constant, return a constant.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// `linux/seccomp.h`. A refused call is not carried out, and the thread is sent SIGSYS, whose handler names the call and ends the
/// process; see [`super`].
const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0003_0000;
const FAIL: u32 = 0x0005_0000;
const KILL: u32 = 0x8000_0000;

/// The rule, or the alternative of one, that a program leaves out: all are numbered in the order of the table. For tests.
pub type Omitted = Option<usize>;

/// A value that an argument may have is one alternative, a rule without such values is one.
const fn alternatives_of(rule: &Rule) -> usize {
    match rule.argument {
        Some(Argument::Among { values, .. }) => values.len(),
        _ => 1,
    }
}

/// What every program begins with: architecture and number.
const PROLOGUE: usize = 4;

/// Most rules of a filter.
const MAX_RULES: usize = 128;

/// Instructions of the program for `rules`.
#[expect(clippy::indexing_slicing, reason = "as for `write`")]
pub const fn length(rules: &[Rule]) -> usize {
    let mut order = [0; MAX_RULES];
    let mut index = 0;
    while index < rules.len() {
        order[index] = index;
        index += 1;
    }
    PROLOGUE + length_between(rules, &order, 0, rules.len())
}

/// Of the part that decides between the rules from the one to before the other.
#[expect(clippy::indexing_slicing, reason = "as for `write`")]
const fn length_between(rules: &[Rule], order: &[usize; MAX_RULES], from: usize, to: usize) -> usize {
    if to - from == 1 {
        return length_of(&rules[order[from]]) + 1;
    }
    let middle = from + (to - from) / 2;
    2 + length_between(rules, order, from, middle) + length_between(rules, order, middle, to)
}

const fn length_of(rule: &Rule) -> usize {
    match rule.argument {
        None => 2,
        Some(Argument::Among { values, zero: None, .. }) => 4 + values.len(),
        Some(Argument::Among { values, zero: Some(_), .. }) => 7 + values.len(),
        Some(Argument::Without { .. }) => 5,
    }
}

/// The program. `N` is its [`length`].
pub const fn compile<const N: usize>(rules: &[Rule], omitted: Omitted) -> [libc::sock_filter; N] {
    let mut program = [instruction(RETURN, 0, 0, KILL); N];
    write(rules, omitted, &mut program);
    program
}

/// The same into a slice of that length.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler runs this; an index out of bounds is an error of the build"
)]
pub const fn write(rules: &[Rule], omitted: Omitted, program: &mut [libc::sock_filter]) {
    program[0] = instruction(LOAD, 0, 0, OFFSET_OF_ARCHITECTURE);
    program[1] = instruction(JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64);
    program[2] = instruction(RETURN, 0, 0, KILL);
    program[3] = instruction(LOAD, 0, 0, OFFSET_OF_NUMBER);
    write_between(rules, &by_number(rules), 0, rules.len(), omitted, program, PROLOGUE);
}

/// Indices of the rules in the order of their numbers.
#[expect(clippy::indexing_slicing, reason = "as for `write`")]
const fn by_number(rules: &[Rule]) -> [usize; MAX_RULES] {
    let mut order = [0; MAX_RULES];
    let mut count = 0;
    while count < rules.len() {
        let mut place = count;
        while place > 0 && rules[order[place - 1]].call > rules[count].call {
            order[place] = order[place - 1];
            place -= 1;
        }
        order[place] = count;
        count += 1;
    }
    order
}

/// Writes the part that decides between these rules. Returns where it ends.
#[expect(clippy::indexing_slicing, reason = "as for `write`")]
const fn write_between(
    rules: &[Rule],
    order: &[usize; MAX_RULES],
    from: usize,
    to: usize,
    omitted: Omitted,
    program: &mut [libc::sock_filter],
    at: usize,
) -> usize {
    if to - from == 1 {
        write_rule(rules, order[from], omitted, program, at);
        let end = at + length_of(&rules[order[from]]);
        program[end] = instruction(RETURN, 0, 0, REFUSE);
        return end + 1;
    }
    let middle = from + (to - from) / 2;
    let lower = length_between(rules, order, from, middle);
    program[at] = instruction(JUMP_GREATER_OR_EQUAL, 0, 1, rules[order[middle]].call as u32);
    program[at + 1] = instruction(JUMP, 0, 0, lower as u32);
    let at = write_between(rules, order, from, middle, omitted, program, at + 2);
    write_between(rules, order, middle, to, omitted, program, at)
}

#[expect(clippy::indexing_slicing, reason = "as for `write`")]
const fn write_rule(
    rules: &[Rule],
    index: usize,
    omitted: Omitted,
    program: &mut [libc::sock_filter],
    at: usize,
) {
    let rule = &rules[index];
    let alternative = first_alternative(rules, index);
    let passed = match rule.verdict {
        Verdict::Allowed => ALLOW,
        Verdict::Fails(errno) => FAIL | errno as u32,
    };
    let one = if left_out(omitted, alternative) { REFUSE } else { passed };
    program[at] = instruction(JUMP_EQUAL, 0, (length_of(rule) - 1) as u8, rule.call as u32);
    match rule.argument {
        None => program[at + 1] = instruction(RETURN, 0, 0, one),
        Some(Argument::Without { index, bits }) => {
            program[at + 1] = instruction(LOAD, 0, 0, OFFSET_OF_ARGUMENTS + ARGUMENT_BYTES * index);
            program[at + 2] = instruction(JUMP_ANY_BIT, 0, 1, bits);
            program[at + 3] = instruction(RETURN, 0, 0, REFUSE);
            program[at + 4] = instruction(RETURN, 0, 0, one);
        }
        Some(Argument::Among { index, values, zero }) => {
            let mut at = at;
            if let Some(zero) = zero {
                program[at + 1] = instruction(LOAD, 0, 0, OFFSET_OF_ARGUMENTS + ARGUMENT_BYTES * zero);
                program[at + 2] = instruction(JUMP_EQUAL, 1, 0, 0);
                program[at + 3] = instruction(RETURN, 0, 0, REFUSE);
                at += 3;
            }
            program[at + 1] = instruction(LOAD, 0, 0, OFFSET_OF_ARGUMENTS + ARGUMENT_BYTES * index);
            let mut value = 0;
            while value < values.len() {
                // To the last instruction of the rule, or to the next value.
                let passes = if left_out(omitted, alternative + value) { 0 } else { values.len() - value };
                program[at + 2 + value] = instruction(JUMP_EQUAL, passes as u8, 0, values[value]);
                value += 1;
            }
            program[at + 2 + value] = instruction(RETURN, 0, 0, REFUSE);
            program[at + 3 + value] = instruction(RETURN, 0, 0, passed);
        }
    }
}

/// The number of a rule's first alternative.
#[expect(clippy::indexing_slicing, reason = "as for `write`")]
const fn first_alternative(rules: &[Rule], rule: usize) -> usize {
    let mut count = 0;
    let mut index = 0;
    while index < rule {
        count += alternatives_of(&rules[index]);
        index += 1;
    }
    count
}

const fn left_out(omitted: Omitted, alternative: usize) -> bool {
    match omitted {
        Some(number) => number == alternative,
        None => false,
    }
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
