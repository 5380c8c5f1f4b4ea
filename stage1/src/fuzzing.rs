//! Entry points of the fuzz targets in `tests/fuzz`: what reads bytes of guests, apps and images.
//!
//! Responsible for: calling one piece each, and checking what must hold for every input. Each says whether the input came deep: as far as
//! the bug that `cargo xtask fuzz --planted` plants. Must not know: the fuzzer.

use std::collections::BTreeMap;

use appc::{ImageManifest, PodManifest};
use guest_api::{
    AppId, Destination, FrameBuffer, INITIAL_CREDIT_BYTES, Identity, Incoming, MAX_FILTER_BYTES, MountSpec,
    NetworkSpec, PodSpec, StdioStream, ToHost, encode,
};
use tunnels::{Side, Target, Tunnels};

use crate::exit::ExitCode;
use crate::flags::RunFlags;
use crate::guest::{Action, Conversation};
use crate::log_files;
use crate::plan::{HostFacts, plan};
use crate::stdio::MAX_LINE_BYTES;

/// What the host of a plan has.
const HOST_CPUS: usize = 4;
const HOST_MEMORY_BYTES: u64 = 1 << 33;

fn specification() -> PodSpec {
    let identity =
        Identity { uuid: String::new(), hostname: String::new(), realtime_ns: 0, entropy: [0; 32] };
    let network = NetworkSpec::default();
    PodSpec {
        identity,
        apps: Vec::new(),
        stop_on_failure: true,
        stop_grace_ms: 0,
        metadata_service: true,
        mutable: false,
        network,
    }
}

/// What the supervisor does about a guest's messages, without the world around it.
struct Supervisor {
    conversation: Conversation,
    tunnels: Tunnels,
    /// What each stream was written and not granted again.
    unwritten: BTreeMap<(AppId, StdioStream), usize>,
    /// Every so many bytes of output are written at once.
    slow: bool,
    exited: bool,
}

impl Supervisor {
    fn new(choice: u8) -> Self {
        let apps = [("first".to_owned(), 2), ("second".to_owned(), 0)];
        let conversation =
            if choice & 1 == 0 { Conversation::new(apps) } else { Conversation::mutable(apps) };
        let mut tunnels = Tunnels::new(Side::Host);
        // Nobody is there: the tunnel ends by itself.
        tunnels.serve(Destination::MetadataService, Target::Unix("/nonexistent".into()));
        Self { conversation, tunnels, unwritten: BTreeMap::new(), slow: choice & 2 != 0, exited: false }
    }

    /// Takes one message. None if the pod ends because of it.
    fn take(&mut self, message: ToHost) -> Option<()> {
        for action in self.conversation.receive(message, specification).ok()? {
            match action {
                Action::Output { app, stream, data } => self.output(app, stream, data.len()),
                Action::OfTunnel(message) => {
                    self.tunnels.receive(&message).ok()?;
                    for message in self.tunnels.relay(true) {
                        assert!(encode(&message).is_ok());
                    }
                }
                Action::RecordStatus { status, .. } => self.exited |= status == 7,
                Action::Send(message) => assert!(encode(&*message).is_ok()),
                _ => {}
            }
        }
        Some(())
    }

    fn output(&mut self, app: AppId, stream: StdioStream, bytes: usize) {
        let unwritten = self.unwritten.entry((app, stream)).or_default();
        *unwritten += bytes;
        assert!(*unwritten <= INITIAL_CREDIT_BYTES as usize, "more than was granted is held");
        if !self.slow {
            let bytes = u32::try_from(std::mem::take(unwritten)).unwrap_or(u32::MAX);
            self.conversation.written(app, stream, bytes);
        }
    }
}

/// Frames of a hostile guest on the control connection, in pieces of any size. What is understood means the same when it is said again;
/// a guest never makes the host hold more output than it was granted. Deep: an app ends with status 7, as that of a pod that fails.
pub fn guest_messages(data: &[u8]) -> bool {
    let Some(([choice, piece], frames)) = data.split_first_chunk::<2>() else { return false };
    let mut supervisor = Supervisor::new(*choice);
    let mut buffer = FrameBuffer::new();
    for piece in frames.chunks(usize::from(*piece) + 1) {
        buffer.push(piece);
        loop {
            let message = match buffer.next_incoming() {
                Ok(Some(Incoming::Output(output))) => ToHost::Output {
                    process: output.process,
                    stream: output.stream,
                    data: output.data.to_vec(),
                },
                Ok(Some(Incoming::Message(message))) => message,
                Ok(None) => break,
                Err(_) => return false,
            };
            let mut again = FrameBuffer::new();
            again.push(&encode(&message).unwrap_or_default());
            assert_eq!(again.next_message().ok().flatten().as_ref(), Some(&message));
            if supervisor.take(message).is_none() {
                return false;
            }
        }
    }
    let (_, _) = supervisor.conversation.kill();
    supervisor.conversation.vm_was_killed();
    supervisor.exited && supervisor.conversation.exit_code() == ExitCode(7)
}

/// The manifests of a pod and of its image, separated by a zero. What is planned can be told to a guest, and names nothing outside of
/// its share. Deep: an app that is to be killed clearly sooner than others when memory
/// runs out.
pub fn pod_plan(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Ok(pod) = PodManifest::from_json(parts.next().unwrap_or_default()) else { return false };
    let image = parts.next().and_then(|image| ImageManifest::from_json(image).ok());
    let names = pod.apps.iter().map(|app| app.name.clone());
    let images: BTreeMap<_, _> = names.filter_map(|name| Some((name, image.clone()?))).collect();
    let host = HostFacts { cpus: HOST_CPUS, memory_bytes: HOST_MEMORY_BYTES, ..HostFacts::default() };
    let Ok(plan) = plan(&RunFlags::default(), &pod, &images, &host) else { return false };
    let inside = |path: &str| !path.starts_with('/') && path.split('/').all(|part| part != "..");
    for (number, app) in (0..).zip(&plan.guest.apps) {
        assert_eq!(app.id, AppId(number));
        assert!(inside(&app.rootfs), "{:?} is outside of the share", app.rootfs);
        for MountSpec { source, .. } in &app.mounts {
            assert!(inside(source), "{source:?} is outside of the share");
        }
        let filter = app.isolation.seccomp.as_deref().unwrap_or_default();
        assert!(filter.len() <= MAX_FILTER_BYTES, "a filter of {} bytes", filter.len());
    }
    let told = encode(&PodSpec { apps: plan.guest.apps.clone(), ..specification() });
    assert!(told.is_ok(), "a plan that cannot be told: {told:?}");
    plan.guest.apps.iter().any(|app| app.isolation.oom_score_adjustment.is_some_and(|score| score > 5))
}

/// What an app writes to either stream, piece by piece, as records of its log; the end of each stream too.
pub fn log_records<'d>(pieces: impl IntoIterator<Item = (bool, &'d [u8])>) -> Vec<u8> {
    const STDOUT: &[u8] = b"2026-11-23T08:00:00.000000000Z stdout F ";
    const STDERR: &[u8] = b"2026-11-23T08:00:00.000000000Z stderr F ";
    let (mut stdout, mut stderr, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for (is_stdout, piece) in pieces {
        let (prefix, partial) = if is_stdout { (STDOUT, &mut stdout) } else { (STDERR, &mut stderr) };
        log_files::format(&mut records, prefix, partial, piece);
        assert!(partial.len() <= MAX_LINE_BYTES, "a line of {} bytes is held", partial.len());
    }
    for (prefix, partial) in [(STDOUT, &mut stdout), (STDERR, &mut stderr)] {
        if !partial.is_empty() {
            log_files::format(&mut records, prefix, partial, b"\n");
        }
    }
    records
}
