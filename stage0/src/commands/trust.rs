//! `rkt trust`.
//!
//! Responsible for: its flags, finding and reading the keys. Must not know: how keys are reviewed, where trusted ones are kept.
//! Follows rkt-reference.md 1.6.

use std::io::Read;
use std::path::Path;

use url::Url;

use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::config::Configuration;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::image::{Discovery, HttpClient, KeyLocation, download_key};
use crate::keystore::{Accept, Keystore, MAX_KEY_BYTES, Scope, review};
use crate::log::Log;

/// Flags of `rkt trust`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// prefix to limit trust to
    #[arg(long, value_name = "string")]
    prefix: Option<String>,

    /// add root key without a prefix
    #[arg(long, switch = false)]
    root: bool,

    /// allow HTTP use for key discovery and/or retrieval
    #[arg(long, switch = false)]
    insecure_allow_http: bool,

    /// accept key without fingerprint confirmation
    #[arg(long, switch = false)]
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
    let skip_tls = globals.insecure_options.skip_tls_check();
    let credentials = Configuration::of(globals).auth()?;
    let source = Source {
        allow_http: arguments.insecure_allow_http || globals.insecure_options.allow_http_pubkey(),
        client: HttpClient::new(skip_tls).with_credentials(credentials).with_log(log.named("pubkey")),
        log: log.named("pubkey"),
    };
    let keystore = Keystore::new(&globals.system_config, &globals.local_config);
    for key in source.keys(&arguments.keys, &scope).context("error determining key location")? {
        let found = source
            .read(&key)
            .context(format!("error adding keys: error accessing the key {}", key.location))?;
        // Without a checked certificate https vouches for nothing.
        let is_vouched_for = globals.trust_keys_from_https && key.is_https && !skip_tls;
        let accept =
            if arguments.skip_fingerprint_review || is_vouched_for { Accept::Force } else { Accept::Ask };
        review(&keystore, &scope, &key.location, &found, accept, log).context("error adding keys")?;
    }
    Ok(0)
}

/// A key that is yet to be read.
struct KeyAt {
    location: String,
    url: Option<Url>,
    is_https: bool,
}

/// Where keys come from.
struct Source {
    client: HttpClient,
    allow_http: bool,
    log: Log,
}

impl Source {
    /// The keys that the user names, or those that the prefix's web pages do.
    fn keys(&self, named: &[String], scope: &Scope) -> Result<Vec<KeyAt>> {
        if !named.is_empty() {
            let key = |location: &String| {
                let url = Url::parse(location).ok();
                let url = url.filter(|url| matches!(url.scheme(), "http" | "https" | "file"));
                let is_https = url.as_ref().is_some_and(|url| url.scheme() == "https");
                KeyAt { location: location.clone(), url, is_https }
            };
            return Ok(named.iter().map(key).collect());
        }
        let Scope::Prefix(prefix) = scope else {
            return Err(Stage0Error::refused(
                "empty prefix: --root needs the file or the URL of a public key",
            ));
        };
        let discovery = Discovery::new(self.client.clone(), self.allow_http, self.log);
        let found = discovery.keys(prefix).context("prefix meta discovery error")?;
        let key =
            |KeyLocation { url, is_https }| KeyAt { location: url.to_string(), url: Some(url), is_https };
        Ok(found.into_iter().map(key).collect())
    }

    fn read(&self, key: &KeyAt) -> Result<Vec<u8>> {
        match &key.url {
            Some(url) if url.scheme() == "file" => {
                let no_file = |()| Stage0Error::refused(format!("{:?} is no local file", key.location));
                read_file(&url.to_file_path().map_err(no_file)?)
            }
            Some(url) if url.scheme() == "http" && !self.allow_http => {
                Err(Stage0Error::refused("--insecure-allow-http required for http URLs"))
            }
            Some(url) => {
                let at = KeyLocation { url: url.clone(), is_https: key.is_https };
                download_key(&self.client, &at).context("error downloading key")
            }
            None => read_file(Path::new(&key.location)),
        }
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
