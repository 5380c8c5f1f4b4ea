use std::os::fd::OwnedFd;

use guest_api::*;
use nix::unistd::Pid;
use proptest::prelude::*;
use tunnels::{Side, Tunnels};

use super::child::Child;
use super::*;
use crate::app::descriptors;
use crate::app::report;
use crate::app::start::Started;

const APP: Process = Process::App(AppId(0));
const SESSION: Process = Process::Session(SessionId(0));

fn spec() -> PodSpec {
    PodSpec {
        identity: Identity { uuid: String::new(), hostname: String::new(), realtime_ns: 0, entropy: [0; 32] },
        apps: Vec::new(),
        stop_on_failure: true,
        stop_grace_ms: 0,
        metadata_service: false,
        mutable: false,
        network: NetworkSpec::default(),
    }
}

/// A supervisor that never settles: what it is told is taken in, and nothing is carried out. Its processes wait for their
/// programs, so that no signal leaves it.
struct Deaf {
    host: OwnedFd,
    reporters: Vec<report::Reporter>,
}

impl Deaf {
    fn new(spec: &PodSpec) -> (Self, Supervisor) {
        let (host, guest) = nix::sys::socket::socketpair(
            nix::sys::socket::AddressFamily::Unix,
            nix::sys::socket::SockType::Stream,
            None,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let signals = SignalFd::new(&nix::sys::signal::SigSet::empty()).unwrap();
        let mut supervisor =
            Supervisor::new(spec, Control::over(guest).unwrap(), signals, Tunnels::new(Side::Guest));
        let mut reporters = Vec::new();
        for process in [APP, SESSION] {
            let (report, reporter) = report::pair().unwrap();
            let descriptors = descriptors::make(Stdio::PIPES).unwrap().0;
            let started = Started { pid: Pid::from_raw(i32::MAX), report, descriptors };
            supervisor.children.insert(process, Child::new(started));
            reporters.push(reporter);
        }
        (Self { host, reporters }, supervisor)
    }

    fn say(&self, supervisor: &mut Supervisor, message: &ToGuest) {
        rustix::io::write(&self.host, &encode(message).unwrap()).unwrap();
        // Three reads hold the longest of these messages.
        (0..3).for_each(|_| supervisor.receive());
        supervisor.control.flush().unwrap();
    }

    /// Everything the guest said.
    fn heard(&self) -> Vec<ToHost> {
        rustix::io::ioctl_fionbio(&self.host, true).unwrap();
        let mut buffer = FrameBuffer::new();
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = rustix::io::read(&self.host, bytes.as_mut_slice()) {
            buffer.push(&bytes[..count]);
        }
        std::iter::from_fn(|| buffer.next_message().unwrap()).collect()
    }
}

fn lost(supervisor: &Supervisor) -> bool {
    supervisor.events.contains(&pod::Event::ControlLost.into())
}

fn exec(id: u32) -> ToGuest {
    let command = vec!["/bin/true".to_owned()];
    let id = SessionId(id);
    ToGuest::Exec(SessionSpec { id, app: AppId(7), command, environment: Vec::new(), stdio: Stdio::LOG })
}

#[test]
fn input_that_was_taken_is_granted_again() {
    let spec = spec();
    let (host, mut supervisor) = Deaf::new(&spec);

    host.say(&mut supervisor, &ToGuest::Input { process: SESSION, data: vec![0; MAX_INPUT_BYTES] });

    let bytes = u32::try_from(MAX_INPUT_BYTES).unwrap();
    assert_eq!(host.heard(), [ToHost::InputCredit { process: SESSION, bytes }]);
}

#[test]
fn input_beyond_credit_is_the_end_of_the_conversation() {
    let spec = spec();
    let (host, mut supervisor) = Deaf::new(&spec);

    host.say(&mut supervisor, &ToGuest::Input { process: APP, data: vec![0; MAX_INPUT_BYTES + 1] });

    assert!(lost(&supervisor));
}

#[test]
fn command_for_an_app_that_does_not_exist_fails_with_a_reason() {
    let spec = spec();
    let (host, mut supervisor) = Deaf::new(&spec);

    host.say(&mut supervisor, &exec(5));

    let reason = "the pod has no app number 7".to_owned();
    let failed = session::Event::StartFailed { session: SessionId(5), reason };
    assert_eq!(supervisor.events, [failed.into()]);
}

#[test]
fn number_of_a_command_that_runs_given_to_another_is_the_end_of_the_conversation() {
    let spec = spec();
    let (host, mut supervisor) = Deaf::new(&spec);

    host.say(&mut supervisor, &exec(5));
    assert!(!lost(&supervisor));
    host.say(&mut supervisor, &exec(5));

    assert!(lost(&supervisor));
}

#[test]
fn messages_about_processes_that_are_gone_are_no_error() {
    let spec = spec();
    let (host, mut supervisor) = Deaf::new(&spec);
    let process = Process::Session(SessionId(99));
    let size = WindowSize { rows: 1, columns: 1 };

    for message in [
        ToGuest::Input { process, data: vec![1] },
        ToGuest::InputClosed(process),
        ToGuest::Resize { process, size },
        ToGuest::Signal { process, signal: 9 },
        ToGuest::Credit { process, stream: StdioStream::Stdout, bytes: 1 },
    ] {
        host.say(&mut supervisor, &message);
    }

    assert_eq!(supervisor.events, []);
    assert_eq!(host.heard(), []);
}

fn any_process() -> impl Strategy<Value = Process> {
    prop_oneof![
        (0_u16..2).prop_map(|id| Process::App(AppId(id))),
        (0_u32..3).prop_map(|id| Process::Session(SessionId(id))),
    ]
}

fn any_message() -> impl Strategy<Value = ToGuest> {
    prop_oneof![
        Just(ToGuest::Stop),
        Just(ToGuest::Kill),
        (0_u32..5).prop_map(exec),
        (0_u32..5).prop_map(|id| ToGuest::HangUp(SessionId(id))),
        any_process().prop_map(ToGuest::InputClosed),
        (any_process(), any::<u8>()).prop_map(|(process, signal)| ToGuest::Signal { process, signal }),
        (any_process(), 0..2 * MAX_INPUT_BYTES)
            .prop_map(|(process, length)| ToGuest::Input { process, data: vec![7; length] }),
        (any_process(), any::<u16>(), any::<u16>()).prop_map(|(process, rows, columns)| ToGuest::Resize {
            process,
            size: WindowSize { rows, columns }
        }),
        (any_process(), any::<bool>(), any::<u32>()).prop_map(|(process, first, bytes)| ToGuest::Credit {
            process,
            stream: if first { StdioStream::Stdout } else { StdioStream::Stderr },
            bytes,
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_in_any_order_are_taken_in(messages in proptest::collection::vec(any_message(), 0..40)) {
        let spec = spec();
        let (host, mut supervisor) = Deaf::new(&spec);

        for message in &messages {
            host.say(&mut supervisor, message);
            host.heard();
        }

        prop_assert_eq!(host.reporters.len(), 2);
    }
}
