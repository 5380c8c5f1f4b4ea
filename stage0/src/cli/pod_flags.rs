//! Flags of a whole pod.
//!
//! Responsible for: their definition and the checks that need no pod. Must not know: stores, pods on disk. Follows
//! rkt-reference.md 1.5 and 4.10.

use std::path::PathBuf;
use std::str::FromStr;

use appc::{ExposedPort, Volume};
use clap::{ArgAction, Args};

use super::flag::{FlagKind, words};
use super::machine_flags::MachineFlags;
use super::port::parse_port;
use super::values::parse_pair;
use super::volume::parse_volume;
use crate::commands::images::StoreFlags;
use crate::image::PullPolicy;

/// Flags that say how a pod is prepared.
#[derive(Debug, Clone, Args)]
pub struct PrepareFlags {
    /// volumes to make available in the pod
    #[arg(long, value_parser = parse_volume, action = ArgAction::Append)]
    pub volume: Vec<Volume>,

    /// ports to expose on the host (requires contained network). Syntax: --port=NAME:[HOSTIP:]HOSTPORT
    #[arg(long, value_parser = parse_port, action = ArgAction::Append)]
    pub port: Vec<ExposedPort>,

    /// run within user namespaces
    #[arg(long, switch = false)]
    pub private_users: bool,

    /// disable overlay filesystem
    #[arg(long, switch = false)]
    pub no_overlay: bool,

    /// inherit all environment variables not set by apps
    #[arg(long, switch = false)]
    pub inherit_env: bool,

    /// environment variable to set for all the apps in the form key=value
    #[arg(long, value_parser = set_env, action = ArgAction::Append)]
    pub set_env: Vec<(String, String)>,

    /// path to an environment variables file
    #[arg(long, action = ArgAction::Append)]
    pub set_env_file: Vec<PathBuf>,

    /// when to pull an image
    #[arg(long, default_value = "new", value_parser = words(PullPolicy::WORDS, PullPolicy::from_str))]
    pub pull_policy: PullPolicy,

    #[command(flatten)]
    pub machine: MachineFlags,

    #[command(flatten)]
    pub store: StoreFlags,

    /// the path to the pod manifest. If it's non-empty, then only '--net', '--no-overlay' and '--interactive' will have effect
    #[arg(long, value_name = "string", value_parser = clap::value_parser!(PathBuf))]
    pub pod_manifest: Option<PathBuf>,
}

/// Flags that choose the stage1 image; at most one of them, once.
#[derive(Debug, Clone, Default, Args)]
pub struct Stage1Flags {
    /// URL to an image to use as stage1
    #[arg(long, value_name = "string", action = ArgAction::Append)]
    pub stage1_url: Vec<String>,

    /// absolute or relative path to an image to use as stage1
    #[arg(long, value_name = "string", action = ArgAction::Append)]
    pub stage1_path: Vec<String>,

    /// name of an image to use as stage1
    #[arg(long, value_name = "string", action = ArgAction::Append)]
    pub stage1_name: Vec<String>,

    /// hash of an image to use as stage1
    #[arg(long, value_name = "string", action = ArgAction::Append)]
    pub stage1_hash: Vec<String>,

    /// filename of stage1 image to search for in stage1 images directory
    #[arg(long, value_name = "string", action = ArgAction::Append)]
    pub stage1_from_dir: Vec<String>,
}

/// The stage1 image the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage1Choice {
    /// An image string that is a URL.
    Url(String),
    /// A file.
    Path(String),
    /// A name, with or without labels.
    Name(String),
    /// An image ID in the store.
    Hash(String),
    /// A file name in the directory of stage1 images.
    FromDir(String),
}

impl Stage1Flags {
    /// The one flag given, if any. Errors: two of them, or one twice.
    pub fn choice(&self) -> Result<Option<Stage1Choice>, String> {
        type Make = fn(String) -> Stage1Choice;
        let all: [(&str, &Vec<String>, Make); 5] = [
            ("url", &self.stage1_url, Stage1Choice::Url),
            ("path", &self.stage1_path, Stage1Choice::Path),
            ("name", &self.stage1_name, Stage1Choice::Name),
            ("hash", &self.stage1_hash, Stage1Choice::Hash),
            ("from-dir", &self.stage1_from_dir, Stage1Choice::FromDir),
        ];
        let mut chosen: Option<(&str, Stage1Choice)> = None;
        for (flag, values, make) in all {
            let Some(value) = values.first() else { continue };
            if values.len() > 1 {
                return Err(format!("--stage1-{flag} already used"));
            }
            if let Some((earlier, _)) = chosen {
                return Err(format!("flags --stage1-{earlier} and --stage1-{flag} are mutually exclusive"));
            }
            chosen = Some((flag, make(value.clone())));
        }
        Ok(chosen.map(|(_, choice)| choice))
    }
}

fn set_env(text: &str) -> Result<(String, String), String> {
    parse_pair("set-env", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage1_is_chosen_by_one_flag_used_once() {
        let twice = Stage1Flags { stage1_url: vec!["a".into(), "b".into()], ..Stage1Flags::default() };
        let both = Stage1Flags {
            stage1_url: vec!["a".into()],
            stage1_hash: vec!["b".into()],
            ..Stage1Flags::default()
        };
        let one = Stage1Flags { stage1_name: vec!["a".into()], ..Stage1Flags::default() };

        assert_eq!(twice.choice(), Err("--stage1-url already used".into()));
        assert_eq!(both.choice(), Err("flags --stage1-url and --stage1-hash are mutually exclusive".into()));
        assert_eq!(one.choice(), Ok(Some(Stage1Choice::Name("a".into()))));
        assert_eq!(Stage1Flags::default().choice(), Ok(None));
    }
}
