use super::program::{Action, compile};

/// Runs a program as the kernel would, for the few instructions there are.
pub fn run(program: &[u8], architecture: u32, number: u32) -> u32 {
    let mut instructions = program.chunks_exact(8);
    let mut accumulator = 0;
    loop {
        let bytes = instructions.next().expect("a program ends with a return");
        let code = u16::from_le_bytes([bytes[0], bytes[1]]);
        let operand = u32::from_le_bytes(bytes[4..].try_into().unwrap());
        let skip = |holds: bool| usize::from(if holds { bytes[2] } else { bytes[3] });
        let skipped = match (code, operand) {
            (0x20, 0) => {
                accumulator = number;
                0
            }
            (0x20, 4) => {
                accumulator = architecture;
                0
            }
            (0x15, _) => skip(accumulator == operand),
            (0x35, _) => skip(accumulator >= operand),
            (0x06, answer) => return answer,
            (code, operand) => panic!("instruction {code:#x} {operand:#x}"),
        };
        for _ in 0..skipped {
            instructions.next().expect("a jump within the program");
        }
    }
}

pub const X86_64: u32 = 0xc000_003e;
pub const I386: u32 = 0x4000_0003;
pub const ALLOW: u32 = 0x7fff_0000;
pub const ERRNO: u32 = 0x0005_0000;
pub const KILL: u32 = 0x8000_0000;

#[test]
fn every_number_gets_the_answer_that_was_decided_for_it() {
    // No two neighbours alike: the longest program there can be.
    let decide = |number: u32| match number % 3 {
        0 => Action::Allow,
        1 => Action::Kill,
        _ => Action::Errno(u16::try_from(number).unwrap()),
    };

    let program = compile(500, decide);

    for number in 0..=501 {
        let expected = [ALLOW, KILL, ERRNO | number][usize::try_from(number % 3).unwrap()];
        assert_eq!(run(&program, X86_64, number), expected, "{number}");
    }
    assert_eq!(run(&program, X86_64, 0x3fff_ffff), run(&program, X86_64, 501));
    assert!(program.len() <= guest_api::MAX_FILTER_BYTES);
}

#[test]
fn calls_of_another_abi_kill_whatever_their_number() {
    let program = compile(500, |_| Action::Allow);

    assert_eq!(run(&program, X86_64, 0), ALLOW);
    assert_eq!(run(&program, I386, 0), KILL);
    for number in [0x4000_0000, 0x4000_0001, 0x8000_0000, u32::MAX] {
        assert_eq!(run(&program, X86_64, number), KILL, "{number:#x}");
    }
}
