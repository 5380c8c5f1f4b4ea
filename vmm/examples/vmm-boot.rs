//! Boots a kernel and an initial RAM file system: the hypervisor with nothing around it, for benches and for trying
//! kernels. The serial console goes to stdout, the reason of the end to stderr; exit status 0 means an orderly reset.

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;

use vmm::{Exit, Vm, VmConfig};

const USAGE: &str = "usage: vmm-boot --kernel FILE --initramfs FILE [--cmdline TEXT] [--memory-mib N] [--vcpus N] [--no-serial]";

#[derive(Default)]
struct Arguments {
    kernel: String,
    initramfs: String,
    command_line: String,
    memory_mib: Option<u32>,
    vcpus: Option<u8>,
    no_serial: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    while let Some(flag) = arguments.next() {
        if flag == "--no-serial" {
            parsed.no_serial = true;
            continue;
        }
        let value = arguments.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--kernel" => parsed.kernel = value,
            "--initramfs" => parsed.initramfs = value,
            "--cmdline" => parsed.command_line = value,
            "--memory-mib" => parsed.memory_mib = Some(value.parse()?),
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
        memory_mib: arguments.memory_mib.unwrap_or(128),
        kernel: open(&arguments.kernel)?,
        initramfs: open(&arguments.initramfs)?,
        command_line: arguments.command_line,
        fs: None,
        vsock: None,
        serial: (!arguments.no_serial).then_some(stdout),
    })?;
    Ok(machine.run()?)
}

fn main() -> ExitCode {
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
