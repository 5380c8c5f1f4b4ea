//! Who we are to a registry.
//!
//! Responsible for: finding credentials where rkt, docker and podman keep them. Must not know: how they are sent. Follows
//! rkt-reference.md 2.8 (`dockerAuth`), docker's configuration file (docker-login, "Credential stores") and
//! containers-auth.json(5).

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::config::Configuration;
use crate::image::printable;
use crate::log;
use crate::oci::{DockerReference, OciError, decode};

/// Largest configuration file; docker's own have a few hundred bytes for each registry.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// As much of what a helper says as belongs into a message.
const SHOWN_CHARS: usize = 200;
/// The key under which docker keeps the credentials of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Credentials and where they come from.
pub struct Found {
    /// The credentials.
    pub credentials: DockerCredential,
    /// A file, or `the dockerAuth configuration`.
    pub source: String,
}

/// What a file of docker's or podman's says about where credentials are.
#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    auths: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
}

/// Credentials for the registry of `reference`: rkt's own configuration first, then the files that the environment names.
pub fn find(reference: &DockerReference, configuration: &Configuration) -> Result<Option<Found>, OciError> {
    let source = "the dockerAuth configuration";
    let configured = configuration.docker_auth().map_err(|e| OciError::Credentials {
        registry: reference.host().to_owned(),
        source_name: source.to_owned(),
        reason: log::render(&e, false),
    })?;
    if let Some((user, password)) = configured.for_registry(reference.host()) {
        let credentials = DockerCredential::UsernamePassword(user.to_owned(), password.to_owned());
        return Ok(Some(Found { credentials, source: source.to_owned() }));
    }
    for path in files(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)) {
        if let Some(credentials) = in_file(&path, reference)? {
            return Ok(Some(Found { credentials, source: path.display().to_string() }));
        }
    }
    Ok(None)
}

/// The files that may have credentials. One that a variable names outright comes first.
pub(super) fn files(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    let candidates = [
        variable("REGISTRY_AUTH_FILE"),
        docker.map(|directory| directory.join("config.json")),
        variable("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
        variable("HOME").map(|home| home.join(".config/containers/auth.json")),
    ];
    candidates.into_iter().flatten().collect()
}

/// The credentials in one file, which need not exist.
pub(super) fn in_file(
    path: &Path,
    reference: &DockerReference,
) -> Result<Option<DockerCredential>, OciError> {
    let failed = |reason: String| OciError::Credentials {
        registry: reference.host().to_owned(),
        source_name: path.display().to_string(),
        reason,
    };
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(failed(e.to_string())),
    };
    let keys: Keys = decode(&path.display().to_string(), &bytes, MAX_FILE_BYTES)?;
    for key in wanted_keys(reference, &keys) {
        match docker_credential::get_credential_from_reader(bytes.as_slice(), &key) {
            Ok(DockerCredential::UsernamePassword(user, password))
                if user.is_empty() && password.is_empty() => {}
            Ok(credentials) => return Ok(Some(credentials)),
            Err(CredentialRetrievalError::NoCredentialConfigured) => {}
            Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if is_not_found(&stdout) => {}
            Err(error) => return Err(failed(in_words(&error, helper(&keys, &key)))),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The keys to look up, the most specific first: `HOST/NAMESPACE` where the file has it, the registry's names, and what
/// docker calls Docker Hub.
fn wanted_keys(reference: &DockerReference, keys: &Keys) -> Vec<String> {
    let mut wanted = Vec::new();
    for host in reference.credential_hosts() {
        let mut name = format!("{host}/{}", reference.repository());
        while name.len() > host.len() {
            if keys.auths.as_ref().is_some_and(|auths| auths.contains_key(&name)) {
                wanted.push(name.clone());
            }
            name.truncate(name.rfind('/').unwrap_or(0));
        }
    }
    let hosts = reference.credential_hosts();
    if hosts.len() > 1 {
        wanted.push(HUB_KEY.to_owned());
    }
    let is_known = |host: &&str| {
        // A store is asked under one name only: each question may run a program.
        hosts.len() == 1
            || keys.helpers.as_ref().is_some_and(|helpers| helpers.contains_key(*host))
            || keys.auths.as_ref().is_some_and(|auths| auths.contains_key(*host))
    };
    wanted.extend(hosts.iter().copied().filter(is_known).map(str::to_owned));
    wanted
}

/// The program that knows the credentials, if one was asked.
fn helper<'k>(keys: &'k Keys, key: &str) -> Option<&'k str> {
    let own = keys.helpers.as_ref().and_then(|helpers| helpers.get(key));
    own.or(keys.store.as_ref()).map(String::as_str)
}

/// What helpers say when they have nothing, in the words of docker-credential-helpers.
fn is_not_found(stdout: &str) -> bool {
    stdout.trim() == "credentials not found in native keychain"
}

fn in_words(error: &CredentialRetrievalError, helper: Option<&str>) -> String {
    let helper = format!("the credential helper docker-credential-{}", helper.unwrap_or("?"));
    match error {
        CredentialRetrievalError::HelperCommunicationError => {
            format!("{helper} cannot be run, or does not listen")
        }
        CredentialRetrievalError::MalformedHelperResponse => {
            format!("{helper} printed something that is no credential")
        }
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => {
            let said = if stderr.trim().is_empty() { stdout } else { stderr };
            let said: String = printable(said).chars().take(SHOWN_CHARS).collect();
            format!("{helper} failed: {said}")
        }
        CredentialRetrievalError::CredentialDecodingError => {
            "the \"auth\" of this registry is not base64 of user:password".to_owned()
        }
        CredentialRetrievalError::CredentialMismatchError => {
            "the \"auth\" of this registry contradicts its username and password".to_owned()
        }
        other => other.to_string(),
    }
}
