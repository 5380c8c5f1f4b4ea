//! Pods as the API shows them.
//!
//! Responsible for: finding pods while others move and remove them, and what is said of one. Must not know: filters,
//! connections. Follows rkt-reference.md 7.1 ("State mapping").

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use appc::{PodManifest, RuntimeApp};
use tonic::Status;

use super::cgroup;
use super::images::{DEFAULT_VERSION, appc_format, key_values};
use super::status;
use super::wire;
use crate::clock::{unix_nanoseconds, unix_seconds};
use crate::error::{Context, Result, Stage0Error};
use crate::pod::app_state::{self, AppTimes};
use crate::pod::inspect::Network;
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::manifest::is_mutable;
use crate::pod::state::{Stage, State};
use crate::store::ImageInfo;

/// How often a pod that moved on while it was read is read anew. It can move three times before it is garbage.
const MAX_LOOKS: usize = 4;

/// Images by their ID.
pub type Images = BTreeMap<String, ImageInfo>;

/// A pod, and what of it could not be read.
#[derive(Debug)]
pub struct Description {
    /// What is known.
    pub pod: wire::Pod,
    /// Why more is not.
    pub trouble: Vec<Stage0Error>,
}

/// Describes a pod last seen in `stage`; `None` when it is gone. With `detail` comes the manifest, and what `images` has on the
/// apps' images.
pub fn look(
    pods: &Pods,
    uuid: uuid::Uuid,
    stage: Stage,
    detail: Option<&Images>,
) -> Result<Option<Description>> {
    let mut found = pods.open(uuid, stage)?;
    for _ in 0..MAX_LOOKS {
        let Some(pod) = found else { return Ok(None) };
        let description = describe(&pod, detail);
        if description.trouble.is_empty() {
            return Ok(Some(description));
        }
        // A file that is missing means nothing if the pod was moved or removed meanwhile.
        found = pod.again(pods)?;
        if found.as_ref().is_some_and(|again| again.state() == pod.state()) {
            return Ok(Some(description));
        }
    }
    Ok(None)
}

/// A pod of which only its ID is known.
pub fn unreadable(uuid: uuid::Uuid) -> wire::Pod {
    wire::Pod { id: uuid.to_string(), pid: -1, ..wire::Pod::default() }
}

/// The pod whose UUID begins with `prefix`, and where it was seen. Errors: none or several are there.
pub fn resolve(pods: &Pods, prefix: &str) -> std::result::Result<(uuid::Uuid, Stage), Status> {
    let wanted = prefix.to_lowercase();
    let no_match = || Status::not_found(format!("no matches found for {prefix:?}"));
    if wanted.is_empty() {
        return Err(Status::invalid_argument("the pod's id is missing"));
    }
    let all = pods.list_nameable().map_err(|error| status::of(&error))?;
    let mut matches = all.into_iter().filter(|(uuid, _)| uuid.to_string().starts_with(&wanted));
    let found = matches.next().ok_or_else(no_match)?;
    match matches.count() {
        0 => Ok(found),
        others => Err(Status::invalid_argument(format!("ambiguous uuid, {} matches", others + 1))),
    }
}

fn describe(found: &FoundPod, detail: Option<&Images>) -> Description {
    let state = found.state();
    let mut pod = unreadable(found.uuid());
    let mut trouble = Vec::new();
    pod.state = state_number(state);
    if state == State::ExitedDeleting {
        return Description { pod, trouble };
    }
    if state.has_manifest() {
        match read_manifest(found) {
            Ok((bytes, manifest)) => {
                pod.annotations = key_values(manifest.annotations.iter().map(|a| (&a.name, &a.value)));
                let mutable = is_mutable(&manifest).unwrap_or(false);
                pod.apps =
                    manifest.apps.iter().map(|app| describe_app(found, app, mutable, detail)).collect();
                if detail.is_some() {
                    pod.manifest = bytes;
                }
            }
            Err(error) => trouble.push(error),
        }
    }
    match found.networks() {
        Ok(networks) => pod.networks = networks.into_iter().map(describe_network).collect(),
        Err(error) => trouble.push(error),
    }
    if state.was_started() {
        pod.pid = found.pid().unwrap_or(-1);
        pod.cgroup = cgroup::of(found, pod.pid).unwrap_or_default();
    }
    let time = |time: Option<_>| time.map(unix_nanoseconds).unwrap_or_default();
    pod.created_at = time(found.creation_time());
    pod.started_at = time(found.start_time());
    pod.gc_marked_at = time(found.marked_time());
    Description { pod, trouble }
}

fn read_manifest(found: &FoundPod) -> Result<(Vec<u8>, PodManifest)> {
    let bytes = found.read("pod", appc::MAX_MANIFEST_BYTES as u64 + 1)?;
    let manifest = PodManifest::from_json(&bytes)
        .context(format!("invalid pod manifest {}", found.path().join(Path::new("pod")).display()))?;
    Ok((bytes, manifest))
}

fn describe_app(found: &FoundPod, app: &RuntimeApp, mutable: bool, detail: Option<&Images>) -> wire::App {
    let state = match found.state() {
        // Each app of a mutable pod has a life of its own. For one that was not started yet there is no word.
        State::Running if mutable => match AppTimes::of(found, app.name.as_str()).stage() {
            app_state::Stage::Running => wire::AppState::Running,
            app_state::Stage::Exited => wire::AppState::Exited,
            app_state::Stage::Created | app_state::Stage::Unknown => wire::AppState::Undefined,
        },
        State::Running => wire::AppState::Running,
        state if state.is_after_run() => wire::AppState::Exited,
        _ => wire::AppState::Undefined,
    };
    let unknown = if state == wire::AppState::Exited { 0 } else { -1 };
    let exit_code = match state {
        wire::AppState::Undefined => unknown,
        _ => found.exit_code(app.name.as_str()).unwrap_or(unknown),
    };
    wire::App {
        name: app.name.to_string(),
        image: Some(describe_image(found, app, detail)),
        state: state.into(),
        exit_code,
        annotations: key_values(app.annotations.iter().map(|a| (&a.name, &a.value))),
    }
}

/// The image as the pod knows it, so that it can be told when it is no longer in the store.
fn describe_image(found: &FoundPod, app: &RuntimeApp, detail: Option<&Images>) -> wire::Image {
    let id = app.image.id.to_string();
    let (name, version) = match &app.image.name {
        Some(name) => (name.to_string(), app.image.labels.get("version").map(str::to_owned)),
        // A manifest of the user's need not name it.
        None => match found.image_manifest(app.name.as_str()) {
            Ok(manifest) => (manifest.name.to_string(), manifest.labels.get("version").map(str::to_owned)),
            Err(_) => (String::new(), None),
        },
    };
    let stored = detail.and_then(|images| images.get(&id));
    wire::Image {
        base_format: Some(appc_format()),
        version: version.unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
        import_timestamp: stored.map(|image| unix_seconds(image.import_time)).unwrap_or_default(),
        size: stored.map(|image| i64::try_from(image.size).unwrap_or(i64::MAX)).unwrap_or_default(),
        id,
        name,
        ..wire::Image::default()
    }
}

fn describe_network(network: Network) -> wire::Network {
    let is_ipv6 = matches!(network.ip.parse(), Ok(IpAddr::V6(_)));
    let (ipv4, ipv6) = if is_ipv6 { (String::new(), network.ip) } else { (network.ip, String::new()) };
    wire::Network { name: network.net_name, ipv4, ipv6 }
}

/// The number of a state on the wire.
pub fn state_number(state: State) -> i32 {
    let state = match state {
        State::Embryo => wire::PodState::Embryo,
        State::Preparing => wire::PodState::Preparing,
        State::AbortedPrepare => wire::PodState::AbortedPrepare,
        State::Prepared => wire::PodState::Prepared,
        State::Running => wire::PodState::Running,
        State::Deleting => wire::PodState::Deleting,
        State::ExitedDeleting => wire::PodState::Undefined,
        State::Exited => wire::PodState::Exited,
        State::ExitedGarbage | State::Garbage => wire::PodState::Garbage,
    };
    state.into()
}
