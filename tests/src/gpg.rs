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
        self.generate_with(algorithm, user, "sign", "never", &[])
    }

    /// The same with another use (`cert`, `sign`), time to live (`1d`, `never`) and further options, such as
    /// [`at`] a time.
    pub fn generate_with(
        &self,
        algorithm: &str,
        user: &str,
        usage: &str,
        expires: &str,
        options: &[&str],
    ) -> Key {
        let mut arguments = options.to_vec();
        arguments.extend(["--passphrase", "", "--quick-generate-key", user, algorithm, usage, expires]);
        self.run(arguments);
        let listing = self.run(["--list-keys", "--with-colons", user]);
        let listing = String::from_utf8(listing.stdout).expect("gpg lists keys in ASCII");
        let fingerprint = listing
            .lines()
            .filter(|line| line.starts_with("fpr:"))
            .find_map(|line| line.split(':').nth(9))
            .expect("a generated key has a fingerprint");
        Key { fingerprint: fingerprint.to_owned(), user: user.to_owned() }
    }

    /// Adds a subkey that signs and returns its fingerprint.
    pub fn add_signing_subkey(&self, key: &Key, expires: &str, options: &[&str]) -> String {
        let mut arguments = options.to_vec();
        let add = ["--passphrase", "", "--quick-add-key", &key.fingerprint, "ed25519", "sign", expires];
        arguments.extend(add);
        self.run(arguments);
        let listing = self.run(["--list-keys", "--with-colons", &key.fingerprint]);
        let listing = String::from_utf8(listing.stdout).expect("gpg lists keys in ASCII");
        let last = listing.lines().rfind(|line| line.starts_with("fpr:"));
        last.and_then(|line| line.split(':').nth(9)).expect("the subkey has a fingerprint").to_owned()
    }

    /// Gives the key, or a subkey of it, another time to live.
    pub fn set_expiry(&self, key: &Key, subkey: Option<&str>, expires: &str) {
        let mut arguments = vec!["--passphrase", "", "--quick-set-expire", &key.fingerprint, expires];
        arguments.extend(subkey);
        self.run(arguments);
    }

    /// Edits a key as a person at a terminal does; `commands` are what gpg asks for, line by line.
    pub fn edit(&self, key: &Key, commands: &str) {
        let arguments = ["--command-fd", "0", "--expert", "--passphrase", "", "--edit-key", &key.fingerprint];
        self.feed(arguments, commands.as_bytes());
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

    /// The same, with other options of gpg's. A subkey is named by `--local-user FINGERPRINT!`.
    pub fn sign_with(&self, file: &Path, options: &[&str]) -> PathBuf {
        let signature = beside(file, "asc");
        let mut arguments: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        arguments.extend([OsStr::new("--detach-sign"), OsStr::new("--output")]);
        arguments.extend([signature.as_os_str(), file.as_os_str()]);
        self.run(arguments);
        signature
    }

    /// Writes a message that carries `file` and its signature in one.
    pub fn sign_message(&self, key: &Key, file: &Path, message: &Path) {
        let mut arguments: Vec<&OsStr> =
            ["--local-user", &key.fingerprint, "--sign", "--output"].into_iter().map(OsStr::new).collect();
        arguments.extend([message.as_os_str(), file.as_os_str()]);
        self.run(arguments);
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
        self.feed(["--import"], certificate.as_bytes());
    }

    /// The home directory, for programs that call gpg themselves.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    fn feed<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &[u8]) {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg starts");
        child.stdin.take().expect("stdin is piped").write_all(input).expect("writing to gpg");
        let output = child.wait_with_output().expect("gpg ends");
        assert!(output.status.success(), "gpg failed: {}", String::from_utf8_lossy(&output.stderr));
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

/// The option with which gpg believes it is another time; `time` as in `20200101T000000`.
pub fn at(time: &str) -> [&str; 2] {
    ["--faked-system-time", time]
}

/// `file` with a further extension.
fn beside(file: &Path, extension: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
