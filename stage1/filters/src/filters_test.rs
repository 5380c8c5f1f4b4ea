use syscalls::Sysno;

use super::program::{Argument, Rule, Verdict, length, write};
use super::{DEVICES, FILE_SERVER, Filter, PORT_FORWARDER, VCPU};

const ALL: [&Filter; 4] = [&VCPU, &DEVICES, &FILE_SERVER, &PORT_FORWARDER];

/// What the kernel is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Refused,
    Failed,
    Killed,
}

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// Runs a program as the kernel does.
fn run(program: &[libc::sock_filter], architecture: u32, call: u32, arguments: [u32; 6]) -> Outcome {
    let (mut accumulator, mut at) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let mut jump =
            |condition: bool| at += usize::from(if condition { instruction.jt } else { instruction.jf });
        match instruction.code {
            0x20 => {
                accumulator = match instruction.k {
                    0 => call,
                    4 => architecture,
                    offset => arguments[(offset as usize - 16) / 8],
                }
            }
            0x05 => at += instruction.k as usize,
            0x35 => jump(accumulator >= instruction.k),
            0x15 => jump(accumulator == instruction.k),
            0x45 => jump(accumulator & instruction.k != 0),
            0x06 => {
                return match instruction.k >> 16 {
                    0x7fff => Outcome::Allowed,
                    0x0003 => Outcome::Refused,
                    0x0005 => Outcome::Failed,
                    0x8000 => Outcome::Killed,
                    other => panic!("answer {other:#x}"),
                };
            }
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// A call that each alternative of the rules is for, in their order.
fn examples(rules: &[Rule]) -> Vec<(u32, [u32; 6], Verdict)> {
    let mut examples = Vec::new();
    for rule in rules {
        let call = rule.call as u32;
        match rule.argument {
            Some(Argument::Among { index, values, .. }) => {
                for value in values {
                    let mut arguments = [0; 6];
                    arguments[index as usize] = *value;
                    examples.push((call, arguments, rule.verdict));
                }
            }
            Some(Argument::Without { .. }) | None => examples.push((call, [0; 6], rule.verdict)),
        }
    }
    examples
}

fn expected(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Allowed => Outcome::Allowed,
        Verdict::Fails(_) => Outcome::Failed,
    }
}

#[test]
fn each_filter_allows_what_its_table_lists() {
    for filter in ALL {
        for (call, arguments, verdict) in examples(filter.rules) {
            assert_eq!(
                run(filter.program, X86_64, call, arguments),
                expected(verdict),
                "{} {call}",
                filter.name
            );
        }
    }
}

#[test]
fn each_filter_refuses_every_call_that_is_not_listed() {
    for filter in ALL {
        for call in 0..1024 {
            if filter.rules.iter().any(|rule| rule.call == i64::from(call)) {
                continue;
            }
            assert_eq!(run(filter.program, X86_64, call, [0; 6]), Outcome::Refused, "{} {call}", filter.name);
        }
    }
}

#[test]
fn arguments_that_are_not_listed_are_refused() {
    for filter in ALL {
        for rule in filter.rules {
            let call = rule.call as u32;
            match rule.argument {
                Some(Argument::Among { index, values, .. }) => {
                    for value in (0..512)
                        .chain([u32::MAX, 0x4020_ae46, 0xae01])
                        .filter(|value| !values.contains(value))
                    {
                        let mut arguments = values.first().map_or([0; 6], |value| [*value; 6]);
                        arguments[index as usize] = value;
                        let outcome = run(filter.program, X86_64, call, arguments);
                        assert_eq!(outcome, Outcome::Refused, "{} {call} {value:#x}", filter.name);
                    }
                }
                Some(Argument::Without { index, bits }) => {
                    let mut arguments = [0; 6];
                    arguments[index as usize] = bits | 3;
                    assert_eq!(run(filter.program, X86_64, call, arguments), Outcome::Refused, "{call}");
                }
                None => {}
            }
        }
    }
}

#[test]
fn calls_of_other_architectures_end_the_process() {
    for filter in ALL {
        assert_eq!(run(filter.program, I386, libc::SYS_write as u32, [0; 6]), Outcome::Killed);
        assert_eq!(
            run(filter.program, X86_64, libc::SYS_write as u32 | 0x4000_0000, [0; 6]),
            Outcome::Refused
        );
    }
}

/// Taking one away changes the answer to what it is for, and to nothing else.
#[test]
fn each_alternative_decides_about_one_call() {
    for filter in ALL {
        let examples = examples(filter.rules);
        assert_eq!(examples.len(), filter.alternatives().len());
        for omitted in 0..examples.len() {
            let mut program = vec![libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; length(filter.rules)];
            write(filter.rules, Some(omitted), &mut program);
            for (number, (call, arguments, verdict)) in examples.iter().enumerate() {
                let outcome = run(&program, X86_64, *call, *arguments);
                let wanted = if number == omitted { Outcome::Refused } else { expected(*verdict) };
                assert_eq!(outcome, wanted, "{}: {call} without alternative {omitted}", filter.name);
            }
        }
    }
}

#[test]
fn no_call_is_listed_twice_and_each_has_a_reason() {
    for filter in ALL {
        for (index, rule) in filter.rules.iter().enumerate() {
            assert!(!rule.why.is_empty());
            assert!(filter.rules[..index].iter().all(|earlier| earlier.call != rule.call), "{}", rule.why);
        }
    }
}

#[test]
fn a_virtual_cpu_makes_twelve_calls_at_most() {
    assert!(VCPU.rules.len() <= 12);
}

#[test]
fn memory_that_holds_code_can_be_made_by_nobody() {
    for filter in ALL {
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            let outcome = run(filter.program, X86_64, call as u32, [0, 0, 7, 0, 0, 0]);
            assert_eq!(outcome, Outcome::Refused, "{} {call}", filter.name);
        }
    }
}

/// What leads out of a jail if anything does.
#[test]
fn nobody_may_start_programs_trace_mount_or_change_name_spaces() {
    use Sysno::*;
    let never = [
        execve,
        execveat,
        fork,
        vfork,
        ptrace,
        process_vm_readv,
        process_vm_writev,
        kill,
        pidfd_open,
        pidfd_send_signal,
        pidfd_getfd,
        mount,
        umount2,
        pivot_root,
        chroot,
        open_tree,
        move_mount,
        fsopen,
        fsmount,
        mount_setattr,
        setns,
        unshare,
        bpf,
        perf_event_open,
        userfaultfd,
        io_uring_setup,
        keyctl,
        add_key,
        kexec_load,
        init_module,
        finit_module,
        open_by_handle_at,
        name_to_handle_at,
        rt_sigaction,
        seccomp,
        memfd_create,
        socketpair,
        listen,
        personality,
        modify_ldt,
        arch_prctl,
        acct,
        quotactl,
        swapon,
        reboot,
    ];
    for filter in ALL {
        for call in never {
            let outcome = run(filter.program, X86_64, call.id() as u32, [0; 6]);
            assert_eq!(outcome, Outcome::Refused, "{} {call}", filter.name);
        }
    }
}

#[test]
fn only_the_port_forwarder_makes_sockets_and_threads() {
    for filter in [&VCPU, &DEVICES, &FILE_SERVER] {
        for call in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_clone, libc::SYS_clone3] {
            assert_eq!(
                run(filter.program, X86_64, call as u32, [2, 1, 0, 0, 0, 0]),
                Outcome::Refused,
                "{call}"
            );
        }
    }
    let socket = |family: i32| {
        run(PORT_FORWARDER.program, X86_64, libc::SYS_socket as u32, [family as u32, 1, 0, 0, 0, 0])
    };
    assert_eq!(socket(libc::AF_INET6), Outcome::Allowed);
    for family in [libc::AF_UNIX, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG] {
        assert_eq!(socket(family), Outcome::Refused, "{family}");
    }
}

#[test]
fn a_lost_port_forwarder_has_no_connection_that_landlock_does_not_see() {
    let mut program = vec![libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; length(PORT_FORWARDER.rules)];
    write(PORT_FORWARDER.rules, None, &mut program);
    let socket = |family: i32, protocol: i32| {
        let arguments = [family as u32, libc::SOCK_STREAM as u32, protocol as u32, 0, 0, 0];
        run(&program, X86_64, libc::SYS_socket as u32, arguments)
    };
    let send = |flags: i32| run(&program, X86_64, libc::SYS_sendto as u32, [5, 0, 1, flags as u32, 0, 0]);

    assert_eq!(socket(libc::AF_INET6, 0), Outcome::Allowed);
    assert_eq!(socket(libc::AF_INET, libc::IPPROTO_MPTCP), Outcome::Refused);
    assert_eq!(socket(libc::AF_UNIX, 0), Outcome::Refused);
    assert_eq!(send(libc::MSG_NOSIGNAL), Outcome::Allowed);
    assert_eq!(send(libc::MSG_NOSIGNAL | libc::MSG_FASTOPEN), Outcome::Refused);
}
