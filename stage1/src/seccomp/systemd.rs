//! Sets of system calls that rkt took over from systemd.
//!
//! Responsible for: the names. Must not know: what a set is used for. Follows rkt-reference 6.9 and systemd.exec(5)
//! (SystemCallFilter=), brought up to Linux 6.12.

/// `@systemd/default-whitelist`, systemd's `@default`: what every allow-list has without saying so. A program can be
/// executed, ask who it is and what time it is, sleep, and end.
pub const DEFAULT: &str = "
    arch_prctl brk clock_getres clock_gettime clock_nanosleep execve exit exit_group futex futex_requeue futex_wait
    futex_waitv futex_wake get_robust_list get_thread_area getegid geteuid getgid getgroups getpgid getpgrp getpid
    getppid getrandom getresgid getresuid getrlimit getsid gettid gettimeofday getuid membarrier nanosleep pause
    prlimit64 restart_syscall rseq rt_sigreturn sched_getaffinity sched_yield set_robust_list set_thread_area
    set_tid_address sigreturn time ugetrlimit uretprobe";

/// `@systemd/clock`.
pub const CLOCK: &str = "adjtimex clock_adjtime clock_settime settimeofday stime";

/// `@systemd/mount`.
pub const MOUNT: &str = "
    chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root umount umount2";

/// `@systemd/network-io`.
pub const NETWORK_IO: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmsg send sendmmsg
    sendmsg sendto setsockopt shutdown socket socketcall socketpair";

/// `@systemd/obsolete`.
pub const OBSOLETE: &str = "
    _sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof profil putpmsg
    query_module security sgetmask ssetmask stime stty sysfs tuxcall ulimit uselib ustat vserver";

/// `@systemd/privileged`.
pub const PRIVILEGED: &str = "
    _sysctl acct adjtimex bpf capset chown chown32 chroot clock_adjtime clock_settime delete_module fanotify_init
    fanotify_mark fchown fchown32 fchownat finit_module init_module ioperm iopl kexec_file_load kexec_load lchown
    lchown32 nfsservctl open_by_handle_at pivot_root quotactl quotactl_fd reboot setdomainname setfsuid setfsuid32
    setgroups setgroups32 sethostname setresuid setresuid32 setreuid setreuid32 settimeofday setuid setuid32 stime
    swapoff swapon vhangup";

/// `@systemd/process`.
pub const PROCESS: &str = "
    arch_prctl capget clone clone3 execveat fork getrusage kill pidfd_open pidfd_send_signal prctl rt_sigqueueinfo
    rt_tgsigqueueinfo setns tgkill times tkill unshare vfork wait4 waitid waitpid";

/// `@systemd/raw-io`.
pub const RAW_IO: &str = "ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write";
