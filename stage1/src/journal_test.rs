use std::io::{Read, Seek};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use guest_api::{AppId, StdioStream};
use uuid::Uuid;

use super::journal::Journal;

const APP: AppId = AppId(2);

struct Fixture {
    _directory: tempfile::TempDir,
    path: std::path::PathBuf,
    journald: UnixDatagram,
    journal: Journal,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let journald = UnixDatagram::bind(&path).unwrap();
    journald.set_nonblocking(true).unwrap();
    let mut journal = Journal::at(&path, Uuid::nil()).unwrap();
    journal.started(APP, "web", 17);
    Fixture { _directory: directory, path, journald, journal }
}

fn received(journald: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1 << 20];
    std::iter::from_fn(|| journald.recv(&mut buffer).ok().map(|count| buffer[..count].to_vec())).collect()
}

fn entry(level: u8, stream: &str, text: &str) -> Vec<u8> {
    let uuid = Uuid::nil();
    let mut entry = format!(
        "PRIORITY={level}\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=web\nSYSLOG_PID=17\nRKT_POD_UUID={uuid}\n\
         RKT_APP_NAME=web\nRKT_STREAM={stream}\nMESSAGE\n"
    )
    .into_bytes();
    entry.extend((text.len() as u64).to_le_bytes());
    entry.extend(text.as_bytes());
    entry.push(b'\n');
    entry
}

#[test]
fn every_line_is_an_entry_with_its_pod_its_app_and_its_level() {
    let Fixture { journald, mut journal, .. } = fixture();

    journal.push(APP, StdioStream::Stdout, b"one\r\n<3>bad\nla");
    journal.push(APP, StdioStream::Stderr, b"<9>odd\n<0>to all terminals\n");
    journal.close_all();

    let expected = [
        entry(6, "stdout", "one"),
        entry(3, "stdout", "bad"),
        entry(6, "stderr", "<9>odd"),
        entry(1, "stderr", "to all terminals"),
        entry(6, "stdout", "la"),
    ];
    assert_eq!(received(&journald), expected);
}

#[test]
fn a_journald_that_does_not_keep_up_holds_nobody_up_and_is_spoken_of_twice() {
    let Fixture { _directory, journald, mut journal, .. } = fixture();
    let line = [vec![b'x'; 40_000], vec![b'\n']].concat();

    let complaints: Vec<String> =
        (0..200).filter_map(|_| journal.push(APP, StdioStream::Stdout, &line)).collect();

    assert_eq!(complaints, ["warning: the journal is incomplete: journald does not keep up"]);
    assert!(journal.blocked().is_some());
    let lost = journal.finish(Some(Instant::now())).unwrap();
    assert!(lost.ends_with("lines of the apps are missing in the journal"), "{lost}");
    assert!(!received(&journald).is_empty());
}

#[test]
fn a_journald_that_is_replaced_gets_what_comes_next() {
    let Fixture { _directory, path, journald, mut journal } = fixture();
    drop(journald);
    std::fs::remove_file(&path).unwrap();
    let next = UnixDatagram::bind(&path).unwrap();
    next.set_nonblocking(true).unwrap();

    let begun = Instant::now();
    let first = loop {
        journal.push(APP, StdioStream::Stdout, b"still here\n");
        let first = received(&next);
        // Children that other tests fork hold the old socket for a moment.
        if !first.is_empty() || begun.elapsed() > Duration::from_secs(30) {
            break first;
        }
    };

    // What was said meanwhile may have waited.
    let expected = entry(6, "stdout", "still here");
    assert!(!first.is_empty() && first.iter().all(|one| *one == expected), "{first:?}");
}

#[test]
fn an_entry_too_large_for_a_datagram_travels_in_a_sealed_file() {
    let Fixture { journald, journal: _, path, _directory } = fixture();
    // A sender whose buffer is too small for the entry.
    let (sender, _) = (UnixDatagram::unbound().unwrap(), ());
    sender.connect(&path).unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&sender, 4096).unwrap();
    let large = vec![b'y'; 40_000];

    super::journal::send(&sender.into(), &large).unwrap();

    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let flags = rustix::net::RecvFlags::empty();
    rustix::net::recvmsg(&journald, &mut [], &mut control, flags).unwrap();
    let descriptor = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let mut file = std::fs::File::from(descriptor.unwrap());
    let mut content = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut content).unwrap();
    assert!(content == large);
    assert!(rustix::fs::fcntl_get_seals(&file).unwrap().contains(rustix::fs::SealFlags::WRITE));
}

/// A journald of its own in name spaces of its own; it ends with them.
struct Journald(std::process::Child);

impl Journald {
    fn start() -> Option<Self> {
        const PROGRAM: &str = "/usr/lib/systemd/systemd-journald";
        if !rustix::process::geteuid().is_root() || !std::path::Path::new(PROGRAM).exists() {
            return None;
        }
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal && exec {PROGRAM}"
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", &script]);
        Some(Self(command.stderr(std::process::Stdio::null()).spawn().unwrap()))
    }

    /// The root directory that journald sees.
    fn root(&self) -> std::path::PathBuf {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let child = std::fs::read_to_string(&children).unwrap_or_default();
            let root = std::path::PathBuf::from(format!("/proc/{}/root", child.trim()));
            if !child.is_empty() && root.join("run/systemd/journal/kernel-seqnum").exists() {
                return root;
            }
            assert!(Instant::now() < deadline, "journald does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_journald_finds_the_lines_of_a_pod() {
    // Where there is none, the tests above say what it would get.
    let Some(journald) = Journald::start() else { return };
    let root = journald.root();
    let pod = Uuid::from_u128(7);
    let mut journal = Journal::at(&root.join("run/systemd/journal/socket"), pod).unwrap();
    journal.started(APP, "web", 17);

    journal.push(APP, StdioStream::Stderr, b"<4>two\twords\n");
    assert_eq!(journal.finish(Instant::now().checked_add(Duration::from_secs(10))), None);

    let deadline = Instant::now() + Duration::from_secs(30);
    let found = loop {
        let mut command = std::process::Command::new("journalctl");
        command.arg("-D").arg(root.join("run/log/journal")).args(["-o", "json"]);
        let output = command.arg(format!("RKT_POD_UUID={pod}")).output().unwrap();
        if let Ok(found) = serde_json::from_slice::<serde_json::Value>(&output.stdout) {
            break found;
        }
        assert!(Instant::now() < deadline, "journald has nothing");
        std::thread::sleep(Duration::from_millis(50));
    };
    for (field, value) in [
        ("MESSAGE", "two\twords"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "web"),
        ("SYSLOG_PID", "17"),
        ("RKT_APP_NAME", "web"),
        ("RKT_STREAM", "stderr"),
    ] {
        assert_eq!(found[field], value, "{found}");
    }
}
