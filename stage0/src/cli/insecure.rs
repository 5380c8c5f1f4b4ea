//! `--insecure-options`: which checks the user turned off.
//!
//! Responsible for: the option list's names, combinations and errors. Must not know: who honours an option. Follows
//! rkt-reference.md 1.2.

use std::fmt;

use super::option_list;

/// The checks that are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InsecureOptions(u32);

const IMAGE: u32 = 1;
const TLS: u32 = 2;
const ON_DISK: u32 = 4;
const HTTP: u32 = 8;
const PUBKEY: u32 = 16;
const CAPABILITIES: u32 = 32;
const PATHS: u32 = 64;
const SECCOMP: u32 = 128;
const ALL_FETCH: u32 = IMAGE | TLS | HTTP | PUBKEY;
const ALL_RUN: u32 = CAPABILITIES | PATHS | SECCOMP;

const NAMES: [(&str, u32); 12] = [
    ("none", 0),
    ("image", IMAGE),
    ("tls", TLS),
    ("ondisk", ON_DISK),
    ("http", HTTP),
    ("pubkey", PUBKEY),
    ("capabilities", CAPABILITIES),
    ("paths", PATHS),
    ("seccomp", SECCOMP),
    ("all-fetch", ALL_FETCH),
    ("all-run", ALL_RUN),
    ("all", ALL_FETCH | ALL_RUN),
];

/// What `--help` says about the option.
pub const USAGE: &str = "comma-separated list of security features to disable. Allowed values: \"none\", \"image\", \
     \"tls\", \"ondisk\", \"http\", \"pubkey\", \"capabilities\", \"paths\", \"seccomp\", \"all-fetch\", \"all-run\", \"all\"";

impl InsecureOptions {
    /// Parses a comma list; names are compared without regard to case, each may appear once.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bits = option_list::parse(text, &NAMES)?.into_iter().fold(0, |all, bit| all | bit);
        Ok(InsecureOptions(bits))
    }

    /// The names of all options.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().map(|(name, _)| name)
    }

    /// Image signatures are not verified.
    pub const fn skip_image_check(self) -> bool {
        self.0 & IMAGE != 0
    }

    /// TLS certificates are not verified.
    pub const fn skip_tls_check(self) -> bool {
        self.0 & TLS != 0
    }

    /// Images may be looked for over plain http.
    pub const fn allow_http(self) -> bool {
        self.0 & HTTP != 0
    }

    /// Public keys may be fetched over plain http.
    pub const fn allow_http_pubkey(self) -> bool {
        self.0 & PUBKEY != 0
    }

    /// Apps keep the whole capability bounding set.
    pub const fn skip_capabilities(self) -> bool {
        self.0 & CAPABILITIES != 0
    }

    /// `/proc` and `/sys` paths are not protected from apps.
    pub const fn skip_paths(self) -> bool {
        self.0 & PATHS != 0
    }

    /// Apps get no seccomp filter.
    pub const fn skip_seccomp(self) -> bool {
        self.0 & SECCOMP != 0
    }
}

/// The list that would be given on the command line.
impl fmt::Display for InsecureOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only a single option has a single bit.
        let names = NAMES.iter().filter(|(_, bits)| bits.is_power_of_two() && self.0 & bits != 0);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_for_their_members() {
        let fetch = InsecureOptions::parse("all-fetch").unwrap();
        let run = InsecureOptions::parse("all-run").unwrap();

        assert!(fetch.skip_image_check() && fetch.skip_tls_check());
        assert!(fetch.allow_http() && fetch.allow_http_pubkey());
        assert!(!fetch.skip_capabilities() && !fetch.skip_paths() && !fetch.skip_seccomp());
        assert!(run.skip_capabilities() && run.skip_paths() && run.skip_seccomp());
        assert!(!run.skip_image_check());
    }

    #[test]
    fn names_are_compared_without_regard_to_case() {
        assert_eq!(InsecureOptions::parse("Image,TLS"), InsecureOptions::parse("image,tls"));
    }

    #[test]
    fn options_print_as_they_are_given() {
        for text in ["none", "image", "image,tls,http,pubkey", "capabilities,paths,seccomp"] {
            assert_eq!(InsecureOptions::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn unknown_and_repeated_options_are_refused_by_name() {
        assert_eq!(InsecureOptions::parse("image,foo"), Err("unknown option \"foo\"".to_owned()));
        assert_eq!(InsecureOptions::parse("image,image"), Err("duplicated option \"image\"".to_owned()));
    }
}
