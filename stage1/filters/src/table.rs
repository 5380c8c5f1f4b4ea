//! Which system calls each kind of thread may make: the one table that all filters come from.
//!
//! Responsible for: the lists, with the reason for each entry. Must not know: how they are enforced. Follows seccomp(2);
//! docs/threat-model.md, "System calls".
//!
//! A list holds what a thread does after it has been confined. What it does before, like starting threads and mapping the guest's
//! memory, is not in it. Arguments are compared in their lower 32 bits, which is all that the kernel looks at in those listed here.

use super::program::{Argument, Rule, Spare, Verdict};

const fn always(call: libc::c_long, why: &'static str) -> Rule {
    Rule { call, argument: None, verdict: Verdict::Allowed, why, spare: Spare::None }
}

/// Only if the argument is one of these.
const fn among(call: libc::c_long, index: u32, values: &'static [u32], why: &'static str) -> Rule {
    Rule {
        call,
        argument: Some(Argument::Among { index, values, zero: None }),
        verdict: Verdict::Allowed,
        why,
        spare: Spare::None,
    }
}

/// Only if another argument is 0, too.
const fn with_zero(other: u32, rule: Rule) -> Rule {
    match rule.argument {
        Some(Argument::Among { index, values, .. }) => {
            Rule { argument: Some(Argument::Among { index, values, zero: Some(other) }), ..rule }
        }
        _ => rule,
    }
}

/// Only if the argument has none of these bits.
const fn without(call: libc::c_long, index: u32, bits: u32, why: &'static str) -> Rule {
    Rule {
        call,
        argument: Some(Argument::Without { index, bits }),
        verdict: Verdict::Allowed,
        why,
        spare: Spare::None,
    }
}

/// Fails as on a kernel that does not know the call.
const fn unknown(call: libc::c_long, why: &'static str) -> Rule {
    Rule { call, argument: None, verdict: Verdict::Fails(libc::ENOSYS as u16), why, spare: Spare::None }
}

/// The test that takes rules away does not see it used: what it is for depends on the host, or happens too rarely.
const fn spare(rule: Rule) -> Rule {
    Rule { spare: Spare::All, ..rule }
}

/// The same of some values of the argument.
const fn spare_values(values: &'static [u32], rule: Rule) -> Rule {
    Rule { spare: Spare::Values(values), ..rule }
}

/// The number of an ioctl(2) request, as `asm-generic/ioctl.h` composes it.
const fn request(direction: u32, kind: u8, number: u8, bytes: u32) -> u32 {
    direction << 30 | bytes << 16 | (kind as u32) << 8 | number as u32
}
const NONE: u32 = 0;
const TO_KERNEL: u32 = 1;
const FROM_KERNEL: u32 = 2;

/// `linux/kvm.h`.
const KVM: u8 = 0xae;
const KVM_RUN: u32 = request(NONE, KVM, 0x80, 0);
const KVM_KVMCLOCK_CTRL: u32 = request(NONE, KVM, 0xad, 0);
const KVM_SET_GSI_ROUTING: u32 = request(TO_KERNEL, KVM, 0x6a, 8);
const KVM_GET_REGS: u32 = request(FROM_KERNEL, KVM, 0x81, 144);
const KVM_GET_SREGS: u32 = request(FROM_KERNEL, KVM, 0x83, 312);

/// `linux/vhost.h`, and what a card with several queues is told.
const VHOST: u8 = 0xaf;
const SPARE_REQUESTS: [u32; 10] = [
    request(TO_KERNEL, VHOST, 0x00, 8),
    request(NONE, VHOST, 0x01, 0),
    request(TO_KERNEL, VHOST, 0x03, 8),
    request(TO_KERNEL, VHOST, 0x10, 8),
    request(TO_KERNEL, VHOST, 0x11, 40),
    request(TO_KERNEL, VHOST, 0x12, 8),
    request(TO_KERNEL, VHOST, 0x20, 8),
    request(TO_KERNEL, VHOST, 0x21, 8),
    request(TO_KERNEL, VHOST, 0x30, 8),
    libc::TUNSETQUEUE as u32,
];

/// All that the device thread asks for.
const DEVICE_REQUESTS: [u32; 12] = {
    let [a, b, c, d, e, f, g, h, i, j] = SPARE_REQUESTS;
    [libc::TUNSETOFFLOAD as u32, libc::FIONBIO as u32, a, b, c, d, e, f, g, h, i, j]
};

/// `asm-generic/mman-common.h`.
const PROT_EXEC: u32 = libc::PROT_EXEC as u32;

/// futex(2) as the standard library and glibc use it: waiting and waking within the process.
const FUTEX_WAIT: u32 = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u32;
const FUTEX_WAKE: u32 = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u32;
const FUTEX_WAIT_BITSET: u32 = (libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG) as u32;
const FUTEX: &[u32] = &[FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET];

/// The same, and glibc's way to wait for the end of a thread, which the kernel tells and is therefore not private.
const THREADS_FUTEX: &[u32] = &[
    FUTEX_WAIT,
    FUTEX_WAKE,
    FUTEX_WAIT_BITSET,
    (libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME) as u32,
];

/// How the device thread may have itself scheduled: as any thread is, or with more patience.
const PATIENCE: &[u32] = &[libc::SCHED_OTHER as u32, libc::SCHED_BATCH as u32];

/// A thread that runs a virtual CPU: hostile code, one exit away.
pub const VCPU: &[Rule] = &[
    // The last ones are for a process that was stopped and for a triple fault.
    spare_values(
        &[KVM_KVMCLOCK_CTRL, KVM_GET_REGS, KVM_GET_SREGS],
        among(
            libc::SYS_ioctl,
            1,
            &[KVM_RUN, KVM_SET_GSI_ROUTING, KVM_KVMCLOCK_CTRL, KVM_GET_REGS, KVM_GET_SREGS],
            "entering the guest, the I/O APIC's routes, excusing a pause, and saying where a guest that crashed was",
        ),
    ),
    // Two threads seldom want the same lock at once, and the allocator's seldom.
    spare_values(
        &[FUTEX_WAIT, FUTEX_WAKE],
        among(libc::SYS_futex, 1, FUTEX, "locks of devices, and waiting for the device thread"),
    ),
    always(libc::SYS_write, "interrupts and notifications by event descriptor, the serial port, last words"),
    spare(always(libc::SYS_rt_sigreturn, "after the signal that makes it leave the guest")),
    spare(always(libc::SYS_brk, "small memory for calls to the device thread and for last words")),
    spare(without(libc::SYS_mmap, 2, PROT_EXEC, "the same where the heap cannot grow")),
    spare(always(libc::SYS_munmap, "and giving it back")),
    spare(always(libc::SYS_clock_gettime, "log limits, where the host's clock takes a system call")),
];

/// The VMM's first thread, which serves the devices.
pub const DEVICES: &[Rule] = &[
    always(libc::SYS_epoll_wait, "waiting for the guest's notifications and the host's news"),
    always(libc::SYS_read, "event descriptors, the guest's streams"),
    always(libc::SYS_write, "interrupts, the guest's streams, the report at the end"),
    always(libc::SYS_readv, "frames from the network"),
    always(libc::SYS_writev, "frames to the network"),
    // It wakes virtual CPUs; that it has to wait for one is rare.
    spare_values(
        &[FUTEX_WAIT, FUTEX_WAIT_BITSET],
        among(libc::SYS_futex, 1, FUTEX, "locks of devices, and answers to virtual CPUs"),
    ),
    always(libc::SYS_sendmsg, "telling the file server where the guest's queues are"),
    always(libc::SYS_recvmsg, "its answers"),
    spare(always(libc::SYS_recvfrom, "noticing that it has gone")),
    // Guests that change the number of their queues, and `--hypervisor-options=vhost-net`, are not in the test of rules.
    spare_values(
        &SPARE_REQUESTS,
        among(
            libc::SYS_ioctl,
            1,
            &DEVICE_REQUESTS,
            "what the guest's driver chose of a network card, streams that block at the end, cards that the host's kernel serves",
        ),
    ),
    always(libc::SYS_epoll_ctl, "a stream that ends"),
    spare(always(libc::SYS_shutdown, "a direction of a stream that ends")),
    spare(always(libc::SYS_close, "a stream that has ended")),
    among(
        libc::SYS_fallocate,
        1,
        &[(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32],
        "memory that the guest gives back",
    ),
    always(libc::SYS_getrandom, "the entropy device"),
    spare(among(
        libc::SYS_sched_setscheduler,
        1,
        PATIENCE,
        "leaving the processor to who sends a stream of frames that nobody waits for",
    )),
    spare(always(libc::SYS_timerfd_settime, "network cards that have limits")),
    spare(among(
        libc::SYS_setsockopt,
        1,
        &[libc::SOL_SOCKET as u32],
        "how long a slow reader is waited for at the end",
    )),
    spare(always(
        libc::SYS_tgkill,
        "the signal that makes virtual CPUs leave the guest; the process sees only itself",
    )),
    spare(among(libc::SYS_fcntl, 1, &[libc::F_DUPFD_CLOEXEC as u32], "cards that the host's kernel serves")),
    spare(always(libc::SYS_getpid, "the same, as glibc does it")),
    spare(always(libc::SYS_rt_sigprocmask, "the same, as glibc does it")),
    spare(always(libc::SYS_clock_nanosleep, "between two of them")),
    spare(always(libc::SYS_restart_syscall, "waiting on after the process was stopped and continued")),
    spare(always(libc::SYS_rt_sigreturn, "after a signal that was meant for a virtual CPU")),
    spare(always(libc::SYS_brk, "memory")),
    spare(without(libc::SYS_mmap, 2, PROT_EXEC, "large memory: buffers of streams")),
    spare(always(libc::SYS_mremap, "memory that grows")),
    spare(always(libc::SYS_munmap, "memory that is given back")),
    spare(always(libc::SYS_clock_gettime, "timers, where the host's clock takes a system call")),
    spare(always(libc::SYS_exit_group, "the end")),
];

/// The bit that devices have in the type of their mode, and pipes, sockets and files have not.
const DEVICE: u32 = libc::S_IFCHR;

/// The file server. It does for the guest what a program does with files; what it can reach is limited by its root directory.
pub const FILE_SERVER: &[Rule] = &[
    always(libc::SYS_ppoll, "waiting for the guest and the VMM"),
    always(libc::SYS_read, "event descriptors"),
    always(libc::SYS_write, "interrupts, the report at the end"),
    always(libc::SYS_sendmsg, "answers to the VMM"),
    always(libc::SYS_recvmsg, "the VMM's requests"),
    // Names.
    always(libc::SYS_openat, "files, below a directory that is open"),
    always(libc::SYS_openat2, "the same, never out of the tree"),
    always(libc::SYS_statx, "attributes"),
    always(libc::SYS_readlinkat, "symbolic links"),
    always(libc::SYS_getdents64, "directories"),
    always(libc::SYS_mkdirat, "directories"),
    without(
        libc::SYS_mknodat,
        2,
        DEVICE,
        "pipes, sockets and files; devices are asked for in the handler of the refusal",
    ),
    always(libc::SYS_rt_sigreturn, "going on after that"),
    always(libc::SYS_symlinkat, "symbolic links"),
    always(libc::SYS_linkat, "links"),
    always(libc::SYS_unlinkat, "removing"),
    always(libc::SYS_renameat2, "renaming with conditions"),
    // Contents.
    always(libc::SYS_preadv2, "reading"),
    always(libc::SYS_pwritev2, "writing"),
    always(libc::SYS_lseek, "holes, positions in directories"),
    spare(always(libc::SYS_copy_file_range, "copying")),
    always(libc::SYS_ftruncate, "sizes"),
    always(libc::SYS_fallocate, "space"),
    always(libc::SYS_fsync, "to the disk"),
    always(libc::SYS_fdatasync, "to the disk"),
    spare(always(libc::SYS_syncfs, "to the disk")),
    spare(always(libc::SYS_fstatfs, "space left")),
    always(libc::SYS_dup, "the close of one of several"),
    always(libc::SYS_close, "closing"),
    among(libc::SYS_fcntl, 1, &[libc::F_DUPFD_CLOEXEC as u32], "a second descriptor"),
    // Attributes.
    always(libc::SYS_fchmod, "modes"),
    always(libc::SYS_fchmodat, "modes"),
    always(libc::SYS_fchownat, "owners"),
    always(libc::SYS_utimensat, "times"),
    always(libc::SYS_fgetxattr, "extended attributes"),
    always(libc::SYS_fsetxattr, "extended attributes"),
    always(libc::SYS_flistxattr, "extended attributes"),
    always(libc::SYS_fremovexattr, "extended attributes"),
    always(libc::SYS_getxattr, "extended attributes of what cannot be opened"),
    spare(always(libc::SYS_setxattr, "extended attributes of what cannot be opened")),
    spare(always(libc::SYS_listxattr, "extended attributes of what cannot be opened")),
    spare(always(libc::SYS_removexattr, "extended attributes of what cannot be opened")),
    always(libc::SYS_fchdir, "the way to what cannot be opened"),
    always(libc::SYS_umask, "the mode that was asked for and no other"),
    // Whose files they are.
    always(libc::SYS_setresuid, "files of the guest's users"),
    always(libc::SYS_setresgid, "files of the guest's users"),
    always(libc::SYS_setgroups, "files of the guest's users"),
    always(libc::SYS_geteuid, "files of the guest's users"),
    always(libc::SYS_getegid, "files of the guest's users"),
    always(libc::SYS_capget, "writing as somebody who may not keep set-ID bits"),
    always(libc::SYS_capset, "writing as somebody who may not keep set-ID bits"),
    always(libc::SYS_gettid, "writing as somebody who may not keep set-ID bits"),
    among(
        libc::SYS_prctl,
        0,
        &[libc::PR_CAPBSET_READ as u32, libc::PR_CAP_AMBIENT as u32],
        "which capabilities there are",
    ),
    // Memory.
    spare(always(libc::SYS_brk, "memory")),
    without(libc::SYS_mmap, 2, PROT_EXEC, "large memory, the guest's memory"),
    spare(always(libc::SYS_mremap, "memory that grows")),
    spare(always(libc::SYS_munmap, "memory that is given back")),
    spare(always(libc::SYS_madvise, "memory that is given back")),
    spare(among(libc::SYS_futex, 1, FUTEX, "locks")),
    spare(always(libc::SYS_getrandom, "keys of hash tables")),
    spare(always(libc::SYS_clock_gettime, "where the host's clock takes a system call")),
    spare(always(libc::SYS_restart_syscall, "waiting on after the process was stopped and continued")),
    spare(always(libc::SYS_exit_group, "the end")),
];

/// The process that makes device nodes: one call, for whoever asks on its socket.
pub const DEVICE_NODES: &[Rule] = &[
    always(libc::SYS_recvmsg, "what is wanted, and where"),
    always(libc::SYS_fstatfs, "whether a device can be opened there"),
    always(libc::SYS_setresgid, "of which group it is to be"),
    always(libc::SYS_umask, "the mode that was asked for and no other"),
    always(libc::SYS_mknodat, "making it"),
    always(libc::SYS_close, "letting go of the directory"),
    spare(among(libc::SYS_fcntl, 1, &[libc::F_GETFD as u32], "the same, in a build with debug assertions")),
    always(libc::SYS_sendmsg, "the answer"),
    spare(always(libc::SYS_write, "the report at the end")),
    spare(always(libc::SYS_brk, "memory for the report")),
    spare(without(libc::SYS_mmap, 2, PROT_EXEC, "the same where the heap cannot grow")),
    spare(always(libc::SYS_munmap, "and giving it back")),
    spare(always(libc::SYS_restart_syscall, "waiting on after the process was stopped and continued")),
    spare(always(libc::SYS_exit_group, "the end")),
];

/// glibc's flags for a thread of the same process: nothing of its own but its stack and registers.
const THREAD: u32 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u32;

/// Reaching the pod and being reached.
const INTERNET: &[u32] = &[libc::AF_INET as u32, libc::AF_INET6 as u32];

/// The process that forwards ports, all of its threads: two for each connection, which come and go.
pub const PORT_FORWARDER: &[Rule] = &[
    always(libc::SYS_ppoll, "waiting for callers"),
    always(libc::SYS_poll, "waiting for the pod's answer"),
    always(libc::SYS_accept4, "callers"),
    // Ports of MPTCP are not Landlock's.
    with_zero(2, among(libc::SYS_socket, 0, INTERNET, "a connection to the pod")),
    always(libc::SYS_connect, "a connection to the pod"),
    always(libc::SYS_bind, "a socket for the answers to one caller"),
    always(libc::SYS_getsockopt, "whether the pod has answered"),
    always(libc::SYS_setsockopt, "no delay, and noticing who has gone"),
    always(libc::SYS_getsockname, "the family of a socket"),
    among(libc::SYS_ioctl, 1, &[libc::FIONBIO as u32], "whether a socket blocks"),
    among(
        libc::SYS_fcntl,
        1,
        &[libc::F_DUPFD_CLOEXEC as u32],
        "a second descriptor, for the other direction",
    ),
    always(libc::SYS_recvfrom, "what came"),
    // That connects, too, and Landlock is not asked.
    without(libc::SYS_sendto, 3, libc::MSG_FASTOPEN as u32, "passing it on"),
    always(libc::SYS_read, "what came"),
    spare(always(libc::SYS_write, "last words")),
    always(libc::SYS_shutdown, "the end of a direction"),
    always(libc::SYS_close, "the end of a connection"),
    unknown(libc::SYS_clone3, "its flags are in memory, where a filter cannot look; glibc then uses clone"),
    among(libc::SYS_clone, 0, &[THREAD], "a thread"),
    always(libc::SYS_set_robust_list, "a thread begins"),
    always(libc::SYS_rseq, "a thread begins"),
    always(libc::SYS_sigaltstack, "a thread begins and ends"),
    always(libc::SYS_rt_sigprocmask, "a thread begins and ends"),
    always(libc::SYS_sched_getaffinity, "where the stack of a thread is"),
    always(libc::SYS_gettid, "a thread begins"),
    always(libc::SYS_madvise, "a thread ends"),
    always(libc::SYS_exit, "a thread ends"),
    // Two threads seldom want the same lock at once.
    spare_values(FUTEX, among(libc::SYS_futex, 1, THREADS_FUTEX, "locks, and waiting for a thread")),
    spare(always(libc::SYS_brk, "memory")),
    without(libc::SYS_mmap, 2, PROT_EXEC, "memory, stacks"),
    without(libc::SYS_mprotect, 2, PROT_EXEC, "heaps and stacks of threads"),
    spare(always(libc::SYS_mremap, "memory that grows")),
    always(libc::SYS_munmap, "memory that is given back"),
    spare(always(libc::SYS_getrandom, "the allocator's secret")),
    spare(always(libc::SYS_clock_gettime, "where the host's clock takes a system call")),
    spare(always(libc::SYS_restart_syscall, "waiting on after the process was stopped and continued")),
    spare(always(libc::SYS_exit_group, "the end")),
];
