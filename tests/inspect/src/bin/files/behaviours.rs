//! What one system call does not show: sharing memory, holes, events, locks, sizes beyond 4 GiB.
//!
//! Responsible for short programs in a fresh directory, each with the verdict that a local file system gives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// A program and what it says where all is well.
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) run: fn() -> io::Result<String>,
}

pub(crate) const ALL: [Behaviour; 15] = [
    Behaviour { name: "mmap/shared-is-coherent", expected: "ok", run: shared_mapping },
    Behaviour { name: "mmap/private-keeps-file", expected: "ok", run: private_mapping },
    Behaviour { name: "sparse/holes-are-found", expected: "ok", run: holes },
    Behaviour { name: "size/beyond-4-GiB", expected: "ok", run: large },
    Behaviour { name: "direct/aligned-and-not", expected: "ok,EINVAL", run: direct },
    Behaviour { name: "tmpfile/appears-when-linked", expected: "ok", run: unnamed },
    Behaviour { name: "names/any-bytes", expected: "254", run: names },
    Behaviour { name: "copy-file-range/copies", expected: "ok", run: copy_range },
    Behaviour { name: "lock/fcntl-conflicts", expected: "EAGAIN", run: record_lock },
    Behaviour { name: "lock/flock-conflicts", expected: "EAGAIN", run: whole_lock },
    Behaviour { name: "lock/ofd-conflicts", expected: "EAGAIN,ok", run: description_lock },
    Behaviour { name: "inotify/sees-changes", expected: "create+modify+move+delete", run: events },
    Behaviour { name: "exec/busy-text", expected: "ETXTBSY,ok", run: busy_text },
    Behaviour { name: "socket/connects", expected: "hello", run: socket },
    Behaviour { name: "readdir/many-names", expected: "200", run: many_names },
];

const PAGE: usize = 4096;

fn create(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
}

fn verdict(good: bool) -> String {
    if good { "ok" } else { "differs" }.to_owned()
}

/// Writes `bytes` at the start of a shared or private mapping of the file's first page.
fn store(file: BorrowedFd<'_>, flags: MapFlags, bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let address = unsafe { mmap(std::ptr::null_mut(), PAGE, protection, flags, file, 0) }?;
    // SAFETY: the mapping has PAGE bytes, readable and writable, and nobody else in this process knows of it.
    let page = unsafe { std::slice::from_raw_parts_mut(address.cast::<u8>(), PAGE) };
    let before = page.to_vec();
    for (slot, byte) in page.iter_mut().zip(bytes) {
        *slot = *byte;
    }
    if flags == MapFlags::SHARED {
        // SAFETY: the range is the mapping.
        unsafe { msync(address, PAGE, MsyncFlags::SYNC) }?;
    }
    // SAFETY: the range is the mapping, and the slice is not used any more.
    unsafe { munmap(address, PAGE) }?;
    Ok(before)
}

/// Maps a file shared and writes to it.
pub(crate) fn map_file(file: BorrowedFd<'_>) -> Result<String, Errno> {
    store(file, MapFlags::SHARED, b"M").map(|_| "ok".to_owned())
}

fn shared_mapping() -> io::Result<String> {
    use std::os::fd::AsFd;
    let mut file = create("f")?;
    file.write_all(&[b'w'; PAGE])?;
    let before = store(file.as_fd(), MapFlags::SHARED, b"mapped")?;
    let mut start = [0; 7];
    file.read_exact_at(&mut start, 0)?;
    file.write_all_at(b"again", 0)?;
    let after = store(file.as_fd(), MapFlags::SHARED, b"")?;
    Ok(verdict(before == [b'w'; PAGE] && &start == b"mappedw" && after.starts_with(b"againdw")))
}

fn private_mapping() -> io::Result<String> {
    use std::os::fd::AsFd;
    let mut file = create("f")?;
    file.write_all(&[b'w'; PAGE])?;
    store(file.as_fd(), MapFlags::PRIVATE, b"mapped")?;
    Ok(verdict(fs::read("f")? == [b'w'; PAGE]))
}

fn holes() -> io::Result<String> {
    use rustix::fs::{SeekFrom as From, seek};
    let file = create("f")?;
    let size = 1 << 20;
    file.set_len(size)?;
    file.write_all_at(&[1; PAGE], size / 2)?;
    file.sync_all()?;
    let (data, hole) = (seek(&file, From::Data(0))?, seek(&file, From::Hole(size / 2))?);
    let end = seek(&file, From::Data(size / 2 + PAGE as u64)) == Err(Errno::NXIO);
    let sparse = file.metadata()?.blocks() * 512 < size;
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, size / 2, PAGE as u64)?;
    let mut page = [7; PAGE];
    file.read_exact_at(&mut page, size / 2)?;
    let found = data == size / 2 && hole == size / 2 + PAGE as u64;
    Ok(verdict(found && end && sparse && page == [0; PAGE]))
}

fn large() -> io::Result<String> {
    let mut file = create("f")?;
    let place = (5 << 30) + 123;
    file.write_all_at(b"far away", place)?;
    let size = file.metadata()?.size();
    file.seek(SeekFrom::End(-8))?;
    let mut end = String::new();
    file.read_to_string(&mut end)?;
    Ok(verdict(size == place + 8 && end == "far away"))
}

fn direct() -> io::Result<String> {
    let open =
        || OpenOptions::new().read(true).write(true).create(true).custom_flags(libc::O_DIRECT).open("f");
    let file = open()?;
    // One of these is aligned, whatever the allocator gave.
    let buffer = vec![b'd'; 3 * PAGE];
    let offset = buffer.as_ptr().align_offset(PAGE);
    let aligned = buffer.get(offset..offset + PAGE).unwrap_or_default();
    file.write_all_at(aligned, 0)?;
    let good = fs::read("f")? == [b'd'; PAGE];
    let unaligned = buffer.get(offset + 1..offset + 100).unwrap_or_default();
    let refused = match file.write_at(unaligned, 1) {
        Ok(_) => "ok".to_owned(),
        Err(error) => crate::calls::errno_name(error.raw_os_error().unwrap_or(0)),
    };
    Ok(format!("{},{refused}", verdict(good)))
}

fn unnamed() -> io::Result<String> {
    use std::os::fd::AsRawFd;
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o640).open(".")?;
    file.write_all(b"content")?;
    let hidden = fs::read_dir(".")?.count() == 0 && file.metadata()?.nlink() == 0;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (here, follow) = (rustix::fs::CWD, rustix::fs::AtFlags::SYMLINK_FOLLOW);
    rustix::fs::linkat(here, own.as_str(), here, "named", follow)?;
    let linked = fs::metadata("named")?;
    Ok(verdict(
        hidden && fs::read("named")? == b"content" && linked.nlink() == 1 && linked.mode() & 0o777 == 0o640,
    ))
}

/// Every byte that a name may hold, each between two others.
fn names() -> io::Result<String> {
    for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
        std::os::unix::fs::symlink("x", std::ffi::OsStr::from_bytes(&[b'<', byte, b'>']))?;
    }
    let mut seen = std::collections::BTreeSet::new();
    for entry in fs::read_dir(".")? {
        seen.insert(entry?.file_name().as_bytes().get(1).copied());
    }
    Ok(seen.len().to_string())
}

fn copy_range() -> io::Result<String> {
    fs::write("from", "abcdefghij")?;
    let (from, to) = (File::open("from")?, create("to")?);
    to.write_all_at(b"0123456789", 0)?;
    let (mut start, mut target) = (2, 4);
    let copied = rustix::fs::copy_file_range(&from, Some(&mut start), &to, Some(&mut target), 4)?;
    Ok(verdict(copied == 4 && fs::read("to")? == b"0123cdef89"))
}

/// A lock that another process is refused. fcntl's locks belong to processes, so this needs one.
fn record_lock() -> io::Result<String> {
    use nix::fcntl::{FcntlArg, fcntl};
    let file = create("f")?;
    let lock = flock_of(libc::F_WRLCK);
    fcntl(&file, FcntlArg::F_SETLK(&lock))?;
    // SAFETY: this program has one thread.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            let refused = fcntl(&file, FcntlArg::F_SETLK(&lock)).err().map_or(0, |error| error as i32);
            // SAFETY: ends this process and does nothing else.
            unsafe { libc::_exit(refused) }
        }
        nix::unistd::ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None)? {
            nix::sys::wait::WaitStatus::Exited(_, code) => Ok(crate::calls::errno_name(code)),
            other => Ok(format!("{other:?}")),
        },
    }
}

fn flock_of(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn whole_lock() -> io::Result<String> {
    let held = Flock::lock(create("f")?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
    let second = Flock::lock(File::open("f")?, FlockArg::LockSharedNonblock);
    let answer = second.err().map_or_else(|| "ok".to_owned(), |(_, error)| format!("{error:?}"));
    drop(held);
    Ok(answer)
}

fn description_lock() -> io::Result<String> {
    use nix::fcntl::{FcntlArg, fcntl};
    let (first, second) = (create("f")?, OpenOptions::new().write(true).read(true).open("f")?);
    fcntl(&first, FcntlArg::F_OFD_SETLK(&flock_of(libc::F_WRLCK)))?;
    let lock = flock_of(libc::F_WRLCK);
    let attempt = || match fcntl(&second, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    let refused = attempt();
    drop(first);
    Ok(format!("{refused},{}", attempt()))
}

fn events() -> io::Result<String> {
    let watcher = inotify::init(CreateFlags::NONBLOCK)?;
    let wanted = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::DELETE;
    inotify::add_watch(&watcher, ".", wanted)?;
    fs::write("f", "x")?;
    fs::rename("f", "g")?;
    fs::remove_file("g")?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watcher, &mut buffer);
    let mut seen = Vec::new();
    while let Ok(event) = reader.next() {
        let flags = event.events();
        for (flag, name) in [
            (ReadFlags::CREATE, "create"),
            (ReadFlags::MODIFY, "modify"),
            (ReadFlags::MOVED_TO, "move"),
            (ReadFlags::DELETE, "delete"),
        ] {
            if flags.contains(flag) && seen.last() != Some(&name) {
                seen.push(name);
            }
        }
    }
    Ok(seen.join("+"))
}

/// This very program under another name, running.
fn hold() -> io::Result<Child> {
    fs::copy(env::current_exe()?, "program")?;
    fs::set_permissions("program", fs::Permissions::from_mode(0o755))?;
    let mut attempts = 0;
    loop {
        match Command::new("./program").args(["--hold", "60"]).stdin(Stdio::null()).spawn() {
            // A file that was written a moment ago may still be open for writing in somebody's child.
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) && attempts < 50 => {
                attempts += 1;
                thread::sleep(std::time::Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

fn busy_text() -> io::Result<String> {
    let mut child = hold()?;
    let attempt = || match OpenOptions::new().write(true).open("program") {
        Ok(_) => "ok".to_owned(),
        Err(error) => crate::calls::errno_name(error.raw_os_error().unwrap_or(0)),
    };
    let while_running = attempt();
    child.kill()?;
    child.wait()?;
    Ok(format!("{while_running},{}", attempt()))
}

fn socket() -> io::Result<String> {
    let listener = UnixListener::bind("socket")?;
    let mut client = UnixStream::connect("socket")?;
    let (mut server, _) = listener.accept()?;
    server.write_all(b"hello")?;
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text)?;
    Ok(text)
}

/// More names than one answer to getdents(2) holds, some of which go while they are read.
fn many_names() -> io::Result<String> {
    for index in 0..200 {
        File::create(format!("a-name-of-some-length-{index:0150}"))?;
    }
    let mut seen = std::collections::BTreeSet::new();
    for entry in fs::read_dir(".")? {
        let name = entry?.file_name();
        fs::remove_file(&name)?;
        seen.insert(name);
    }
    Ok(seen.len().to_string())
}
