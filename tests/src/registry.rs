//! Debian's own `docker-registry` on a free loopback port, and the real `skopeo` that fills it, so that fetching is
//! tested against what people run. Must not know rkt. Follows the registry's configuration reference (version 2.8) and
//! skopeo-copy(1).

mod access_log;
#[cfg(test)]
mod access_log_test;
mod token_server;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

pub use access_log::Access;
pub use token_server::REFRESH_TOKEN;

use crate::authority::Authority;
use crate::command::{self, Finished, Running, Stream, limit};
use token_server::TokenServer;

/// The one user of a registry that asks who is there.
pub const USER: &str = "rkt";

/// The user's password.
pub const PASSWORD: &str = "swordfish";

/// Path prefix of the repositories from which the token server lets anybody pull, as registries do for public images.
pub const PUBLIC: &str = "public/";

/// `htpasswd -nbB -C 5` of the two above; bcrypt is the only form that the registry accepts.
const HTPASSWD: &str = "rkt:$2y$05$zvxYHYFDm0beUoGaqExn4OBCPKS4e5oFm8twL2m1ZIYPt85XAJu4y\n";

/// An access is logged after its last byte was sent: the log counts as complete when it has not grown for this long.
const LOG_SETTLES: Duration = Duration::from_millis(150);

/// A running registry; it ends, and what it stores goes, with this value.
#[derive(Debug)]
pub struct Registry {
    process: Running,
    port: u16,
    directory: TempDir,
    storage: PathBuf,
    tls: bool,
    asks_who: bool,
    tokens: Option<TokenServer>,
}

impl Registry {
    /// A registry without TLS that lets everybody in.
    pub fn http() -> Self {
        Self::start(Directory::new(), None, None)
    }

    /// A registry without TLS that serves what is in a storage directory and changes nothing there.
    pub fn serving(storage: &Path) -> Self {
        let directory = Directory { storage: storage.to_owned(), read_only: true, ..Directory::new() };
        Self::start(directory, None, None)
    }

    /// A registry with a certificate of `authority` that lets everybody in.
    pub fn https(authority: &Authority) -> Self {
        Self::start(Directory::new(), Some(authority), None)
    }

    /// The same, for [`USER`] alone, who says so in every request (RFC 7617).
    pub fn with_basic_auth(authority: &Authority) -> Self {
        let directory = Directory::new();
        let file = directory.temporary.path().join("htpasswd");
        fs::write(&file, HTPASSWD).expect("writing the password file");
        let auth = json!({ "htpasswd": { "realm": "rkt test registry", "path": file } });
        Self::start(directory, Some(authority), Some((auth, None)))
    }

    /// The same, with tokens of a token server (distribution's token authentication specification): [`USER`] may do
    /// anything, and everybody may pull from [`PUBLIC`] repositories.
    pub fn with_token_auth(authority: &Authority) -> Self {
        let directory = Directory::new();
        let tokens = TokenServer::start(authority, directory.temporary.path());
        let auth = json!({ "token": tokens.registry_configuration() });
        Self::start(directory, Some(authority), Some((auth, Some(tokens))))
    }

    fn start(
        directory: Directory,
        authority: Option<&Authority>,
        auth: Option<(Value, Option<TokenServer>)>,
    ) -> Self {
        let Directory { temporary, storage, read_only } = directory;
        let mut http = json!({ "addr": "127.0.0.1:0", "secret": "not one", "net": "tcp" });
        if let Some(authority) = authority {
            let (certificate, key) = (authority.server_certificate(), authority.server_key());
            http["tls"] = json!({ "certificate": certificate, "key": key });
            // skopeo wants a directory of certificates, each called *.crt.
            fs::create_dir(temporary.path().join("certs")).expect("creating a directory");
            fs::copy(authority.certificate(), temporary.path().join("certs/ca.crt")).expect("copying");
        }
        let asks_who = auth.is_some();
        let (auth, tokens) = auth.unwrap_or((json!({}), None));
        let configuration = json!({
            "version": "0.1",
            "log": { "level": "info", "formatter": "text" },
            "storage": {
                "filesystem": { "rootdirectory": storage },
                "delete": { "enabled": true },
                "maintenance": {
                    "uploadpurging": { "enabled": false },
                    "readonly": { "enabled": read_only },
                },
            },
            "http": http,
            "auth": auth,
        });
        let file = temporary.path().join("config.yml");
        // JSON is YAML.
        fs::write(&file, configuration.to_string()).expect("writing the registry's configuration");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).env_clear().env("OTEL_TRACES_EXPORTER", "none");
        let mut process = Running::start(&mut command);
        let port = port(&mut process);
        Self { process, port, directory: temporary, storage, tls: authority.is_some(), asks_who, tokens }
    }

    /// `localhost:PORT`, as it stands in references.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `docker://localhost:PORT/NAME`; the name may have a tag or digest.
    pub fn reference(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.host())
    }

    /// The URL of a path of the registry's API (`/v2/…`).
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.host())
    }

    /// Where the registry keeps a blob or manifest, for tests that damage it: it is served as it is, whatever its digest.
    pub fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a SHA-256 digest");
        self.storage.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    /// Copies an image, in any form that skopeo knows (`oci:DIR:TAG`), into the registry, unchanged and with all its
    /// platforms. Returns the manifest's digest.
    pub fn push(&self, source: &str, name: &str) -> String {
        self.push_with(source, name, &["--all", "--preserve-digests"])
    }

    /// The same, converted to docker's own format (image manifest version 2, schema 2); skopeo compresses again as it
    /// sees fit.
    pub fn push_docker(&self, source: &str, name: &str) -> String {
        self.push_with(source, name, &["--format", "v2s2"])
    }

    /// The same, with other options for `skopeo copy`.
    pub fn push_with(&self, source: &str, name: &str, options: &[&str]) -> String {
        let digest = tempfile::NamedTempFile::new_in(self.directory.path()).expect("a file");
        let mut command = self.copy_command(source, name);
        command.args(options).arg("--digestfile").arg(digest.path());
        command::run(&mut command, limit(120)).expect_code(0);
        let digest = fs::read_to_string(digest.path()).expect("skopeo wrote the digest");
        digest.trim().to_owned()
    }

    /// `skopeo copy SOURCE docker://REGISTRY/NAME`, to which further options may be added.
    pub fn copy_command(&self, source: &str, name: &str) -> Command {
        let mut command = self.skopeo("copy", "dest-");
        command.arg(source).arg(self.reference(name));
        command
    }

    /// What `skopeo inspect` says about an image.
    pub fn inspect(&self, name: &str) -> Value {
        let mut command = self.skopeo("inspect", "");
        let said = command::run(command.arg(self.reference(name)), limit(60)).expect_code(0);
        serde_json::from_slice(&said.stdout).expect("skopeo prints JSON")
    }

    /// A skopeo subcommand that can talk to this registry.
    fn skopeo(&self, subcommand: &str, prefix: &str) -> Command {
        let mut command = Command::new("skopeo");
        // Neither the policy nor the logins of whoever runs the tests must matter.
        command.args(["--insecure-policy", subcommand]);
        if self.tls {
            command.arg(format!("--{prefix}cert-dir")).arg(self.directory.path().join("certs"));
        } else {
            command.arg(format!("--{prefix}tls-verify=false"));
        }
        if self.asks_who {
            command.arg(format!("--{prefix}creds={USER}:{PASSWORD}"));
        } else {
            command.arg(format!("--{prefix}no-creds"));
        }
        command
    }

    /// Stores a blob, as no tool would: whatever the bytes are. Not for a registry with token authentication.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = crate::oci::digest(bytes);
        let uploads = self.url(&format!("/v2/{repository}/blobs/uploads/"));
        let answer = self.curl(&uploads, &["-X", "POST", "-D", "-", "-o", "/dev/null"], b"");
        let head = answer.out();
        // In lower case with HTTP/2.
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let location = fields.find(|(name, _)| name.eq_ignore_ascii_case("location")).expect("a location").1;
        // As a form, curl's default, the registry would read the bytes in search of parameters.
        self.curl(
            &format!("{}&digest={digest}", location.trim()),
            &["-X", "PUT", "-H", "Content-Type: application/octet-stream"],
            bytes,
        );
        digest
    }

    /// Stores a manifest, whatever is in it, under a tag or its digest. Not for a registry with token authentication.
    pub fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) -> String {
        let header = format!("Content-Type: {media_type}");
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        self.curl(&url, &["-X", "PUT", "-H", &header], bytes);
        crate::oci::digest(bytes)
    }

    fn curl(&self, url: &str, options: &[impl AsRef<OsStr>], body: &[u8]) -> Finished {
        let file = tempfile::NamedTempFile::new_in(self.directory.path()).expect("a file");
        fs::write(file.path(), body).expect("writing a body");
        let mut command = Command::new("curl");
        // HTTP/2 has the names of headers in lower case.
        command.args(["--silent", "--show-error", "--fail-with-body", "--http1.1"]).args(options);
        command.arg("--data-binary").arg(format!("@{}", file.path().display()));
        if self.tls {
            command.arg("--cacert").arg(self.directory.path().join("certs/ca.crt"));
        }
        if self.asks_who {
            command.args(["--user", &format!("{USER}:{PASSWORD}")]);
        }
        command::run(command.arg(url), limit(60)).expect_code(0)
    }

    /// Every request so far, once its answer was sent.
    pub fn accesses(&self) -> Vec<Access> {
        let mut log = self.process.so_far(Stream::Out);
        loop {
            thread::sleep(LOG_SETTLES);
            let later = self.process.so_far(Stream::Out);
            if later.len() == log.len() {
                return log.lines().filter_map(Access::parse).collect();
            }
            log = later;
        }
    }

    /// The digests of the blobs that were sent so far, in order, one for each time.
    pub fn blobs_sent(&self) -> Vec<String> {
        let sent = |access: &Access| access.method == "GET" && [200, 206].contains(&access.status);
        let accesses = self.accesses();
        let blobs = accesses.iter().filter(|access| sent(access)).filter_map(Access::blob);
        blobs.map(str::to_owned).collect()
    }

    /// The requests that the token server had, as `METHOD TARGET`; none when there is no token server.
    pub fn token_requests(&self) -> Vec<String> {
        self.tokens.as_ref().map(TokenServer::requests).unwrap_or_default()
    }
}

/// Where a registry keeps its files.
struct Directory {
    temporary: TempDir,
    storage: PathBuf,
    read_only: bool,
}

impl Directory {
    fn new() -> Self {
        let temporary = tempfile::Builder::new().prefix("rkt-test-registry-").tempdir().expect("a directory");
        let storage = temporary.path().join("storage");
        Self { temporary, storage, read_only: false }
    }
}

/// Waits until the registry says where it listens: `… msg="listening on 127.0.0.1:PORT" …`.
fn port(process: &mut Running) -> u16 {
    process.wait_for(Stream::Err, "listening on ", limit(20));
    let said = process.so_far(Stream::Err);
    let (_, address) = said.split_once("listening on 127.0.0.1:").expect("an address of the loopback");
    let digits: String = address.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a port")
}
