//! `rkt trust`.
//!
//! Responsible for: its flags, and reading the keys. Must not know: how keys are reviewed, where trusted ones are kept.
//! Follows rkt-reference.md 1.6.

use std::io::Read;
use std::path::{Path, PathBuf};

use url::Url;

use crate::cli::EXIT_FAILURE;
use crate::cli::globals::GlobalFlags;
use crate::cli::values::parse_bool;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::image::HttpClient;
use crate::keystore::{Accept, Keystore, MAX_KEY_BYTES, Scope, review};
use crate::log::Log;

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

/// What the flags say that keys are trusted for.
fn scope_of(arguments: &Arguments) -> Result<Scope> {
    match (&arguments.prefix, arguments.root) {
        (Some(_), true) => Err(Stage0Error::refused("--root and --prefix usage mutually exclusive")),
        (None, true) => Ok(Scope::Root),
        (Some(prefix), false) => match prefix.split_once("://") {
            Some((scheme, _)) => {
                Err(Stage0Error::refused(format!("--prefix must not contain a URL scheme, omit {scheme}://")))
            }
            None => prefix.parse().map(Scope::Prefix).context(format!("invalid prefix {prefix:?}")),
        },
        (None, false) => Err(Stage0Error::refused(
            "aborting due to implicit unbounded trust (root domain): --root trusts the key for every image, \
             --prefix=NAME for images of that name and below it",
        )),
    }
}

/// Trusts each key that the user agrees to.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let scope = scope_of(arguments)?;
    if arguments.keys.is_empty() {
        return Err(Stage0Error::refused(
            "must provide the file or the https URL of at least one public key",
        ));
    }
    let keystore = Keystore::new(&globals.system_config, &globals.local_config);
    let mut refused = false;
    for location in &arguments.keys {
        let found = read(location, arguments, globals)?;
        let is_https = location.starts_with("https://");
        let accept = match arguments.skip_fingerprint_review || (globals.trust_keys_from_https && is_https) {
            true => Accept::Force,
            false => Accept::Ask,
        };
        refused |= !review(&keystore, &scope, location, &found, accept, log).context("error adding keys")?;
    }
    Ok(if refused { EXIT_FAILURE } else { 0 })
}

/// What is in a file or at a URL.
fn read(location: &str, arguments: &Arguments, globals: &GlobalFlags) -> Result<Vec<u8>> {
    let url = Url::parse(location).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "file"));
    match url {
        Some(url) if url.scheme() == "file" => {
            let path = url
                .to_file_path()
                .map_err(|()| Stage0Error::refused(format!("{location:?} is no local file")))?;
            read_file(&path)
        }
        Some(url) => {
            let allow_http = arguments.insecure_allow_http || globals.insecure_options.allow_http_pubkey();
            if url.scheme() == "http" && !allow_http {
                let advice = "--insecure-allow-http required for http URLs";
                return Err(Stage0Error::refused(format!("error accessing the key {location}: {advice}")));
            }
            let skip_tls = globals.insecure_options.skip_tls_check();
            let client = match url.scheme() {
                "https" => HttpClient::https_only(skip_tls),
                _ => HttpClient::new(skip_tls),
            };
            client.get_small(&url, MAX_KEY_BYTES).context(format!("error accessing the key {location}"))
        }
        None => read_file(&PathBuf::from(location)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
            scope_of(&arguments(None, false))
                .is_err_and(|e| e.to_string().contains("implicit unbounded trust"))
        );
        assert!(scope_of(&arguments(Some("a.com"), true)).is_err());
        assert!(scope_of(&arguments(Some("https://a.com"), false)).is_err());
        assert!(scope_of(&arguments(Some("a.com/../b"), false)).is_err());
        assert_eq!(scope_of(&arguments(Some("a.com/b"), false)).unwrap().prefix(), "a.com/b");
        assert_eq!(scope_of(&arguments(None, true)).unwrap().prefix(), "");
    }
}
