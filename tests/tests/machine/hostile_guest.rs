//! A guest of a hundred instructions and no kernel, which does nothing but harm: registers of every device at every width and offset, queues
//! anywhere with anything in them, ports, the I/O APIC. It needs nothing of KVM but its interface.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rkt_tests::command::limit;
use rkt_tests::dist;

use crate::network::{alone, host};
use crate::pod::fresh_path;

/// How long it goes on.
const DURATION: Duration = Duration::from_secs(60);
/// When everything has been used that is made once.
const WARM_UP: Duration = Duration::from_secs(10);
/// What the VMM may hold more of its own memory then: connections, buffers of a card. A byte lost with each of its requests would be more.
const MAX_GROWTH_KIB: u64 = 4096;
/// Places in the VMM that complain about a guest, and what each may say: ten lines in five seconds.
const PLACES: u64 = 40;
const LINES_PER_WINDOW: u64 = 10;
const WINDOW: Duration = Duration::from_secs(5);

/// Where it is loaded and entered, in 64-bit mode.
const ENTRY: u64 = 0x10_0000;
const TAP: &str = "hostile-guest";

/// The guest. Its random numbers are always the same; what it finds in registers and memory is not.
#[rustfmt::skip]
const CODE: [u8; 516] = [
    // start:
    // (page tables: the device hole, 2 MiB each)
    0xc7, 0x04, 0x25, 0x00, 0x04, 0x50, 0x00, 0x83, 0x00, 0x00, 0xd0,  // mov dword ptr [0x500400], 0xd0000083
    0xc7, 0x04, 0x25, 0xb0, 0x0f, 0x50, 0x00, 0x83, 0x00, 0xc0, 0xfe,  // mov dword ptr [0x500fb0], 0xfec00083
    0xc7, 0x04, 0x25, 0x18, 0xa0, 0x00, 0x00, 0x03, 0x00, 0x50, 0x00,  // mov dword ptr [0xa018], 0x500003
    0x48, 0xbb, 0x15, 0x7c, 0x4a, 0x7f, 0xb9, 0x79, 0x37, 0x9e,        // mov rbx, 0x9e3779b97f4a7c15
    // again:
    0xe8, 0xb2, 0x01, 0x00, 0x00,                                      // call random
    0x89, 0xc7,                                                        // mov edi, eax
    0x81, 0xe7, 0x00, 0x70, 0x00, 0x00,                                // and edi, 0x7000
    0x81, 0xc7, 0x00, 0x00, 0x00, 0xd0,                                // add edi, 0xd0000000
    0x81, 0xff, 0x00, 0x00, 0x00, 0xd0,                                // cmp edi, 0xd0000000
    0x74, 0xe5,                                                        // je again
    0x41, 0xff, 0xc7,                                                  // inc r15d
    0x41, 0xf7, 0xc7, 0xff, 0x00, 0x00, 0x00,                          // test r15d, 0xff
    0x75, 0x15,                                                        // jnz no_sign
    // (a sign of life, whatever the serial port was told before)
    0xba, 0xfb, 0x03, 0x00, 0x00,                                      // mov edx, 0x3fb
    0xb0, 0x03,                                                        // mov al, 3
    0xee,                                                              // out dx, al
    0xff, 0xc2,                                                        // inc edx
    0xb0, 0x00,                                                        // mov al, 0
    0xee,                                                              // out dx, al
    0xba, 0xf8, 0x03, 0x00, 0x00,                                      // mov edx, 0x3f8
    0xb0, 0x2e,                                                        // mov al, '.'
    0xee,                                                              // out dx, al
    // no_sign:
    0xe8, 0x76, 0x01, 0x00, 0x00,                                      // call random
    0xa8, 0x1f,                                                        // test al, 0x1f
    0x0f, 0x84, 0x8d, 0x00, 0x00, 0x00,                                // jz set_up
    0x89, 0xc2,                                                        // mov edx, eax
    0xc1, 0xea, 0x10,                                                  // shr edx, 16
    0x89, 0xc1,                                                        // mov ecx, eax
    0xf6, 0xc4, 0x70,                                                  // test ah, 0x70
    0x74, 0x6c,                                                        // jz ports
    0xf6, 0xc4, 0x0e,                                                  // test ah, 0x0e
    0x75, 0x15,                                                        // jnz access
    // (the I/O APIC: no NMI, INIT or SMI, which would be the end of this guest)
    0xbf, 0x00, 0x00, 0xc0, 0xfe,                                      // mov edi, 0xfec00000
    0x83, 0xe2, 0x10,                                                  // and edx, 0x10
    0x89, 0xd9,                                                        // mov ecx, ebx
    0x81, 0xe1, 0xff, 0xf8, 0xff, 0xff,                                // and ecx, 0xfffff8ff
    0x89, 0x0c, 0x17,                                                  // mov dword ptr [rdi + rdx], ecx
    0xeb, 0x91,                                                        // jmp again
    // access:
    0x81, 0xe2, 0xff, 0x01, 0x00, 0x00,                                // and edx, 0x1ff
    0xf6, 0xc1, 0x20,                                                  // test cl, 0x20
    0x75, 0x06,                                                        // jnz any_offset
    0x81, 0xe2, 0xfc, 0x00, 0x00, 0x00,                                // and edx, 0xfc
    // any_offset:
    0x48, 0x01, 0xfa,                                                  // add rdx, rdi
    0x48, 0x89, 0xd8,                                                  // mov rax, rbx
    0xf6, 0xc1, 0x40,                                                  // test cl, 0x40
    0x75, 0x27,                                                        // jnz loads
    0xf6, 0xc1, 0x80,                                                  // test cl, 0x80
    0x74, 0x1b,                                                        // jz long
    0xf6, 0xc5, 0x80,                                                  // test ch, 0x80
    0x0f, 0x85, 0x0b, 0x00, 0x00, 0x00,                                // jnz byte
    0x48, 0x89, 0x02,                                                  // mov qword ptr [rdx], rax
    0x66, 0x89, 0x02,                                                  // mov word ptr [rdx], ax
    0xe9, 0x5c, 0xff, 0xff, 0xff,                                      // jmp again
    // byte:
    0x88, 0x02,                                                        // mov byte ptr [rdx], al
    0xe9, 0x55, 0xff, 0xff, 0xff,                                      // jmp again
    // long:
    0x89, 0x02,                                                        // mov dword ptr [rdx], eax
    0xe9, 0x4e, 0xff, 0xff, 0xff,                                      // jmp again
    // loads:
    0x8a, 0x02,                                                        // mov al, byte ptr [rdx]
    0x66, 0x8b, 0x02,                                                  // mov ax, word ptr [rdx]
    0x8b, 0x02,                                                        // mov eax, dword ptr [rdx]
    0x48, 0x8b, 0x02,                                                  // mov rax, qword ptr [rdx]
    0xe9, 0x3f, 0xff, 0xff, 0xff,                                      // jmp again
    // ports:
    // (but for the one that resets the machine)
    0x66, 0x83, 0xfa, 0x64,                                            // cmp dx, 0x64
    0x0f, 0x84, 0x35, 0xff, 0xff, 0xff,                                // je again
    0x89, 0xd8,                                                        // mov eax, ebx
    0xef,                                                              // out dx, eax
    0xee,                                                              // out dx, al
    0x66, 0xed,                                                        // in ax, dx
    0xe9, 0x2a, 0xff, 0xff, 0xff,                                      // jmp again
    // set_up:
    // (descriptors and rings that lead somewhere)
    0x49, 0xb8, 0xff, 0xff, 0x00, 0x00, 0x07, 0x00, 0xff, 0x00,        // mov r8, 0x00ff00070000ffff
    // fill:
    0x81, 0xe5, 0xf0, 0x3f, 0x00, 0x00,                                // and ebp, 0x3ff0
    0x81, 0xcd, 0x00, 0x00, 0x20, 0x00,                                // or ebp, 0x200000
    0xe8, 0xc6, 0x00, 0x00, 0x00,                                      // call random
    0x25, 0xf0, 0xff, 0x0f, 0x00,                                      // and eax, 0x0ffff0
    0x0d, 0x00, 0x00, 0x20, 0x00,                                      // or eax, 0x200000
    0x48, 0x89, 0x45, 0x00,                                            // mov qword ptr [rbp], rax
    0xe8, 0xb3, 0x00, 0x00, 0x00,                                      // call random
    0x4c, 0x21, 0xc0,                                                  // and rax, r8
    0x48, 0x89, 0x45, 0x08,                                            // mov qword ptr [rbp + 8], rax
    0x83, 0xc5, 0x10,                                                  // add ebp, 16
    0xf7, 0xc5, 0xf0, 0x07, 0x00, 0x00,                                // test ebp, 0x7f0
    0x75, 0xca,                                                        // jnz fill
    // (the driver's part, as the specification has it)
    0x31, 0xc0,                                                        // xor eax, eax
    0x89, 0x47, 0x70,                                                  // mov dword ptr [rdi + 0x70], eax
    0xc7, 0x47, 0x70, 0x01, 0x00, 0x00, 0x00,                          // mov dword ptr [rdi + 0x70], 1
    0xc7, 0x47, 0x70, 0x03, 0x00, 0x00, 0x00,                          // mov dword ptr [rdi + 0x70], 3
    // features:
    0x89, 0x47, 0x14,                                                  // mov dword ptr [rdi + 0x14], eax
    0x89, 0x47, 0x24,                                                  // mov dword ptr [rdi + 0x24], eax
    0x8b, 0x4f, 0x10,                                                  // mov ecx, dword ptr [rdi + 0x10]
    0x89, 0x4f, 0x20,                                                  // mov dword ptr [rdi + 0x20], ecx
    0xff, 0xc0,                                                        // inc eax
    0x83, 0xf8, 0x02,                                                  // cmp eax, 2
    0x75, 0xed,                                                        // jne features
    0xc7, 0x47, 0x70, 0x0b, 0x00, 0x00, 0x00,                          // mov dword ptr [rdi + 0x70], 11
    0x31, 0xc9,                                                        // xor ecx, ecx
    // queue:
    0x89, 0x4f, 0x30,                                                  // mov dword ptr [rdi + 0x30], ecx
    0x8b, 0x47, 0x34,                                                  // mov eax, dword ptr [rdi + 0x34]
    0x89, 0x47, 0x38,                                                  // mov dword ptr [rdi + 0x38], eax
    0xe8, 0x54, 0x00, 0x00, 0x00,                                      // call place
    0x83, 0xe0, 0xf0,                                                  // and eax, 0xfffffff0
    0x89, 0x87, 0x80, 0x00, 0x00, 0x00,                                // mov dword ptr [rdi + 0x80], eax
    0xe8, 0x46, 0x00, 0x00, 0x00,                                      // call place
    0x83, 0xe0, 0xfc,                                                  // and eax, 0xfffffffc
    0x89, 0x87, 0xa0, 0x00, 0x00, 0x00,                                // mov dword ptr [rdi + 0xa0], eax
    0xe8, 0x38, 0x00, 0x00, 0x00,                                      // call place
    0x83, 0xe0, 0xfe,                                                  // and eax, 0xfffffffe
    0x89, 0x87, 0x90, 0x00, 0x00, 0x00,                                // mov dword ptr [rdi + 0x90], eax
    0x89, 0xc2,                                                        // mov edx, eax
    0xe8, 0x38, 0x00, 0x00, 0x00,                                      // call random
    0x83, 0xe0, 0x1f,                                                  // and eax, 0x1f
    0x66, 0x89, 0x42, 0x02,                                            // mov word ptr [rdx + 2], ax
    0xc7, 0x47, 0x44, 0x01, 0x00, 0x00, 0x00,                          // mov dword ptr [rdi + 0x44], 1
    0xff, 0xc1,                                                        // inc ecx
    0x83, 0xf9, 0x03,                                                  // cmp ecx, 3
    0x75, 0xb1,                                                        // jne queue
    0xc7, 0x47, 0x70, 0x0f, 0x00, 0x00, 0x00,                          // mov dword ptr [rdi + 0x70], 15
    // notify:
    0xff, 0xc9,                                                        // dec ecx
    0x89, 0x4f, 0x50,                                                  // mov dword ptr [rdi + 0x50], ecx
    0x75, 0xf9,                                                        // jnz notify
    0xe9, 0x59, 0xfe, 0xff, 0xff,                                      // jmp again
    // place:
    0xe8, 0x0b, 0x00, 0x00, 0x00,                                      // call random
    0x25, 0xff, 0x3f, 0x00, 0x00,                                      // and eax, 0x3fff
    0x05, 0x00, 0x00, 0x20, 0x00,                                      // add eax, 0x200000
    0xc3,                                                              // ret
    // random:
    0x48, 0x89, 0xd8,                                                  // mov rax, rbx
    0x48, 0xc1, 0xe0, 0x0d,                                            // shl rax, 13
    0x48, 0x31, 0xc3,                                                  // xor rbx, rax
    0x48, 0x89, 0xd8,                                                  // mov rax, rbx
    0x48, 0xc1, 0xe8, 0x07,                                            // shr rax, 7
    0x48, 0x31, 0xc3,                                                  // xor rbx, rax
    0x48, 0x89, 0xd8,                                                  // mov rax, rbx
    0x48, 0xc1, 0xe0, 0x11,                                            // shl rax, 17
    0x48, 0x31, 0xc3,                                                  // xor rbx, rax
    0x48, 0x89, 0xd8,                                                  // mov rax, rbx
    0xc3,                                                              // ret
];

/// An ELF file of one segment.
fn kernel() -> Vec<u8> {
    const HEADERS_BYTES: u64 = 64 + 56;
    let size = CODE.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable for x86-64, its entry, and its program headers right behind this one.
    file.extend([2u16, 62].map(u16::to_le_bytes).concat());
    file.extend(1u32.to_le_bytes());
    file.extend([ENTRY, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // One that is loaded, readable, writable and executable.
    file.extend([1u32, 7].map(u32::to_le_bytes).concat());
    file.extend([HEADERS_BYTES, ENTRY, ENTRY, size, size, 4096].map(u64::to_le_bytes).concat());
    file.extend(CODE);
    file
}

/// The machine, and how many signs of life the guest has given.
struct Machine {
    vmm: Child,
    signs: Arc<AtomicU64>,
    log: std::path::PathBuf,
}

impl Machine {
    fn start(directory: &Path) -> Self {
        fs::create_dir(directory).expect("a directory");
        let file = |name: &str, content: &[u8]| {
            let path = directory.join(name);
            fs::write(&path, content).expect("a file");
            path
        };
        let log = directory.join("log");
        let mut command = Command::new(dist::file("vmm-boot"));
        command
            .arg("--kernel")
            .arg(file("kernel", &kernel()))
            .arg("--initramfs")
            .arg(file("initramfs", b"none"));
        command.args(["--memory-mib", "64", "--tap", TAP]).arg("--vsock-listen").arg(directory.join("vsock"));
        command.stdout(Stdio::piped()).stderr(File::create(&log).expect("a log"));
        let mut vmm = command.spawn().expect("the VMM");
        let signs = Arc::new(AtomicU64::new(0));
        let (counter, mut output) = (signs.clone(), vmm.stdout.take().expect("a pipe"));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                counter.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        Self { vmm, signs, log }
    }

    /// Waits until the guest gives another sign of life.
    fn await_sign(&mut self) {
        let (before, deadline) = (self.signs.load(Ordering::Relaxed), Instant::now() + limit(30));
        while self.signs.load(Ordering::Relaxed) == before {
            self.check();
            assert!(Instant::now() < deadline, "no sign of life from the guest");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn check(&mut self) {
        let ended = self.vmm.try_wait().expect("a child");
        assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&self.log).unwrap_or_default());
    }

    /// The VMM's own memory, without the guest's.
    fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.vmm.id())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Has the thread that serves the devices do something for a program of the host's: it refuses what is no request.
    fn ask(&self, directory: &Path) {
        let mut stream = UnixStream::connect(directory.join("vsock")).expect("the VMM listens");
        stream.set_read_timeout(Some(limit(30))).expect("a timeout");
        stream.write_all(b"HELLO\n").expect("sent");
        let answer = stream.read(&mut [0; 1]);
        // It hangs up, with what it has not read or without.
        let refused = match &answer {
            Ok(count) => *count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(refused, "{answer:?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.vmm.kill();
        let _ = self.vmm.wait();
        let _ = Command::new("ip").args(["link", "del", TAP]).output();
    }
}

#[test]
fn a_guest_that_writes_random_registers_and_rings_leaves_the_vmm_alive_small_and_quiet() {
    let _alone = alone();
    host("ip", &["tuntap", "add", "dev", TAP, "mode", "tap", "vnet_hdr"]);
    host("ip", &["link", "set", TAP, "up"]);
    let directory = fresh_path("hostile-guest");
    let started = Instant::now();
    let mut machine = Machine::start(&directory);
    while started.elapsed() < WARM_UP {
        machine.await_sign();
    }
    let before = machine.memory_kib();

    while started.elapsed() < DURATION {
        machine.await_sign();
        machine.ask(&directory);
    }

    machine.await_sign();
    let (after, elapsed) = (machine.memory_kib(), started.elapsed());
    assert!(after <= before + MAX_GROWTH_KIB, "{before} KiB of the VMM's memory became {after} KiB");
    let log = fs::read_to_string(&machine.log).expect("a log");
    let lines = log.lines().count() as u64;
    let windows = elapsed.as_secs().div_ceil(WINDOW.as_secs()) + 1;
    assert!(lines > 0, "nobody complained");
    assert!(lines <= PLACES * LINES_PER_WINDOW * windows, "{lines} lines:\n{log:.4000}");
    assert!(!log.contains("panicked"), "{log}");
}
