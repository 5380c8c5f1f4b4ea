//! `rkt trust`.
//!
//! Responsible for: showing keys to the user, asking, and trusting them. Must not know: where trusted keys are kept.
//! Follows rkt-reference.md 1.6.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use appc::AcIdentifier;
use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertParser;
use sequoia_openpgp::parse::Parse;
use url::Url;

use crate::cli::EXIT_FAILURE;
use crate::cli::globals::GlobalFlags;
use crate::cli::values::parse_bool;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::image::{HttpClient, printable};
use crate::keystore::{Keystore, MAX_KEY_BYTES};
use crate::log::Log;
use crate::output;

/// Flags of `rkt trust`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// prefix to limit trust to
    #[arg(long, value_name = "string")]
    prefix: Option<String>,

    /// add root key without a prefix
    #[arg(
        long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set
    )]
    root: bool,

    /// allow HTTP use for key discovery and/or retrieval
    #[arg(
        long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set
    )]
    insecure_allow_http: bool,

    /// accept key without fingerprint confirmation
    #[arg(
        long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set
    )]
    skip_fingerprint_review: bool,

    keys: Vec<String>,
}

/// What keys are trusted for.
enum Scope {
    Root,
    Prefix(AcIdentifier),
}

impl Scope {
    fn of(arguments: &Arguments) -> Result<Self> {
        match (&arguments.prefix, arguments.root) {
            (Some(_), true) => Err(Stage0Error::refused("--root and --prefix usage mutually exclusive")),
            (None, true) => Ok(Self::Root),
            (Some(prefix), false) if prefix.contains("://") => Err(Stage0Error::refused(format!(
                "--prefix {prefix:?} must be an image name, without a scheme"
            ))),
            (Some(prefix), false) => {
                prefix.parse().map(Self::Prefix).context(format!("invalid prefix {prefix:?}"))
            }
            (None, false) => Err(Stage0Error::refused(
                "aborting due to implicit unbounded trust (root domain): --root trusts the key for every image, \
                 --prefix=NAME for images of that name and below it",
            )),
        }
    }

    /// As messages show it.
    fn prefix(&self) -> &str {
        match self {
            Self::Root => "",
            Self::Prefix(prefix) => prefix.as_str(),
        }
    }
}

/// Trusts each key that the user agrees to.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let scope = Scope::of(arguments)?;
    if arguments.keys.is_empty() {
        return Err(Stage0Error::refused(
            "must provide the file or the https URL of at least one public key",
        ));
    }
    let keystore = Keystore::new(&globals.system_config, &globals.local_config);
    let mut refused = false;
    for location in &arguments.keys {
        for key in keys_at(location, arguments, globals)? {
            show(&key, &scope, location);
            let is_https = location.starts_with("https://");
            let skip = arguments.skip_fingerprint_review || (globals.trust_keys_from_https && is_https);
            let reviewed = !skip;
            if reviewed && !ask(&scope, log)? {
                log.print(format_args!("not trusting {location:?}"));
                refused = true;
                continue;
            }
            let how = if reviewed { "after" } else { "without" };
            output::print(&format!(
                "Trusting {location:?} for prefix {:?} {how} fingerprint review.",
                scope.prefix()
            ));
            output::print(&trust(&keystore, &scope, &key)?);
        }
    }
    Ok(if refused { EXIT_FAILURE } else { 0 })
}

fn trust(keystore: &Keystore, scope: &Scope, key: &Cert) -> Result<String> {
    match scope {
        Scope::Root => {
            let path = keystore.store_root(key).context("error adding root key")?;
            Ok(format!("Added root key at {path:?}"))
        }
        Scope::Prefix(prefix) => {
            let path = keystore.store_prefix(prefix, key).context("error adding key")?;
            Ok(format!("Added key for prefix {:?} at {path:?}", prefix.as_str()))
        }
    }
}

/// The public keys in a file or at a URL; at least one.
fn keys_at(location: &str, arguments: &Arguments, globals: &GlobalFlags) -> Result<Vec<Cert>> {
    let url = Url::parse(location).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "file"));
    let bytes = match url {
        Some(url) if url.scheme() == "file" => {
            let path = url
                .to_file_path()
                .map_err(|()| Stage0Error::refused(format!("{location:?} is no local file")))?;
            read_file(&path)?
        }
        Some(url) => {
            let allow_http = arguments.insecure_allow_http || globals.insecure_options.allow_http_pubkey();
            if url.scheme() == "http" && !allow_http {
                let advice = "use https, or --insecure-allow-http";
                return Err(Stage0Error::refused(format!("error accessing the key {location}: {advice}")));
            }
            let skip_tls = globals.insecure_options.skip_tls_check();
            let client = match url.scheme() {
                "https" => HttpClient::https_only(skip_tls),
                _ => HttpClient::new(skip_tls),
            };
            client.get_small(&url, MAX_KEY_BYTES).context(format!("error downloading the key {location}"))?
        }
        None => read_file(&PathBuf::from(location))?,
    };
    let reading = || format!("error reading public key {location:?}");
    let keys =
        CertParser::from_bytes(&bytes).and_then(Iterator::collect::<std::result::Result<Vec<Cert>, _>>);
    let keys = keys.map_err(|e| e.to_string()).context(reading())?;
    if keys.is_empty() {
        return Err(Stage0Error::refused(format!("{}: it contains no key", reading())));
    }
    Ok(keys)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).file("open", path)?;
    file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes).file("read", path)?;
    if bytes.len() as u64 > MAX_KEY_BYTES {
        return Err(Stage0Error::refused(format!(
            "{path:?} is larger than any public key ({MAX_KEY_BYTES} bytes)"
        )));
    }
    Ok(bytes)
}

/// Shows what the user has to compare.
fn show(key: &Cert, scope: &Scope, location: &str) {
    let mut text = format!("prefix: {:?}\nkey: {location:?}\n", scope.prefix());
    text.push_str(&format!("gpg key fingerprint is: {}\n", grouped(&key.fingerprint().to_hex())));
    for subkey in key.keys().subkeys() {
        let fingerprint = subkey.key().fingerprint().to_hex();
        text.push_str(&format!("    Subkey fingerprint: {}\n", grouped(&fingerprint)));
    }
    for user in key.userids() {
        text.push_str(&format!("\t{}\n", printable(&String::from_utf8_lossy(user.userid().value()))));
    }
    output::print(&text);
}

/// Upper-case digits in groups of four, with a wider gap in the middle, as gpg prints them.
fn grouped(fingerprint: &str) -> String {
    let digits: Vec<char> = fingerprint.to_uppercase().chars().collect();
    let groups: Vec<String> = digits.chunks(4).map(|group| group.iter().collect()).collect();
    let (first, second) = groups.split_at(groups.len() / 2);
    format!("{}  {}", first.join(" "), second.join(" "))
}

/// Asks until the answer is yes or no.
fn ask(scope: &Scope, log: Log) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        log.print(format_args!("To trust the key for {:?}, do one of the following:", scope.prefix()));
        log.print(" - call rkt with --trust-keys-from-https");
        log.print(format_args!(" - run: rkt trust --prefix {:?}", scope.prefix()));
        return Err(Stage0Error::refused(
            "error reviewing key: unable to ask user to review fingerprint due to lack of tty",
        ));
    }
    loop {
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(b"Are you sure you want to trust this key (yes/no)?")
            .context("error reviewing key")?;
        stdout.flush().context("error reviewing key")?;
        drop(stdout);
        let mut answer = String::new();
        if stdin.lock().read_line(&mut answer).context("error reviewing key")? == 0 {
            return Ok(false);
        }
        match answer.trim_end() {
            "yes" => return Ok(true),
            "no" => return Ok(false),
            _ => output::print("Please enter 'yes' or 'no'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_grouped_as_gpg_groups_them() {
        assert_eq!(
            grouped("18ad5014c99ef7e3ba5f6ce950bdd3e0fc8a365e"),
            "18AD 5014 C99E F7E3 BA5F  6CE9 50BD D3E0 FC8A 365E"
        );
    }

    fn arguments(prefix: Option<&str>, root: bool) -> Arguments {
        Arguments {
            prefix: prefix.map(str::to_owned),
            root,
            insecure_allow_http: false,
            skip_fingerprint_review: true,
            keys: Vec::new(),
        }
    }

    #[test]
    fn scope_must_be_said_and_said_once() {
        assert!(
            Scope::of(&arguments(None, false))
                .is_err_and(|e| e.to_string().contains("implicit unbounded trust"))
        );
        assert!(Scope::of(&arguments(Some("a.com"), true)).is_err());
        assert!(Scope::of(&arguments(Some("https://a.com"), false)).is_err());
        assert!(Scope::of(&arguments(Some("a.com/../b"), false)).is_err());
        assert_eq!(Scope::of(&arguments(Some("a.com/b"), false)).unwrap().prefix(), "a.com/b");
        assert_eq!(Scope::of(&arguments(None, true)).unwrap().prefix(), "");
    }
}
