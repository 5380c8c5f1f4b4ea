//! Boots a kernel and an initial RAM file system: the hypervisor with nothing around it, for benches and for trying
//! kernels. The serial console goes to stdout, the reason of the end to stderr; exit status 0 means an orderly reset.

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use vmm::{
    Exit, FsConfig, KvmFeatures, Logger, MemoryFile, Metrics, NetConfig, NetLimits, Vm, VmConfig, VsockConfig,
};

const USAGE: &str = "\
usage: vmm-boot --kernel FILE --initramfs FILE [options]
  --cmdline TEXT           kernel command line
  --memory-mib N           guest memory, 128 by default
  --vcpus N                virtual CPUs, 1 by default
  --no-serial              no serial port
  --fs TAG=SOCKET          shared file system, served by a vhost-user back end at SOCKET
  --vsock PORT=SOCKET      the guest's connection to PORT of the host is one to SOCKET; may be repeated
  --tap NAME               a network card over this tap; may be repeated
  --tap-queues N           pairs of queues of each card, 1 by default
  --vhost-net              the host's kernel serves the cards' queues
  --vsock-listen SOCKET    host programs connect to guest ports through SOCKET";

/// The context ID of the guest; any above 2 would do.
const GUEST_CID: u32 = 3;

#[derive(Default)]
struct Arguments {
    kernel: String,
    initramfs: String,
    command_line: String,
    memory_mib: Option<u32>,
    vcpus: Option<u8>,
    no_serial: bool,
    fs: Option<String>,
    vsock: Vec<String>,
    vsock_listen: Option<String>,
    taps: Vec<String>,
    tap_queues: Option<usize>,
    vhost_net: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    while let Some(flag) = arguments.next() {
        if flag == "--no-serial" {
            parsed.no_serial = true;
            continue;
        }
        if flag == "--vhost-net" {
            parsed.vhost_net = true;
            continue;
        }
        let value = arguments.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--kernel" => parsed.kernel = value,
            "--initramfs" => parsed.initramfs = value,
            "--cmdline" => parsed.command_line = value,
            "--memory-mib" => parsed.memory_mib = Some(value.parse()?),
            "--fs" => parsed.fs = Some(value),
            "--vsock" => parsed.vsock.push(value),
            "--vsock-listen" => parsed.vsock_listen = Some(value),
            "--tap" => parsed.taps.push(value),
            "--tap-queues" => parsed.tap_queues = Some(value.parse()?),
            "--vcpus" => parsed.vcpus = Some(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    if parsed.kernel.is_empty() || parsed.initramfs.is_empty() {
        return Err(USAGE.into());
    }
    Ok(parsed)
}

fn open(path: &str) -> Result<File, Box<dyn Error>> {
    File::open(path).map_err(|error| format!("cannot open {path}: {error}").into())
}

fn connect(path: &str) -> Result<UnixStream, Box<dyn Error>> {
    UnixStream::connect(path).map_err(|error| format!("cannot connect to {path}: {error}").into())
}

fn fs_config(argument: &str) -> Result<FsConfig, Box<dyn Error>> {
    let (tag, socket) = argument.split_once('=').ok_or(USAGE)?;
    Ok(FsConfig { tag: tag.to_owned(), backend: connect(socket)? })
}

fn vsock_config(arguments: &Arguments) -> Result<Option<VsockConfig>, Box<dyn Error>> {
    let mut guest_to_host = Vec::new();
    for argument in &arguments.vsock {
        let (port, socket) = argument.split_once('=').ok_or(USAGE)?;
        guest_to_host.push((port.parse()?, connect(socket)?));
    }
    let host_to_guest = arguments.vsock_listen.as_ref().map(UnixListener::bind).transpose()?;
    let wanted = host_to_guest.is_some() || !guest_to_host.is_empty();
    Ok(wanted.then_some(VsockConfig { guest_cid: GUEST_CID, guest_to_host, host_to_guest }))
}

/// Cards with the addresses 52:54:00:00:00:01 and so on.
fn net_configs(arguments: &Arguments) -> Result<Vec<NetConfig>, Box<dyn Error>> {
    let pairs = arguments.tap_queues.unwrap_or(1);
    let open_vhost = || File::options().read(true).write(true).open("/dev/vhost-net");
    let configs = arguments.taps.iter().zip(1..).map(|(name, number)| {
        let vhost = (0..pairs).filter(|_| arguments.vhost_net).map(|_| open_vhost());
        Ok(NetConfig {
            queues: vmm::open_tap(name, pairs)?,
            mac: [0x52, 0x54, 0, 0, 0, number],
            mtu: None,
            limits: NetLimits::default(),
            vhost: vhost.collect::<Result<_, _>>()?,
        })
    });
    configs.collect()
}

/// As in pods.
fn hidden_features() -> Result<KvmFeatures, Box<dyn Error>> {
    let Ok(names) = std::env::var("RKT_HYPERVISOR_HIDE_KVM_FEATURES") else {
        return Ok(KvmFeatures::default());
    };
    Ok(KvmFeatures::parse(&names).ok_or_else(|| format!("unknown features {names:?}"))?)
}

fn run() -> Result<Exit, Box<dyn Error>> {
    let arguments = parse(std::env::args().skip(1))?;
    let kvm = File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|error| format!("cannot open /dev/kvm: {error}"))?;
    let stdout = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let machine = Vm::build(VmConfig {
        kvm,
        vcpus: arguments.vcpus.unwrap_or(1),
        hidden_features: hidden_features()?,
        memory: MemoryFile::create(arguments.memory_mib.unwrap_or(128))?,
        kernel: open(&arguments.kernel)?,
        initramfs: open(&arguments.initramfs)?,
        fs: arguments.fs.as_deref().map(fs_config).transpose()?,
        vsock: vsock_config(&arguments)?,
        command_line: arguments.command_line.clone(),
        serial: (!arguments.no_serial).then_some(stdout),
        metrics: Metrics::shared()?,
        net: net_configs(&arguments)?,
        confinement: None,
    })?;
    Ok(machine.run()?)
}

fn main() -> ExitCode {
    if let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() {
        Logger::new(stderr.into(), b"").install();
    }
    match run() {
        Ok(exit) => {
            eprintln!("vmm-boot: {exit:?}");
            if exit == Exit::Reset { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("vmm-boot: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprintln!("  {source}");
                cause = source.source();
            }
            ExitCode::FAILURE
        }
    }
}
