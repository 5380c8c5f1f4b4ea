//! A virtual machine, from its parts to its end.
//!
//! Responsible for: the order in which KVM is set up, which decides how long it takes, and the order in which it ends.
//! Must not know: how any part works. Follows docs/architecture.md, "The machine".

use std::fs::File;
use std::ops::Range;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::{Arc, Mutex};
use std::thread;

use kvm_bindings::{
    CpuId, KVM_CAP_PMU_CAPABILITY, KVM_CAP_SPLIT_IRQCHIP, KVM_PMU_CAP_DISABLE, kvm_enable_cap,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VmFd};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::signal::block_signal;

use crate::arch::x86_64::ioapic::{self, IoApic, KvmRoutes};
use crate::arch::x86_64::{boot, cpuid, kernel, local_apic, mptable, msr, registers};
use crate::device_thread::DeviceThread;
use crate::devices::bus::{Bus, BusDevice};
use crate::devices::i8042::{self, ResetPort};
use crate::devices::serial::{self, IrqLine, Output, SerialPort};
use crate::event_loop::EventLoop;
use crate::exit::{Exit, ExitLatch};
use crate::memory::{self, GuestRam, VIRTIO_MMIO_SIZE, VIRTIO_MMIO_START};
use crate::metrics::Metrics;
use crate::vcpu::{self, Vcpu};
use crate::virtio::balloon::Balloon;
use crate::virtio::device::{INTERRUPT_QUEUE, VirtioDevice};
use crate::virtio::fs::Fs;
use crate::virtio::mmio::{DeviceHandle, INTERRUPT_ACK_OFFSET, MmioTransport, NOTIFY_OFFSET};
use crate::virtio::net::Net;
use crate::virtio::rng::Rng;
use crate::virtio::vsock::Vsock;
use crate::{Confinement, Error, FsConfig, MAX_VCPUS, NetConfig, VmConfig, VsockConfig};

const KVM_API_VERSION: i32 = 12;
/// A process with threads that outgrows its descriptor table waits for all of them, 9 ms at 256 descriptors and 19 ms at
/// 512; a pod stays below this number.
const DESCRIPTOR_TABLE_SIZE: i32 = 1024;
/// The first interrupt of the virtio slots; lower ones belong to the parts of a PC.
const FIRST_VIRTIO_IRQ: u32 = 5;

/// Where a PC has COM2.
const SECOND_SERIAL_IRQ: u32 = 3;
/// Network cards of one machine: what the interrupt controller has pins for.
pub const MAX_NETWORK_CARDS: usize = 8;

/// A fixed place in the address space for each kind of device, whether the machine has it or not, so that all machines
/// look alike to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Fs,
    Vsock,
    Rng,
    Balloon,
    /// A network card, of [`MAX_NETWORK_CARDS`].
    Net(u8),
}

impl Slot {
    fn index(self) -> u8 {
        match self {
            Slot::Fs => 0,
            Slot::Vsock => 1,
            Slot::Rng => 2,
            Slot::Balloon => 3,
            Slot::Net(card) => 4 + card,
        }
    }

    fn window(self) -> Range<u64> {
        let start = VIRTIO_MMIO_START + u64::from(self.index()) * VIRTIO_MMIO_SIZE;
        start..start + VIRTIO_MMIO_SIZE
    }

    fn irq(self) -> u32 {
        let irq = FIRST_VIRTIO_IRQ + u32::from(self.index());
        // The last card has the pin of the second serial port, which no machine has: another pin would cost every boot eight exits.
        if irq < u32::from(ioapic::PINS) { irq } else { SECOND_SERIAL_IRQ }
    }

    /// The kernel parameter that describes the device (Linux's Documentation/admin-guide/kernel-parameters.txt).
    fn parameter(self) -> String {
        format!("virtio_mmio.device={VIRTIO_MMIO_SIZE}@{:#x}:{}", self.window().start, self.irq())
    }
}

/// A virtual machine that is ready to run.
pub struct Vm {
    fd: Arc<VmFd>,
    ram: GuestRam,
    vcpus: Vec<Vcpu>,
    devices: Vec<(Slot, DeviceHandle)>,
    device_thread: Arc<DeviceThread>,
    exit: Arc<ExitLatch>,
    confinement: Option<Confinement>,
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Vm").field("vcpus", &self.vcpus.len()).finish_non_exhaustive()
    }
}

impl Vm {
    /// Builds the machine up to, but not including, its first instruction. Starts no thread.
    ///
    /// The order is a design rule. Since Linux 6.18 a memory slot that is registered after an interrupt controller or an
    /// ioeventfd waits 7 ms for a grace period, and before 6.18 each such registration paid its own; so memory comes
    /// first and the registrations come last, together.
    pub fn build(config: VmConfig) -> Result<Vm, Error> {
        check(&config)?;
        reserve_descriptors();
        let VmConfig { kvm, vcpus, hidden_features, memory, kernel, initramfs, command_line, .. } = config;
        let VmConfig { fs, vsock, serial, metrics, net, confinement, .. } = config;
        let kvm = open(kvm)?;
        let ram = memory.map()?;
        let exit = Arc::new(ExitLatch::new()?);
        let device_thread = Arc::new(DeviceThread::new()?);

        let fd = Arc::new(create(&kvm)?);
        memory::register(&fd, &ram)?;
        add_interrupt_controller(&fd)?;

        let mut devices = create_devices(fs, vsock, metrics, &exit)?;
        add_network_cards(&mut devices, net, metrics)?;
        let (serial_irq, serial) = serial_line(Output { tail: &metrics.console, file: serial })?;
        let (ports, memory) = create_buses(&fd, &ram, &devices, &device_thread, serial, &exit)?;
        let features = cpuid::without(cpuid::supported(&kvm)?, hidden_features);
        let vcpus = create_vcpus(&features, &fd, vcpus, ports, memory, metrics, &exit)?;

        load(&ram, kernel, initramfs, command_line, &devices, &vcpus)?;
        connect(&fd, &devices, &serial_irq)?;
        metrics.marks.built.set();
        log::debug!("the machine is built: virtual CPUs {}, devices {}", vcpus.len(), devices.len());
        Ok(Vm { fd, ram, vcpus, devices, device_thread, exit, confinement })
    }

    /// Runs the machine until it ends. The calling thread serves the devices; it no longer receives SIGPIPE.
    ///
    /// When this returns, no virtual CPU runs and everything the guest sent is delivered. KVM's resources are released
    /// behind the caller's back, since that takes milliseconds and nobody waits for it; with [`Confinement`], they are released
    /// when the process ends.
    pub fn run(self) -> Result<Exit, Error> {
        // A stream whose reader has gone is an error of that stream alone.
        block_signal(libc::SIGPIPE).map_err(|error| Error::Os {
            operation: "block SIGPIPE",
            source: std::io::Error::other(format!("{error:?}")),
        })?;
        vcpu::register_kick_signal()?;
        let handles: Vec<DeviceHandle> = self.devices.into_iter().map(|(_, handle)| handle).collect();
        let mut event_loop = EventLoop::new(&handles, self.device_thread, self.exit.clone())?;

        let mut threads = Vec::with_capacity(self.vcpus.len());
        for vcpu in self.vcpus {
            match vcpu.start(self.confinement.map(|confinement| confinement.vcpu_thread)) {
                Ok(thread) => threads.push(thread),
                Err(error) => self.exit.set(Err(error)),
            }
        }
        // After the threads are there, which it could not start any more, and before it has read a byte of the guest's.
        let confined = self.confinement.map_or(Ok(()), |confinement| (confinement.device_thread)());
        if let Err(source) = confined {
            self.exit.set(Err(Error::Os { operation: "confine the device thread", source }));
        }
        event_loop.run();

        vcpu::stop(threads);
        for handle in &handles {
            handle.lock().finish();
        }
        let outcome = self.exit.take().unwrap_or(Ok(Exit::Reset));
        let remains = (handles, event_loop, self.ram, self.fd);
        if self.confinement.is_some() {
            std::mem::forget(remains);
        } else if let Err(error) =
            thread::Builder::new().name("teardown".to_owned()).spawn(move || drop(remains))
        {
            log::debug!("released the machine in the calling thread: {error}");
        }
        outcome
    }
}

fn check(config: &VmConfig) -> Result<(), Error> {
    if config.vcpus == 0 || config.vcpus > MAX_VCPUS {
        return Err(Error::Config(format!("{} virtual CPUs, want 1 to {MAX_VCPUS}", config.vcpus)));
    }
    if config.command_line.contains(['\0', '\n']) {
        return Err(Error::Config("the kernel command line contains a zero or a line break".to_owned()));
    }
    if config.net.len() > MAX_NETWORK_CARDS {
        return Err(Error::Config(format!(
            "{} network cards, want at most {MAX_NETWORK_CARDS}",
            config.net.len()
        )));
    }
    Ok(())
}

/// Grows the descriptor table while there is one thread. Not being allowed to only costs time later.
fn reserve_descriptors() {
    if let Err(error) = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), DESCRIPTOR_TABLE_SIZE - 1) {
        log::debug!("cannot reserve {DESCRIPTOR_TABLE_SIZE} descriptors: {error}");
    }
}

fn open(device: File) -> Result<Kvm, Error> {
    // SAFETY: `into_raw_fd` gives up an open descriptor, which `Kvm` takes over.
    let kvm = unsafe { Kvm::from_raw_fd(device.into_raw_fd()) };
    let version = kvm.get_api_version();
    if version != KVM_API_VERSION {
        return Err(Error::KvmVersion(version));
    }
    let needed = [
        (Cap::UserMemory, "user memory"),
        (Cap::SetTssAddr, "task state segment for real mode"),
        (Cap::ExtCpuid, "adjustable processor identification"),
        (Cap::SplitIrqchip, "split interrupt controller"),
        (Cap::Ioeventfd, "ioeventfd"),
        (Cap::Irqfd, "irqfd"),
        (Cap::TscDeadlineTimer, "deadline timer"),
    ];
    match needed.iter().find(|(capability, _)| !kvm.check_extension(*capability)) {
        Some((_, name)) => Err(Error::KvmExtension(name)),
        None => Ok(kvm),
    }
}

fn create(kvm: &Kvm) -> Result<VmFd, Error> {
    let fd = loop {
        match kvm.create_vm() {
            // The kernel starts a worker here and gives up when a signal arrives meanwhile.
            Err(error) if error.errno() == libc::EINTR => {}
            other => break other.map_err(Error::kvm("create a virtual machine"))?,
        }
    };
    fd.set_identity_map_address(memory::KVM_IDENTITY_MAP_START)
        .map_err(Error::kvm("place the identity map"))?;
    fd.set_tss_address(memory::KVM_TSS_START).map_err(Error::kvm("place the task state segment"))?;
    Ok(fd)
}

/// Local APICs in the kernel, the I/O APIC here ([`IoApic`]): no timer chip, no pair of 8259s, no thread of the kernel.
fn add_interrupt_controller(fd: &VmFd) -> Result<(), Error> {
    let mut split = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
    split.args[0] = u64::from(ioapic::PINS);
    fd.enable_cap(&split).map_err(Error::kvm("create local interrupt controllers"))?;

    // Counters are left out of CPUID; this also takes away the registers behind them. Linux has it since 5.18.
    if fd.check_extension_raw(u64::from(KVM_CAP_PMU_CAPABILITY)) & KVM_PMU_CAP_DISABLE as i32 != 0 {
        let mut counters = kvm_enable_cap { cap: KVM_CAP_PMU_CAPABILITY, ..Default::default() };
        counters.args[0] = u64::from(KVM_PMU_CAP_DISABLE);
        fd.enable_cap(&counters).map_err(Error::kvm("disable performance counters"))?;
    }
    Ok(())
}

fn create_devices(
    fs: Option<FsConfig>,
    vsock: Option<VsockConfig>,
    metrics: &'static Metrics,
    exit: &Arc<ExitLatch>,
) -> Result<Vec<(Slot, DeviceHandle)>, Error> {
    let mut devices = Vec::new();
    let mut add = |slot, device: Arc<Mutex<dyn VirtioDevice>>, counters| {
        devices.push((slot, DeviceHandle::new(device, counters)?));
        Ok::<_, Error>(())
    };
    if let Some(config) = fs {
        add(Slot::Fs, Arc::new(Mutex::new(Fs::new(config, exit.clone())?)), &metrics.fs)?;
    }
    if let Some(config) = vsock {
        add(Slot::Vsock, Arc::new(Mutex::new(Vsock::new(config)?)), &metrics.vsock)?;
    }
    add(Slot::Rng, Arc::new(Mutex::new(Rng::default())), &metrics.rng)?;
    add(Slot::Balloon, Arc::new(Mutex::new(Balloon::default())), &metrics.balloon)?;
    Ok(devices)
}

fn add_network_cards(
    devices: &mut Vec<(Slot, DeviceHandle)>,
    cards: Vec<NetConfig>,
    metrics: &'static Metrics,
) -> Result<(), Error> {
    let counters = metrics.net.iter().zip(&metrics.cards);
    for (index, (config, (of_device, of_card))) in (0..).zip(cards.into_iter().zip(counters)) {
        let card = Net::new(config, Arc::new(of_card))?;
        devices.push((Slot::Net(index), DeviceHandle::new(Arc::new(Mutex::new(card)), of_device)?));
    }
    Ok(())
}

fn serial_line(output: Output) -> Result<(EventFd, Arc<Mutex<dyn BusDevice>>), Error> {
    let irq = EventFd::new(EFD_NONBLOCK).map_err(Error::os("create an event descriptor"))?;
    let line = IrqLine(irq.try_clone().map_err(Error::os("duplicate an event descriptor"))?);
    Ok((irq, Arc::new(Mutex::new(SerialPort::new(line, output)))))
}

/// Port I/O and memory-mapped I/O.
fn create_buses(
    fd: &Arc<VmFd>,
    ram: &GuestRam,
    devices: &[(Slot, DeviceHandle)],
    device_thread: &Arc<DeviceThread>,
    serial: Arc<Mutex<dyn BusDevice>>,
    exit: &Arc<ExitLatch>,
) -> Result<(Arc<Bus>, Arc<Bus>), Error> {
    let mut ports = Bus::default();
    let reset = ResetPort::new(exit.clone());
    ports.insert(i8042::COMMAND_PORT..i8042::COMMAND_PORT + 1, Arc::new(Mutex::new(reset)));
    ports.insert(serial::PORTS, serial);

    let mut memory = Bus::default();
    let io_apic = IoApic::new(KvmRoutes(fd.clone()));
    memory.insert(
        memory::IOAPIC_START..memory::IOAPIC_START + memory::IOAPIC_SIZE,
        Arc::new(Mutex::new(io_apic)),
    );
    for (slot, handle) in devices {
        let transport = MmioTransport::new(handle.clone(), ram.clone()).on(device_thread.clone());
        memory.insert(slot.window(), Arc::new(Mutex::new(transport)));
    }
    Ok((Arc::new(ports), Arc::new(memory)))
}

fn create_vcpus(
    features: &CpuId,
    fd: &VmFd,
    count: u8,
    ports: Arc<Bus>,
    memory: Arc<Bus>,
    metrics: &'static Metrics,
    exit: &Arc<ExitLatch>,
) -> Result<Vec<Vcpu>, Error> {
    let mut vcpus = Vec::with_capacity(usize::from(count));
    for index in 0..count {
        let vcpu = fd.create_vcpu(u64::from(index)).map_err(Error::kvm("create a virtual CPU"))?;
        let table = cpuid::for_vcpu(features, index, count)?;
        vcpu.set_cpuid2(&table).map_err(Error::kvm("set processor features"))?;
        msr::set(&vcpu)?;
        local_apic::connect_lines(&vcpu)?;
        vcpus.push(Vcpu {
            fd: vcpu,
            index,
            ports: ports.clone(),
            memory: memory.clone(),
            metrics,
            exit: exit.clone(),
        });
    }
    Ok(vcpus)
}

/// Fills memory with what the guest starts from, and points the boot processor at it.
fn load(
    ram: &GuestRam,
    mut kernel: File,
    mut initramfs: File,
    mut command_line: String,
    devices: &[(Slot, DeviceHandle)],
    vcpus: &[Vcpu],
) -> Result<(), Error> {
    for (slot, _) in devices {
        command_line.push(' ');
        command_line.push_str(&slot.parameter());
    }
    let (entry, kernel_end) = kernel::load(ram, &mut kernel)?;
    let initramfs = kernel::load_initramfs(ram, &mut initramfs, kernel_end)?;
    boot::write(ram, entry, &command_line, initramfs)?;
    mptable::write(ram, vcpus.len() as u8)?;
    vcpus.first().map_or(Ok(()), |boot_processor| registers::set_boot_state(&boot_processor.fd, ram, entry))
}

/// Notifications of queues and interrupts of devices, all in one burst.
fn connect(fd: &VmFd, devices: &[(Slot, DeviceHandle)], serial_irq: &EventFd) -> Result<(), Error> {
    for (slot, handle) in devices {
        let address = IoEventAddress::Mmio(slot.window().start + NOTIFY_OFFSET);
        for (index, kick) in (0u32..).zip(handle.kicks.iter()) {
            fd.register_ioevent(kick, &address, index).map_err(Error::kvm("watch a queue"))?;
        }
        if handle.lock().status_is_constant() {
            // Such an interrupt's status does not change when it is acknowledged, so that the kernel may drop the write: half
            // of the exits that an interrupt costs. Nobody waits for the event.
            let nobody = EventFd::new(EFD_NONBLOCK).map_err(Error::os("create an event descriptor"))?;
            let address = IoEventAddress::Mmio(slot.window().start + INTERRUPT_ACK_OFFSET);
            fd.register_ioevent(&nobody, &address, INTERRUPT_QUEUE)
                .map_err(Error::kvm("watch an acknowledgement"))?;
        }
    }
    for (slot, handle) in devices {
        fd.register_irqfd(handle.interrupt.event(), slot.irq())
            .map_err(Error::kvm("connect an interrupt"))?;
    }
    fd.register_irqfd(serial_irq, serial::IRQ).map_err(Error::kvm("connect the serial port's interrupt"))
}
