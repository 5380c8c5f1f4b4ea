//! `rkt metadata-service`.
//!
//! Responsible for: its flags. Must not know: requests. Follows rkt-reference.md 6.10.

use crate::error::Result;
use crate::log::Log;
use crate::metadata::{self, Sockets};

/// Flags of `rkt metadata-service`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// listen port (default 18112)
    #[arg(long, value_name = "int")]
    listen_port: Option<u16>,
}

/// Serves until SIGTERM or SIGINT.
pub fn run(arguments: &Arguments, log: Log) -> Result<u8> {
    log.print("metadata service starting...");
    metadata::serve(Sockets::open(arguments.listen_port, log)?, log)?;
    Ok(0)
}
