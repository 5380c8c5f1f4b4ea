//! Filters of system calls: what is left of the kernel for a process of the pod that was taken over.
//!
//! Responsible for: one filter for each kind of thread, and putting it around the calling thread for good. Must not know: what the
//! threads do. Follows seccomp(2); docs/threat-model.md, "System calls".
//!
//! The supervisor has none: it runs plugins and other programs of the host, whatever calls those make.

mod program;
mod table;

#[cfg(test)]
mod filters_test;

use std::io;

use program::{compile, length};

pub use program::{Argument, Rule, Spare, Verdict};

/// The filter of one kind of thread.
#[derive(Debug)]
pub struct Filter {
    /// Its name in tests.
    pub name: &'static str,
    /// What it was made from.
    pub rules: &'static [Rule],
    program: &'static [libc::sock_filter],
}

macro_rules! filter {
    ($name:literal, $rules:path) => {{
        const PROGRAM: [libc::sock_filter; length($rules)] = compile($rules, None);
        Filter { name: $name, rules: $rules, program: &PROGRAM }
    }};
}

/// Of a thread that runs a virtual CPU.
pub static VCPU: Filter = filter!("vcpu", table::VCPU);
/// Of the thread that serves a machine's devices.
pub static DEVICES: Filter = filter!("devices", table::DEVICES);
/// Of the file server.
pub static FILE_SERVER: Filter = filter!("file-server", table::FILE_SERVER);
/// Of the process that makes device nodes.
pub static DEVICE_NODES: Filter = filter!("device-nodes", table::DEVICE_NODES);
/// Of the process that forwards ports.
pub static PORT_FORWARDER: Filter = filter!("port-forwarder", table::PORT_FORWARDER);

/// One call that a filter lets through, with one value of the argument that it looks at.
#[derive(Clone, Copy, Debug)]
pub struct Alternative {
    /// Its rule.
    pub rule: &'static Rule,
    /// The value, where the rule names values.
    pub value: Option<u32>,
}

impl Alternative {
    /// Whether a pod may well do without it.
    pub fn is_spare(&self) -> bool {
        match self.rule.spare {
            Spare::None => false,
            Spare::Values(values) => self.value.is_some_and(|value| values.contains(&value)),
            Spare::All => true,
        }
    }
}

impl Filter {
    /// All alternatives, in the order in which they are numbered.
    pub fn alternatives(&self) -> Vec<Alternative> {
        let of = |rule: &'static Rule| match rule.argument {
            Some(Argument::Among { values, .. }) => values.iter().copied().map(Some).collect(),
            _ => vec![None],
        };
        let rules = self.rules.iter();
        rules.flat_map(|rule| of(rule).into_iter().map(move |value| Alternative { rule, value })).collect()
    }

    /// Instructions of its program, by which a trace tells which filter was put up.
    pub fn length(&self) -> usize {
        self.program.len()
    }

    /// Puts the filter around the calling thread and those that it starts. The thread has given up gaining privileges; the process
    /// has taken care of what happens at a refusal, which is a SIGSYS in place of the call.
    pub fn apply(&self) -> io::Result<()> {
        #[cfg(feature = "fault-injection")]
        if let Some(number) = self.for_test() {
            return self.apply_without(number);
        }
        load(self.program)
    }

    /// The same, without the alternative of that number: by this, tests find out what a thread could do without.
    pub fn apply_without(&self, number: usize) -> io::Result<()> {
        let mut program = self.program.to_vec();
        program::write(self.rules, Some(number), &mut program);
        load(&program)
    }

    /// The number of the alternative that a test names as `FILTER:NUMBER`.
    #[cfg(feature = "fault-injection")]
    fn for_test(&self) -> Option<usize> {
        let wanted = std::env::var("RKT_TEST_WITHOUT_RULE").ok()?;
        wanted.strip_prefix(self.name)?.strip_prefix(':')?.parse().ok()
    }
}

fn load(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads that many instructions, which live through the call, and changes none of them.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0 as libc::c_ulong,
            &raw const program,
        )
    };
    if loaded == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
