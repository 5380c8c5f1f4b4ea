//! Making an App Container image manifest out of an image configuration.
//!
//! Responsible for: the table of the conversion. Must not know: where the image comes from, its layers. Follows
//! rkt-reference.md 3.7 and the OCI image specification 1.1, config.md.
//!
//! The links `/dev/stdin`, `/dev/stdout`, `/dev/stderr` and `/dev/fd`, which rkt's converter added to the files, are made
//! for every app by the guest's init, with outputs that belong to the app's user.

use std::collections::HashMap;
use std::path::Path;

use appc::{AcIdentifier, AcName, App, AppcError, EnvironmentVariable, ImageManifest, MountPoint, Port};

use super::{Digest, ImageConfig, OciError};

/// The user of images that name none.
const ROOT: &str = "0";

/// What is known about an image besides its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the converted image.
    pub name: AcIdentifier,
    /// Its label `version`.
    pub version: Option<String>,
    /// The reference as it was typed.
    pub original_name: String,
    /// Host of the registry; empty for layouts.
    pub registry: String,
    /// Name in the registry. rkt tells a converted image by it.
    pub repository: String,
    /// The tag, or empty.
    pub tag: String,
    /// The image manifest.
    pub manifest: Digest,
    /// The configuration.
    pub config: Digest,
}

/// A converted manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The manifest.
    pub manifest: ImageManifest,
    /// What could not be kept, in sentences.
    pub warnings: Vec<String>,
}

/// Converts a configuration.
pub fn convert(origin: &Origin, config: &ImageConfig) -> Result<Converted, OciError> {
    let impossible = |reason: String| OciError::Unsupported { what: what(origin), reason };
    let mut manifest = ImageManifest::new(origin.name.clone());
    let arch = appc_arch(&config.architecture, &config.variant).ok_or_else(|| {
        impossible(format!("App Container images know no architecture {:?}", config.architecture))
    })?;
    let labels = [("os", config.os.as_str()), ("arch", arch)];
    let version = origin.version.as_deref().map(|version| ("version", version));
    for (name, value) in labels.into_iter().chain(version) {
        manifest.labels.set(identifier(name)?, value).map_err(schema(origin))?;
    }
    annotate(&mut manifest, origin, config)?;
    let mut warnings = Vec::new();
    manifest.app = Some(app(origin, config, &mut warnings)?);
    Ok(Converted { manifest, warnings })
}

fn what(origin: &Origin) -> String {
    format!("image {}", origin.original_name)
}

fn schema(origin: &Origin) -> impl Fn(AppcError) -> OciError + '_ {
    move |e| OciError::Unsupported { what: what(origin), reason: e.to_string() }
}

fn identifier(text: &str) -> Result<AcIdentifier, OciError> {
    text.parse().map_err(|e: AppcError| OciError::Malformed { what: text.to_owned(), reason: e.to_string() })
}

/// The schema's word for one of Go's architectures.
fn appc_arch(architecture: &str, variant: &str) -> Option<&'static str> {
    Some(match (architecture, variant) {
        ("amd64", _) => "amd64",
        ("386", _) => "i386",
        ("arm64", _) => "aarch64",
        ("arm", "v6") => "armv6l",
        ("arm", "" | "v7") => "armv7l",
        ("ppc64le", _) => "ppc64le",
        _ => return None,
    })
}

fn annotate(manifest: &mut ImageManifest, origin: &Origin, config: &ImageConfig) -> Result<(), OciError> {
    let json = |list: &[String]| {
        if list.is_empty() { String::new() } else { serde_json::Value::from(list).to_string() }
    };
    // The schema asks for a date; a text that is none says nothing.
    let created =
        if config.created.parse::<jiff::Timestamp>().is_ok() { config.created.as_str() } else { "" };
    let annotations = [
        ("author", config.author.as_str()),
        ("created", created),
        ("docker-comment", &config.comment),
        ("appc.io/docker/originalname", &origin.original_name),
        ("appc.io/docker/registryurl", &origin.registry),
        ("appc.io/docker/repository", &origin.repository),
        ("appc.io/docker/tag", &origin.tag),
        ("appc.io/docker/imageid", &origin.config.to_string()),
        ("appc.io/docker/manifesthash", &origin.manifest.to_string()),
        ("appc.io/docker/entrypoint", &json(&config.config.entrypoint)),
        ("appc.io/docker/cmd", &json(&config.config.cmd)),
        ("appc.io/docker/stopsignal", &config.config.stop_signal),
    ];
    for (name, value) in annotations.into_iter().filter(|(_, value)| !value.is_empty()) {
        manifest.annotations.set(identifier(name)?, value);
    }
    Ok(())
}

fn app(origin: &Origin, config: &ImageConfig, warnings: &mut Vec<String>) -> Result<App, OciError> {
    let run = &config.config;
    let (user, group) = user_and_group(&run.user);
    let mut app = App {
        exec: run.entrypoint.iter().chain(&run.cmd).cloned().collect(),
        user,
        group,
        working_directory: Some(absolute(&run.working_dir)).filter(|directory| directory != "/"),
        environment: environment(&run.env, warnings),
        user_labels: run.labels.clone(),
        ..App::default()
    };
    app.mount_points = mount_points(run.volumes.keys()).map_err(schema(origin))?;
    for port in run.exposed_ports.keys() {
        app.ports.push(self::port(origin, port)?);
    }
    app.ports.sort_by(|a, b| a.name.cmp(&b.name));
    app.validate().map_err(schema(origin))?;
    Ok(app)
}

/// `user[:group]`. Without a group it is called as the user: which one the user has is known inside the image only,
/// where rkt looks for it later.
fn user_and_group(text: &str) -> (String, String) {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let user = if user.is_empty() { ROOT } else { user };
    let group = if group.is_empty() { user } else { group };
    (user.to_owned(), group.to_owned())
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Variables in order; of several values the last one counts, in the first one's place.
fn environment(variables: &[String], warnings: &mut Vec<String>) -> Vec<EnvironmentVariable> {
    let mut app = App::default();
    for (name, value) in variables.iter().filter_map(|variable| variable.split_once('=')) {
        if is_environment_name(name) {
            app.set_env(name, value);
        } else {
            warnings.push(format!(
                "environment variable {name:?} is left out: App Container images cannot name it"
            ));
        }
    }
    app.environment
}

fn is_environment_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// A mount point named `volume-PATH` for each path; names that clash get `-1`, `-2` …
fn mount_points<'a>(paths: impl Iterator<Item = &'a String>) -> Result<Vec<MountPoint>, AppcError> {
    let mut clashes: HashMap<AcName, usize> = HashMap::new();
    let mut mount_points = Vec::new();
    for path in paths {
        let path = absolute(path);
        let clean: std::path::PathBuf = Path::new(&path).components().collect();
        let mut name = AcName::sanitised(&format!("volume{}", clean.display()))?;
        let count = clashes.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name}-{}", *count - 1).parse()?;
        }
        mount_points.push(MountPoint { name, path, read_only: false });
    }
    mount_points.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mount_points)
}

/// `80/tcp`, or `80` for the same.
fn port(origin: &Origin, text: &str) -> Result<Port, OciError> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_number).ok_or_else(|| OciError::Unsupported {
        what: what(origin),
        reason: format!("{text:?} is no port that an image can expose"),
    })?;
    let name = AcName::sanitised(text).map_err(schema(origin))?;
    Ok(Port { name, protocol, port: number, count: 1, socket_activated: false })
}
