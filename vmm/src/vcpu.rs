//! A virtual CPU and the thread that runs it.
//!
//! Responsible for: entering the guest, and passing each exit to the bus or the exit latch. Must not know: devices. Follows
//! Linux's Documentation/virt/kvm/api.rst, "KVM_RUN".

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler, unblock_signal};

use crate::Error;
use crate::arch::x86_64::registers;
use crate::devices::bus::Bus;
use crate::exit::{Exit, ExitLatch};
use crate::metrics::Metrics;

/// A vCPU thread does nothing deep: an exit, a lock, a device register. Untouched stack pages cost nothing, and the
/// default of 2 MiB would only make a pod's address space look larger than it is.
const STACK_BYTES: usize = 128 * 1024;
/// Between two attempts to interrupt a vCPU.
const KICK_INTERVAL: Duration = Duration::from_micros(200);
/// A vCPU thread that does not stop within this time is stuck in a write to the host; the caller does not wait for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A virtual CPU that has not run yet.
pub struct Vcpu {
    /// KVM's side of it.
    pub fd: VcpuFd,
    /// Its index, which is its APIC ID.
    pub index: u8,
    /// Port I/O.
    pub ports: Arc<Bus>,
    /// Memory-mapped I/O.
    pub memory: Arc<Bus>,
    /// Where it counts its exits.
    pub metrics: &'static Metrics,
    /// Where it says why it stopped.
    pub exit: Arc<ExitLatch>,
}

/// The signal that makes KVM_RUN return. Its handler does nothing; being delivered is all it is for.
extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Prepares the process for [`stop`].
pub fn register_kick_signal() -> Result<(), Error> {
    register_signal_handler(SIGRTMIN(), on_kick)
        .map_err(Error::os("handle the signal that stops virtual CPUs"))
}

/// A thread that runs a virtual CPU.
pub struct VcpuThread {
    thread: JoinHandle<()>,
    /// It will not enter the guest again.
    left: Arc<AtomicBool>,
}

impl Vcpu {
    /// Starts the thread, which confines itself first if it is told how. A confined thread does not end.
    pub fn start(mut self, confine: Option<fn() -> io::Result<()>>) -> Result<VcpuThread, Error> {
        let left = Arc::new(AtomicBool::new(false));
        let leave = left.clone();
        thread::Builder::new()
            .name(format!("vcpu-{}", self.index))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // The caller may have blocked everything.
                if let Err(error) = unblock_signal(SIGRTMIN()) {
                    log::error!("cannot receive the signal that stops virtual CPUs: {error:?}");
                }
                let confined = confine.map_or(Ok(()), |confine| confine());
                if let Err(source) = confined {
                    self.exit
                        .set(Err(Error::Os { operation: "confine the thread of a virtual CPU", source }));
                }
                if self.index == 0 {
                    self.metrics.marks.entered.set();
                }
                while !self.exit.is_set() {
                    if let Some(outcome) = self.enter() {
                        self.exit.set(outcome);
                    }
                }
                leave.store(true, Ordering::Release);
                while confine.is_some() {
                    thread::park();
                }
            })
            .map(|thread| VcpuThread { thread, left })
            .map_err(Error::os("start the thread of a virtual CPU"))
    }

    /// Runs the guest until its next exit. Returns the outcome if it was the last.
    fn enter(&mut self) -> Option<Result<Exit, Error>> {
        let reason = match self.fd.run() {
            Ok(VcpuExit::IoIn(port, data)) => {
                self.metrics.exits.port_reads.add(1);
                self.ports.read(u64::from(port), data);
                return None;
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                self.metrics.exits.port_writes.add(1);
                self.ports.write(u64::from(port), data);
                return None;
            }
            Ok(VcpuExit::MmioRead(address, data)) => {
                self.metrics.exits.mmio_reads.add(1);
                self.memory.read(address, data);
                return None;
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                self.metrics.exits.mmio_writes.add(1);
                self.memory.write(address, data);
                return None;
            }
            // No pin is level-triggered, so nobody waits for the end of an interrupt.
            Ok(VcpuExit::IoapicEoi(_) | VcpuExit::Intr) => return None,
            Ok(VcpuExit::Shutdown) => {
                return Some(Ok(Exit::TripleFault {
                    vcpu: self.index,
                    registers: registers::describe(&self.fd),
                }));
            }
            Ok(VcpuExit::SystemEvent(..)) => return Some(Ok(Exit::Reset)),
            Ok(VcpuExit::FailEntry(hardware_reason, cpu)) => {
                format!(
                    "the processor refuses to enter the guest, reason {hardware_reason:#x} on host CPU {cpu}"
                )
            }
            Ok(VcpuExit::InternalError) => self.internal_error(),
            Ok(other) => format!("unexpected exit {other:?}"),
            Err(error) => match io::Error::from(error).kind() {
                io::ErrorKind::Interrupted => {
                    self.metrics.exits.interruptions.add(1);
                    self.excuse_pause();
                    return None;
                }
                // A processor that waits for its start.
                io::ErrorKind::WouldBlock => return None,
                _ => format!("KVM_RUN failed: {error}"),
            },
        };
        let registers = registers::describe(&self.fd);
        Some(Err(Error::VcpuStopped { vcpu: self.index, reason, registers }))
    }

    /// A signal may have stopped the whole process for any time (SIGSTOP), of which the guest's clocks tell it afterwards; its
    /// watchdogs must not take that for a processor that hangs.
    fn excuse_pause(&self) {
        if let Err(error) = self.fd.kvmclock_ctrl() {
            // The guest has not come to use KVM's clock yet.
            log::debug!("virtual CPU {}: cannot excuse a pause: {error}", self.index);
        }
    }

    fn internal_error(&mut self) -> String {
        const EMULATION: u32 = kvm_bindings::KVM_INTERNAL_ERROR_EMULATION;

        // SAFETY: the exit reason was KVM_EXIT_INTERNAL_ERROR, for which the kernel fills this member.
        let internal = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.internal };
        match internal.suberror {
            EMULATION => "KVM cannot emulate an instruction".to_owned(),
            suberror => format!("KVM internal error {suberror}"),
        }
    }
}

/// Makes all virtual CPUs leave the guest for good, now that the exit latch is set.
pub fn stop(threads: Vec<VcpuThread>) {
    let deadline = Instant::now() + STOP_TIMEOUT;
    let mut running = threads;
    loop {
        running.retain(|vcpu| !vcpu.left.load(Ordering::Acquire));
        if running.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            log::warn!("{} virtual CPUs did not stop", running.len());
            return;
        }
        // A kick between a thread's look at the latch and its entry into the guest is lost, so it is repeated.
        for vcpu in &running {
            if let Err(error) = vcpu.thread.kill(SIGRTMIN()) {
                log::debug!("cannot interrupt a virtual CPU: {error:?}");
            }
        }
        thread::sleep(KICK_INTERVAL);
    }
}
