//! `cargo xtask prepush`: everything that continuous integration runs, all failures in one report.

use anyhow::Result;

use crate::{lint, setup, test};

/// Prints the final line and returns the exit code.
pub(crate) fn command() -> Result<u8> {
    setup::ensure()?;
    let mut tally = lint::all();
    tally += test::all();
    println!("{tally}");
    Ok(u8::from(tally.failed > 0))
}
