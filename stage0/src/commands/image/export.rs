//! `rkt image export`.
//!
//! Responsible for: writing an image as a file of its own. Must not know: how the store keeps an image. Follows
//! rkt-reference.md 1.6.

use std::fs::File;
use std::path::Path;

use super::place::{Place, behind_link, is_stream};
use super::{find, open_store};
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::store::{ImageStore, Key, TreeStore};

const EXISTS: &str = "output ACI file exists (try --overwrite)";

/// Flags of `rkt image export`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// overwrite output ACI
    #[arg(long, switch = false)]
    overwrite: bool,

    pub operands: Vec<String>,
}

/// Writes the image, not compressed.
pub fn run(arguments: &Arguments, globals: &GlobalFlags) -> Result<u8> {
    let [image, output] = arguments.operands.as_slice() else {
        return Err(Stage0Error::refused("an image and a file are needed"));
    };
    let store = open_store(globals)?;
    let trees = TreeStore::open(&config::data_directory(globals)?).context("cannot open treestore")?;
    let key = find(&store, image)?;
    let output = Path::new(output);
    if arguments.overwrite && is_stream(output) {
        let mut file = File::options().write(true).open(output).file("open", output)?;
        write(&store, &trees, &key, &mut file)?;
        return Ok(0);
    }
    let place = Place::of(&behind_link(output, arguments.overwrite))?;
    if !arguments.overwrite && place.is_taken()? {
        return Err(Stage0Error::refused(EXISTS));
    }
    if place.path().is_dir() {
        return Err(Stage0Error::refused(format!("output ACI file {output:?} is a directory")));
    }
    let (draft, mut file) = place.draft_file()?;
    write(&store, &trees, &key, &mut file)?;
    draft.publish(arguments.overwrite, EXISTS)?;
    Ok(0)
}

fn write(store: &ImageStore, trees: &TreeStore, key: &Key, file: &mut File) -> Result<()> {
    trees.export(store, key, file).context("error writing to output ACI file")
}
