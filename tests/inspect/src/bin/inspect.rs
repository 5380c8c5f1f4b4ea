//! An app for tests: carries out the steps on its command line in order and says what it sees, so that one image serves
//! every end-to-end test (`inspect print-user print-cwd exit 42`). Must not depend on anything in its image but itself.
//! Ends with status 120 when a step fails and 121 when the command line is wrong; no test uses those as codes of its own.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, process};

use nix::libc;
use nix::sys::signal::{self, SigHandler, Signal};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, VsockAddr};
use nix::sys::utsname;
use nix::sys::wait;
use nix::unistd::{self, Pid};
use rustix::fs::FlockOperation;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync};

/// A step failed.
const STEP_FAILED: u8 = 120;

/// The command line is not a list of steps.
const BAD_STEPS: u8 = 121;

/// The signal that arrived last; 0 before the first.
static ARRIVED: AtomicI32 = AtomicI32::new(0);

/// The steps, with their arguments.
const STEPS: &str = "\
print-msg TEXT          print TEXT on stdout
print-err TEXT          print TEXT on stderr
print-env NAME          print the value of the environment variable
print-user              print uid, gid and supplementary groups
print-cwd               print the working directory
print-pid               print the process ID
print-hostname          print the host name
print-limits            print the highest number of open files
read-file PATH          print the file
write-file PATH TEXT    create the file with TEXT
stat-file PATH          print mode, owner and group
list PATH               print the directory's entries, sorted
lines COUNT MILLIS      COUNT lines on stdout and stderr in turn, each in two writes, with pauses
flood BYTES LINE        BYTES bytes on stdout, in numbered lines of LINE bytes
sleep SECONDS           wait
ignore SIGNAL           ignore the signal from now on
catch SIGNAL            note the signal instead of dying from it
await SIGNAL            wait until a caught signal arrives, and print its name
kill PID SIGNAL         send a signal
serve PORT TEXT         answer one connection on the loopback with TEXT
serve-datagrams PORT    answer every datagram by what it says, in capitals
serve-passed COUNT      answer COUNT connections to each socket that it was started with by what they say, in capitals
vsock CID PORT          connect to a socket of the hypervisor or of the host, and print what comes of it
connect PORT            connect to the loopback, trying for 60 seconds, and print what comes
await-file PATH         wait until the file exists
print-clock             print the wall clock, in nanoseconds since the Unix epoch
print-random            print 16 random bytes, if the kernel's generator has them at once
lock-file PATH          lock the file in both of Linux's ways, and hold the locks to the end
map-file PATH TEXT      write TEXT to the beginning of the file through a shared mapping, synchronized, and hold that
make-user-namespace     make a process in a user namespace of its own
notify TEXT             send TEXT to the socket that NOTIFY_SOCKET names
fill-memory MIB         use as much memory, and give it back to the kernel after await-file PATH
exit CODE               end with CODE
";

fn main() -> ExitCode {
    if process::id() == 1 {
        // The program of a machine in the place of guest-init. The kernel hands its own command line's words on.
        if let Ok(word) = env::var("rest") {
            println!("{word}");
            loop {
                thread::sleep(Duration::from_secs(3600));
            }
        }
        // What guest-init never would say.
        talk_nonsense();
    }
    let mut words = env::args().skip(1);
    while let Some(step) = words.next() {
        match run(&step, &mut words) {
            Ok(None) => {}
            Ok(Some(code)) => return ExitCode::from(code),
            Err(Failure::Usage) => {
                eprintln!("inspect: bad step {step:?}; steps are:\n{STEPS}");
                return ExitCode::from(BAD_STEPS);
            }
            Err(Failure::Step(error)) => {
                eprintln!("inspect: {step}: {error}");
                return ExitCode::from(STEP_FAILED);
            }
        }
    }
    ExitCode::SUCCESS
}

/// Why a step did not succeed.
enum Failure {
    /// It is not in the list, or its arguments are missing or malformed.
    Usage,
    /// The system refused it.
    Step(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Step(error)
    }
}

impl From<nix::Error> for Failure {
    fn from(error: nix::Error) -> Self {
        Self::Step(error.into())
    }
}

/// Carries out one step; a code ends the process with it.
fn run(step: &str, words: &mut impl Iterator<Item = String>) -> Result<Option<u8>, Failure> {
    match step {
        "print-msg" => println!("{}", text(words)?),
        "print-err" => eprintln!("{}", text(words)?),
        "print-env" => {
            let name = text(words)?;
            println!("{name}={}", env::var(&name).unwrap_or_else(|_| "(unset)".to_owned()));
        }
        "print-user" => {
            let mut groups: Vec<u32> = unistd::getgroups()?.iter().map(|group| group.as_raw()).collect();
            groups.sort_unstable();
            println!("uid={} gid={} groups={groups:?}", unistd::geteuid(), unistd::getegid());
        }
        "print-cwd" => println!("cwd={}", env::current_dir()?.display()),
        "print-pid" => println!("pid={}", process::id()),
        "print-hostname" => println!("hostname={}", utsname::uname()?.nodename().to_string_lossy()),
        "notify" => {
            let socket = env::var("NOTIFY_SOCKET").map_err(io::Error::other)?;
            UnixDatagram::unbound()?.send_to(text(words)?.as_bytes(), socket)?;
        }
        "print-limits" => print!("{}", fs::read_to_string("/proc/self/limits")?),
        "read-file" => io::stdout().write_all(&fs::read(text(words)?)?)?,
        "write-file" => {
            let path = text(words)?;
            File::create(&path)?.write_all(text(words)?.as_bytes())?;
            println!("wrote {path}");
        }
        "stat-file" => {
            let status = fs::symlink_metadata(text(words)?)?;
            println!("mode={:o} uid={} gid={}", status.mode(), status.uid(), status.gid());
        }
        "lock-file" => {
            let file = File::options().read(true).write(true).open(text(words)?)?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)?;
            rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(io::Error::from)?;
            std::mem::forget(file);
            println!("locked");
        }
        "make-user-namespace" => make_user_namespace()?,
        "map-file" => map_file(&text(words)?, &text(words)?)?,
        "list" => list(&text(words)?)?,
        "lines" => lines(number(words)?, Duration::from_millis(number(words)?))?,
        "flood" => flood(number(words)?, number(words)?)?,
        "pour" => {
            let mut output = io::stdout().as_fd().try_clone_to_owned().map(File::from)?;
            pour(&mut output, number(words)?, number(words)?)?;
        }
        "swallow" => println!("swallowed={}", io::copy(&mut io::stdin(), &mut io::sink())?),
        "sleep" => thread::sleep(Duration::from_secs(number(words)?)),
        "ignore" => set_handler(named_signal(words)?, SigHandler::SigIgn)?,
        "catch" => set_handler(named_signal(words)?, SigHandler::Handler(note_signal))?,
        "await" => await_signal(named_signal(words)?),
        "kill" => {
            let pid = i32::try_from(number(words)?).map_err(|_| Failure::Usage)?;
            signal::kill(Pid::from_raw(pid), named_signal(words)?)?;
        }
        "serve" => serve(port(words)?, &text(words)?)?,
        "serve-datagrams" => serve_datagrams(port(words)?)?,
        "serve-passed" => serve_passed(number(words)?)?,
        "vsock" => vsock(number(words)?, number(words)?)?,
        "connect" => connect(port(words)?)?,
        "await-file" => {
            await_file(&text(words)?);
        }
        "print-clock" => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
            println!("clock={}", since.as_nanos());
        }
        "print-random" => print_random()?,
        "fill-memory" => {
            let mib = usize::try_from(number(words)?).map_err(|_| Failure::Usage)?;
            let memory = vec![0x5a_u8; mib << 20];
            println!("filled {} MiB", std::hint::black_box(&memory).len() >> 20);
            match (text(words)?.as_str(), text(words)?) {
                ("await-file", path) => await_file(&path),
                _ => return Err(Failure::Usage),
            }
            drop(memory);
            println!("freed");
        }
        "exit" => return Ok(Some(u8::try_from(number(words)?).map_err(|_| Failure::Usage)?)),
        _ => return Err(Failure::Usage),
    }
    Ok(None)
}

/// Prints a directory's entries.
fn list(path: &str) -> Result<(), Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    println!("{}", names.join(" "));
    Ok(())
}

/// With clone(2): default filters know unshare(2) as an administrator's.
fn make_user_namespace() -> Result<(), Failure> {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: like fork(2), in a process of one thread; the child does nothing but end.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(pid).map_err(|_| Failure::Usage)? {
        // SAFETY: ends the child, at once.
        0 => unsafe { libc::_exit(0) },
        pid if pid > 0 => {
            wait::waitpid(Pid::from_raw(pid), None)?;
            println!("user namespace made");
            Ok(())
        }
        _ => Err(io::Error::last_os_error().into()),
    }
}

/// Writes to a file that is as long as a page, through a mapping that stays.
fn map_file(path: &str, text: &str) -> Result<(), Failure> {
    const PAGE: usize = 4096;
    let file = File::options().read(true).write(true).open(path)?;
    if file.metadata()?.len() < PAGE as u64 || text.len() > PAGE {
        return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
    }
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let address = unsafe { mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED, &file, 0) }
        .map_err(io::Error::from)?;
    // SAFETY: the mapping is writable, at least as long as the text, and nobody else knows it.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), address.cast(), text.len()) };
    // SAFETY: a whole mapping of ours.
    unsafe { msync(address, PAGE, MsyncFlags::SYNC) }.map_err(io::Error::from)?;
    println!("mapped");
    Ok(())
}

/// Writes lines in two halves each, so that a reader that does not wait for the newline would mix them up.
fn lines(count: u64, pause: Duration) -> Result<(), Failure> {
    for index in 0..count {
        let (first, second) = (format!("line {index} first-half-"), "second-half\n");
        let write = |half: &str| -> io::Result<()> {
            if index % 2 == 0 {
                raw_write(&mut io::stdout(), half)
            } else {
                raw_write(&mut io::stderr(), half)
            }
        };
        write(&first)?;
        thread::sleep(pause);
        write(second)?;
    }
    Ok(())
}

/// Writes and flushes at once.
fn raw_write(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Writes exactly `bytes` bytes in lines of `line` bytes that hold nothing but their number.
fn flood(bytes: u64, line: u64) -> Result<(), Failure> {
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout());
    let width = usize::try_from(line.saturating_sub(1)).map_err(|_| Failure::Usage)?;
    for index in 0..bytes / line.max(1) {
        writeln!(output, "{index:0width$}")?;
    }
    output.flush()?;
    Ok(())
}

/// Writes so many bytes as fast as they are taken, in lines of `line` bytes, or in none if that is 0.
fn pour(output: &mut File, bytes: u64, line: u64) -> Result<(), Failure> {
    let line = usize::try_from(line).map_err(|_| Failure::Usage)?;
    let byte = |index: usize| if (index + 1).checked_rem(line) == Some(0) { b'\n' } else { b'x' };
    // Whole lines.
    let length = (1_usize << 16).next_multiple_of(line.max(1));
    let block: Vec<u8> = (0..length).map(byte).collect();
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        output.write_all(block.get(..count).unwrap_or(&block))?;
        left -= count as u64;
    }
    Ok(())
}

/// Installs a signal's handler.
fn set_handler(signal: Signal, handler: SigHandler) -> Result<(), Failure> {
    // SAFETY: the only handler function ever passed, note_signal, does nothing but an atomic store.
    unsafe { signal::signal(signal, handler) }?;
    Ok(())
}

/// The handler of caught signals.
extern "C" fn note_signal(signal: i32) {
    ARRIVED.store(signal, Ordering::SeqCst);
}

/// Waits for a caught signal.
fn await_signal(signal: Signal) {
    while ARRIVED.load(Ordering::SeqCst) != signal as i32 {
        thread::sleep(Duration::from_millis(20));
    }
    println!("got {}", signal.as_str());
}

/// Waits until the file exists.
fn await_file(path: &str) {
    while fs::symlink_metadata(path).is_err() {
        thread::sleep(Duration::from_millis(50));
    }
}

/// Prints random bytes without waiting for any.
fn print_random() -> io::Result<()> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the call writes no more than the array's length to it.
    let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if usize::try_from(read) != Ok(bytes.len()) {
        return Err(io::Error::last_os_error());
    }
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("random={}", digits.concat());
    Ok(())
}

/// Answers one connection.
fn serve(port: u16, answer: &str) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let (mut connection, _) = listener.accept()?;
    connection.write_all(answer.as_bytes())?;
    Ok(())
}

/// Answers datagrams by both protocols.
fn serve_datagrams(port: u16) -> Result<(), Failure> {
    let socket = UdpSocket::bind(("::", port))?;
    let mut datagram = [0; 2048];
    loop {
        let (count, from) = socket.recv_from(&mut datagram)?;
        let answer = datagram.get(..count).unwrap_or_default().to_ascii_uppercase();
        socket.send_to(&answer, from)?;
    }
}

/// Answers connections to the sockets that it was started with (sd_listen_fds(3)).
fn serve_passed(connections: u64) -> Result<(), Failure> {
    let variable = |name| env::var(name).unwrap_or_default();
    let (sockets, names) = (variable("LISTEN_FDS"), variable("LISTEN_FDNAMES"));
    let mine = variable("LISTEN_PID") == process::id().to_string();
    println!("sockets={sockets} names={names} mine={mine}");
    for number in (3..).take(sockets.parse().map_err(|_| Failure::Usage)?) {
        // SAFETY: by the protocol these descriptors are this program's, and nothing else in it uses them.
        let listener = unsafe { TcpListener::from_raw_fd(number) };
        println!("listening on {}", listener.local_addr()?);
        for _ in 0..connections {
            let (mut connection, _) = listener.accept()?;
            let mut question = String::new();
            connection.read_to_string(&mut question)?;
            connection.write_all(question.to_uppercase().as_bytes())?;
        }
    }
    Ok(())
}

/// Connects and prints what the server says.
fn connect(port: u16) -> Result<(), Failure> {
    for _ in 0..600 {
        if let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) {
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            println!("server says {answer}");
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens").into())
}

/// Tries to talk to the hypervisor or the host.
fn vsock(context: u64, port: u64) -> Result<(), Failure> {
    let number = |number: u64| u32::try_from(number).map_err(|_| Failure::Usage);
    let address = VsockAddr::new(number(context)?, number(port)?);
    let socket = socket::socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let connected = socket.and_then(|socket| socket::connect(socket.as_raw_fd(), &address));
    match connected {
        Ok(()) => println!("vsock {context}:{port} connected"),
        Err(error) => println!("vsock {context}:{port} {error:?}"),
    }
    Ok(())
}

/// Connects to port 1024 of the host: the control connection, where there is one.
fn connect_to_host() -> nix::Result<OwnedFd> {
    let socket = socket::socket(AddressFamily::Vsock, SockType::Stream, SockFlag::empty(), None)?;
    socket::connect(socket.as_raw_fd(), &VsockAddr::new(2, 1024)).map(|()| socket)
}

/// Fills the control connection with what is no message, and waits for the end.
fn talk_nonsense() -> ! {
    if let Ok(socket) = connect_to_host() {
        // Ten bytes long, it says, and then they are not what it may say.
        let nonsense = [&[10, 0, 0, 0][..], &[0xff; 64]].concat();
        while unistd::write(&socket, &nonsense).is_ok() {}
    }
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// The next word.
fn text(words: &mut impl Iterator<Item = String>) -> Result<String, Failure> {
    words.next().ok_or(Failure::Usage)
}

/// The next word as a number.
fn number(words: &mut impl Iterator<Item = String>) -> Result<u64, Failure> {
    text(words)?.parse().map_err(|_| Failure::Usage)
}

/// The next word as a port.
fn port(words: &mut impl Iterator<Item = String>) -> Result<u16, Failure> {
    u16::try_from(number(words)?).map_err(|_| Failure::Usage)
}

/// The next word as a signal, with or without SIG.
fn named_signal(words: &mut impl Iterator<Item = String>) -> Result<Signal, Failure> {
    let name = text(words)?;
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse().map_err(|_| Failure::Usage)
}
