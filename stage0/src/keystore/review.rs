//! Trusting keys that a person has looked at.
//!
//! Responsible for: the keys in what was found at a location, showing them, asking, storing the ones agreed to. Must not
//! know: how a location is found or read, how keys are kept. Follows rkt-reference.md 1.6 (`rkt trust`).

use std::io::{BufRead, IsTerminal, Read};

use appc::AcIdentifier;
use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertParser;
use sequoia_openpgp::parse::Parse;

use super::{Keystore, KeystoreError, PublicKey, PublicKeyError};
use crate::image::printable;
use crate::log::Log;
use crate::output;

/// Longest answer that is read. `yes` and `no` are wanted.
const MAX_ANSWER_BYTES: u64 = 1024;

/// What keys are trusted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every image.
    Root,
    /// Images of this name and below it.
    Prefix(AcIdentifier),
}

impl Scope {
    /// As messages show it.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Root => "",
            Self::Prefix(prefix) => prefix.as_str(),
        }
    }
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// A person at the terminal.
    Ask,
    /// Nobody: whoever started rkt has vouched for the keys.
    Force,
}

/// Why keys were not trusted.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Neither OpenPGP nor PEM.
    #[error("error reading public key {location:?}: {reason}")]
    NotAKey {
        /// Where it was found.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody can be asked.
    #[error("error reviewing key: unable to ask user to review fingerprint due to lack of tty")]
    NoTerminal,
    /// The terminal failed.
    #[error("error reviewing key: {0}")]
    Terminal(std::io::Error),
    /// The key could not be stored.
    #[error("error adding {what}: {cause}")]
    Store {
        /// `root key` or `key for prefix "…"`.
        what: String,
        /// Why.
        cause: KeystoreError,
    },
}

/// A key that can be trusted.
#[derive(Debug, Clone)]
pub(crate) enum Candidate {
    OpenPgp(Box<Cert>),
    Bare(PublicKey),
}

/// Shows every key in `found`, which was read at `location`, and trusts those that are accepted. Returns whether all
/// were. Nothing is trusted unless the whole of `found` is understood.
pub fn review(
    keystore: &Keystore,
    scope: &Scope,
    location: &str,
    found: &[u8],
    accept: Accept,
    log: Log,
) -> Result<bool, ReviewError> {
    let keys = keys_in(found).map_err(|reason| ReviewError::NotAKey {
        location: location.to_owned(),
        reason: printable(&reason),
    })?;
    let log = log.named("pubkey");
    let mut all = true;
    for key in keys {
        log.print(format_args!("prefix: {:?}\nkey: {location:?}", scope.prefix()));
        output::print(&key.shown());
        if accept == Accept::Ask && !ask(scope, log)? {
            log.print(format_args!("not trusting {location:?}"));
            all = false;
            continue;
        }
        let how = if accept == Accept::Ask { "after" } else { "without" };
        let prefix = scope.prefix();
        output::print(&format!("Trusting {location:?} for prefix {prefix:?} {how} fingerprint review."));
        output::print(&key.store(keystore, scope)?);
    }
    Ok(all)
}

/// The public keys in a file; at least one.
pub(crate) fn keys_in(bytes: &[u8]) -> Result<Vec<Candidate>, String> {
    match PublicKey::from_pem(bytes) {
        Ok(keys) => return Ok(keys.into_iter().map(Candidate::Bare).collect()),
        Err(PublicKeyError::NotPem) => {}
        Err(e) => return Err(e.to_string()),
    }
    let mut keys: Vec<Candidate> = Vec::new();
    // Several armored keys one after the other, as `cat` makes them; the parser reads the first block only.
    for block in armored_blocks(bytes) {
        for key in CertParser::from_bytes(block).map_err(|e| e.to_string())? {
            keys.push(Candidate::OpenPgp(Box::new(key.map_err(|e| e.to_string())?)));
        }
    }
    if keys.is_empty() {
        return Err("it contains no key".to_owned());
    }
    Ok(keys)
}

/// The text before each `BEGIN PGP PUBLIC KEY BLOCK` but the first ends a block; binary keys are one.
fn armored_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let starts: Vec<usize> =
        bytes.windows(BEGIN.len()).enumerate().filter(|(_, text)| *text == BEGIN).map(|(at, _)| at).collect();
    if !bytes.is_ascii() || starts.is_empty() {
        return vec![bytes];
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| bytes.get(*start..end)).collect()
}

impl Candidate {
    /// What the user has to compare.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        match self {
            Self::OpenPgp(key) => {
                let fingerprint = grouped(&key.fingerprint().to_hex());
                text.push_str(&format!("gpg key fingerprint is: {fingerprint}\n"));
                for subkey in key.keys().subkeys() {
                    let fingerprint = grouped(&subkey.key().fingerprint().to_hex());
                    text.push_str(&format!("    Subkey fingerprint: {fingerprint}\n"));
                }
                for user in key.userids() {
                    let identity = printable(&String::from_utf8_lossy(user.userid().value()));
                    text.push_str(&format!("\t{identity}\n"));
                }
            }
            Self::Bare(key) => {
                let fingerprint = grouped(&key.fingerprint());
                text.push_str(&format!(
                    "cosign key fingerprint is: SHA256 {fingerprint}\n\t{}\n",
                    key.kind()
                ));
            }
        }
        text
    }

    fn store(&self, keystore: &Keystore, scope: &Scope) -> Result<String, ReviewError> {
        let stored = match (self, scope) {
            (Self::OpenPgp(key), Scope::Root) => keystore.store_root(key),
            (Self::OpenPgp(key), Scope::Prefix(prefix)) => keystore.store_prefix(prefix, key),
            (Self::Bare(key), Scope::Root) => keystore.store_public_key(None, key),
            (Self::Bare(key), Scope::Prefix(prefix)) => keystore.store_public_key(Some(prefix), key),
        };
        let (what, done) = match scope {
            Scope::Root => ("root key".to_owned(), "Added root key".to_owned()),
            Scope::Prefix(prefix) => {
                let key = format!("key for prefix {:?}", prefix.as_str());
                (key.clone(), format!("Added {key}"))
            }
        };
        let path = stored.map_err(|cause| ReviewError::Store { what, cause })?;
        Ok(format!("{done} at {path:?}"))
    }
}

/// Upper-case digits in groups of four, with a wider gap in the middle, as gpg prints them.
fn grouped(fingerprint: &str) -> String {
    let digits: Vec<char> = fingerprint.to_uppercase().chars().collect();
    let groups: Vec<String> = digits.chunks(4).map(|group| group.iter().collect()).collect();
    let (first, second) = groups.split_at(groups.len() / 2);
    format!("{}  {}", first.join(" "), second.join(" "))
}

/// Asks until the answer is yes or no.
fn ask(scope: &Scope, log: Log) -> Result<bool, ReviewError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        log.print(format_args!("To trust the key for {:?}, do one of the following:", scope.prefix()));
        log.print(" - call rkt with --trust-keys-from-https");
        log.print(format_args!(" - run: rkt trust --prefix {:?}", scope.prefix()));
        return Err(ReviewError::NoTerminal);
    }
    loop {
        output::print("Are you sure you want to trust this key (yes/no)?");
        let mut answer = Vec::new();
        let mut line = stdin.lock().take(MAX_ANSWER_BYTES);
        if line.read_until(b'\n', &mut answer).map_err(ReviewError::Terminal)? == 0 {
            return Ok(false);
        }
        match answer.trim_ascii_end() {
            b"yes" => return Ok(true),
            b"no" => return Ok(false),
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
}
