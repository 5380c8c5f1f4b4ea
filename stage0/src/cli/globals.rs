//! Flags that every command accepts.
//!
//! Responsible for: their definition. Must not know: any command. Follows rkt-reference.md 1.2.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::flag::{FlagKind, words};
use super::insecure::{self, InsecureOptions};
use super::values::parse_directory;
use crate::log::Log;

/// The data directory when neither the command line nor the configuration names one.
pub const DEFAULT_DATA_DIRECTORY: &str = "/var/lib/rkt";

/// The global flags.
#[derive(Debug, Clone, Args)]
pub struct GlobalFlags {
    /// print out more debug information to stderr
    #[arg(long, global = true, switch = false)]
    pub debug: bool,

    /// rkt data directory
    #[arg(long, global = true, value_parser = parse_directory, help = "rkt data directory (default /var/lib/rkt)")]
    pub dir: Option<PathBuf>,

    /// system configuration directory
    #[arg(long, global = true, value_parser = parse_directory, default_value = "/usr/lib/rkt")]
    pub system_config: PathBuf,

    /// local configuration directory
    #[arg(long, global = true, value_parser = parse_directory, default_value = "/etc/rkt")]
    pub local_config: PathBuf,

    /// user configuration directory
    #[arg(long, global = true, value_parser = parse_directory)]
    pub user_config: Option<PathBuf>,

    /// which security features are turned off
    #[arg(
        long, global = true, value_parser = words(InsecureOptions::names(), InsecureOptions::parse), default_value = "none",
        help = insecure::USAGE
    )]
    pub insecure_options: InsecureOptions,

    /// automatically trust gpg keys fetched from https
    #[arg(long, global = true, switch = false)]
    pub trust_keys_from_https: bool,

    /// print this help
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    pub help: bool,
}

impl GlobalFlags {
    /// A log under the name of the command that runs.
    pub fn log(&self, name: &'static str) -> Log {
        Log::new(name, self.debug)
    }
}
