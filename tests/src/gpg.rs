//! Keys and signatures made by the real gpg in a home directory of their own, good ones and those that must be refused.
//! Follows gpg(1); the option names are those of GnuPG 2.2.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A gpg home directory.
#[derive(Debug)]
pub struct Gpg {
    home: TempDir,
}

/// A key in it.
#[derive(Clone, Debug)]
pub struct Key {
    /// The primary key's fingerprint: 40 upper-case hexadecimal digits.
    pub fingerprint: String,
    /// Its user ID.
    pub user: String,
}

impl Default for Gpg {
    fn default() -> Self {
        Self::new()
    }
}

impl Gpg {
    /// Creates the home directory.
    pub fn new() -> Self {
        // The agent's socket lives in it, and a socket's path may have 107 bytes at most.
        Self { home: tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").expect("a directory") }
    }

    /// Generates a signing key without a passphrase; `algorithm` as gpg spells it (`ed25519`, `rsa2048`).
    pub fn generate(&self, algorithm: &str, user: &str) -> Key {
        self.run(["--passphrase", "", "--quick-generate-key", user, algorithm, "sign", "never"]);
        let listing = self.run(["--list-keys", "--with-colons", user]);
        let listing = String::from_utf8(listing.stdout).expect("gpg lists keys in ASCII");
        let fingerprint = listing
            .lines()
            .filter(|line| line.starts_with("fpr:"))
            .find_map(|line| line.split(':').nth(9))
            .expect("a generated key has a fingerprint");
        Key { fingerprint: fingerprint.to_owned(), user: user.to_owned() }
    }

    /// Signs `file` with a detached armoured signature at `file.asc`.
    pub fn sign(&self, key: &Key, file: &Path) -> PathBuf {
        let signature = beside(file, "asc");
        self.sign_to(key, file, &signature, &[]);
        signature
    }

    /// The same, with SHA-1 as the digest, which gpg must be talked into.
    pub fn sign_with_sha1(&self, key: &Key, file: &Path) -> PathBuf {
        let signature = beside(file, "asc");
        self.sign_to(key, file, &signature, &["--digest-algo", "SHA1", "--allow-weak-digest-algos"]);
        signature
    }

    fn sign_to(&self, key: &Key, file: &Path, signature: &Path, options: &[&str]) {
        let mut arguments: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        for argument in ["--local-user", &key.fingerprint, "--armor", "--detach-sign", "--output"] {
            arguments.push(OsStr::new(argument));
        }
        arguments.extend([signature.as_os_str(), file.as_os_str()]);
        self.run(arguments);
    }

    /// Writes the public key, armoured, to `file`.
    pub fn export(&self, key: &Key, file: &Path) {
        let output = self.run(["--armor", "--export", &key.fingerprint]);
        fs::write(file, output.stdout).expect("writing a key");
    }

    /// Revokes the key; an export afterwards carries the revocation.
    pub fn revoke(&self, key: &Key) {
        let path = self.home.path().join(format!("openpgp-revocs.d/{}.rev", key.fingerprint));
        let certificate = fs::read_to_string(path).expect("gpg keeps a revocation certificate of each key");
        // gpg guards the prepared certificate against accidents by a colon before the armour.
        let certificate = certificate.replace(":-----BEGIN", "-----BEGIN");
        let mut child = self.command(["--import"]).stdin(Stdio::piped()).spawn().expect("gpg starts");
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(certificate.as_bytes())
            .expect("writing to gpg");
        assert!(child.wait().expect("gpg ends").success(), "gpg --import of a revocation failed");
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        let output = self.command(arguments).output().expect("gpg starts");
        assert!(output.status.success(), "gpg failed: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--no-tty"]);
        command.arg("--homedir").arg(self.home.path()).args(arguments).stdin(Stdio::null());
        command
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // The agent would outlive its home directory.
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

/// `file` with a further extension.
fn beside(file: &Path, extension: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
