//! Counts the unsafe blocks of the workspace, so that a change of their number is seen.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace;

#[cfg(test)]
#[path = "unsafe_blocks_test.rs"]
mod unsafe_blocks_test;

/// Prints the count.
pub(super) fn count() -> Result<()> {
    println!("  unsafe blocks: {}", in_directory(&workspace::root())?);
    Ok(())
}

fn in_directory(directory: &Path) -> Result<usize> {
    let mut sum = 0;
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let kind = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                sum += in_directory(&path)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sum += in_text(&text);
        }
    }
    Ok(sum)
}

/// Blocks, not functions, traits or comments.
pub(super) fn in_text(text: &str) -> usize {
    let opening = concat!("unsafe", " {");
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.matches(opening).count())
        .sum()
}
