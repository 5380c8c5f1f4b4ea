//! `rkt completion`.
//!
//! Responsible for: the script that teaches a shell rkt's commands and flags. Must not know: any command or flag. Follows
//! rkt-reference.md 1.6.

use clap_complete::{Generator, Shell};

use crate::cli::definition;
use crate::cli::flag::words;
use crate::error::{Context, Result, Stage0Error};
use crate::output;

const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("fish", Shell::Fish), ("zsh", Shell::Zsh)];

/// The shell.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// the shell: bash, zsh or fish
    #[arg(value_name = "SHELL", value_parser = words(SHELLS.map(|(name, _)| name), |word| Ok(word.to_owned())))]
    shell: Vec<String>,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let name = match arguments.shell.as_slice() {
        [] => return Err(Stage0Error::refused("shell type is not specified")),
        [name] => name,
        _ => return Err(Stage0Error::refused("too many arguments, only shell type is expected")),
    };
    let Some((_, shell)) = SHELLS.iter().find(|(known, _)| known == name) else {
        return Err(Stage0Error::refused(format!("'{name}' shell is not supported")));
    };
    let mut script = Vec::new();
    shell.try_generate(&definition::published(), &mut script).context("completion failed")?;
    output::print(&String::from_utf8_lossy(&script));
    Ok(0)
}
