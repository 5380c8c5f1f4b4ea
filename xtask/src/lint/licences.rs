//! Checks that everything the product is linked with may be: permissive licences only, with named exceptions.
//!
//! Responsible for reading SPDX licence expressions (SPDX specification, annex D) as far as crates use them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;
use crate::process::text;

#[cfg(test)]
#[path = "licences_test.rs"]
mod licences_test;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "bzip2-1.0.6",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// Crates under other licences, with the reason why they may be used.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "sequoia-openpgp",
        "LGPL-2.0-or-later",
        "the OpenPGP library; rkt's source is public, so it can be relinked",
    ),
    ("buffered-reader", "LGPL-2.0-or-later", "part of sequoia-openpgp"),
];

/// Fails with the list of crates whose licence is not allowed.
pub(super) fn check() -> Result<()> {
    let metadata = text(cargo().args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("cannot understand cargo metadata")?;
    // Only what is in the resolved graph: crates of other platforms are listed as packages too.
    let used: BTreeSet<&str> =
        array(&metadata, "/resolve/nodes").filter_map(|node| node["id"].as_str()).collect();
    let mut refused = BTreeSet::new();
    for package in array(&metadata, "/packages").filter(|package| !package["source"].is_null()) {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let (name, licence) = (field("name"), field("license"));
        let excepted =
            EXCEPTIONS.iter().any(|(crate_name, terms, _)| *crate_name == name && *terms == licence);
        if used.contains(field("id")) && !excepted && !is_allowed(licence) {
            refused.insert(format!("{name}: {}", if licence.is_empty() { "no licence" } else { licence }));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    bail!("not allowed: {}", refused.into_iter().collect::<Vec<_>>().join("; "))
}

fn array<'a>(value: &'a serde_json::Value, pointer: &str) -> impl Iterator<Item = &'a serde_json::Value> {
    value.pointer(pointer).and_then(|found| found.as_array()).into_iter().flatten()
}

/// Whether the expression can be satisfied with allowed licences.
pub(super) fn is_allowed(expression: &str) -> bool {
    // Before SPDX expressions, crates separated alternatives with a slash.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words };
    let result = parser.any();
    parser.words.is_empty() && result
}

struct Parser<'a> {
    words: &'a [&'a str],
}

impl Parser<'_> {
    fn any(&mut self) -> bool {
        let mut result = self.all();
        while self.take("OR") {
            result |= self.all();
        }
        result
    }

    fn all(&mut self) -> bool {
        let mut result = self.one();
        while self.take("AND") {
            result &= self.one();
        }
        result
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let result = self.any();
            return self.take(")") && result;
        }
        let Some((licence, rest)) = self.words.split_first() else { return false };
        self.words = rest;
        if self.take("WITH") {
            // An exception only ever permits more than its licence.
            self.words = self.words.get(1..).unwrap_or_default();
        }
        ALLOWED.contains(licence)
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}
