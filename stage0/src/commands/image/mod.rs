//! `rkt image …`: the commands on images in the local store, one file each.
//!
//! Responsible for: the list of these commands, calling the right one, and finding the image a user means. Must not know:
//! how a command works. Follows rkt-reference.md 1.6 and 3.10.

mod cat_manifest;
mod directory;
mod export;
mod extract;
mod gc;
mod in_use;
mod list;
pub(super) mod place;
mod render;
mod rm;
mod verify;

#[cfg(test)]
mod in_use_test;
#[cfg(test)]
mod list_test;
#[cfg(test)]
mod place_test;

use appc::ImageId;
use clap::Subcommand;

use super::fetch;
use crate::cli::apps::AppList;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::image::AppcName;
use crate::log::Log;
use crate::store::{ImageStore, Key};

/// `rkt image` and its command.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The command, unless none was given.
    #[command(subcommand)]
    pub command: Option<ImageCommand>,
}

/// What to do with images.
#[derive(Debug, Clone, Subcommand)]
pub enum ImageCommand {
    #[command(
        about = "Inspect and print the image manifest",
        long_about = "IMAGE should be a string referencing an image; either an ID or an image name.",
        override_usage = "image cat-manifest IMAGE"
    )]
    CatManifest(cat_manifest::Arguments),
    #[command(
        about = "Export a stored image to an ACI file",
        long_about = "IMAGE should be a string referencing an image: either an ID or an image name.\n\nThe ACI is complete by itself and not compressed, also when the image came from a container registry.",
        override_usage = "image export IMAGE OUTPUT_ACI_FILE"
    )]
    Export(export::Arguments),
    #[command(
        about = "Extract a stored image to a directory",
        long_about = "IMAGE should be a string referencing an image: either an ID or an image name.\n\nThe image's own files are extracted, without its dependencies. Nothing is mounted: the\ndirectory can be removed like any other.",
        override_usage = "image extract IMAGE OUTPUT_DIR"
    )]
    Extract(directory::DirectoryArguments),
    #[command(
        about = "Fetch image(s) and store them in the local store",
        override_usage = "image fetch IMAGE_URL...",
        hide = true
    )]
    Fetch(fetch::Arguments),
    #[command(
        about = "Garbage collect local store",
        long_about = "This is intended to be run periodically from a timer or cron job.\n\nThe default grace period is 24h. Use --grace-period=0s to effectively disable\nthe grace-period.",
        override_usage = "image gc"
    )]
    Gc(gc::Arguments),
    #[command(
        about = "List images in the local store",
        long_about = "Optionally, allows the user to specify the fields and sort order.",
        override_usage = "image list"
    )]
    List(list::Arguments),
    #[command(
        about = "Render a stored image to a directory with all its dependencies",
        long_about = "IMAGE should be a string referencing an image: either an ID or an image name.\n\nThis differs from extract in that the rendered image is in the state the app\nwould see when running in rkt, dependencies and all.\n\nNothing is mounted: the directory can be removed like any other.",
        override_usage = "image render IMAGE OUTPUT_DIR"
    )]
    Render(directory::DirectoryArguments),
    #[command(
        about = "Remove one or more images with the given IDs or image names from the local store",
        long_about = "Unlike image gc, image rm allows users to remove specific images.",
        override_usage = "image rm IMAGE..."
    )]
    Rm(rm::Arguments),
    #[command(
        about = "Verify one or more images in the local store",
        long_about = "Verify checks, based on the stored hash value, that a rendered image on disk has not changed;\none that has is rendered anew.\n\nThis command may be used if the user suspects disk corruption might have damaged the rkt store.",
        override_usage = "image verify IMAGE..."
    )]
    Verify(verify::Arguments),
}

impl ImageCommand {
    /// The command's own name.
    pub const fn name(&self) -> &'static str {
        match self {
            ImageCommand::CatManifest(_) => "cat-manifest",
            ImageCommand::Export(_) => "export",
            ImageCommand::Extract(_) => "extract",
            ImageCommand::Fetch(_) => "fetch",
            ImageCommand::Gc(_) => "gc",
            ImageCommand::List(_) => "list",
            ImageCommand::Render(_) => "render",
            ImageCommand::Rm(_) => "rm",
            ImageCommand::Verify(_) => "verify",
        }
    }

    /// What was given beside flags, and what has to be; `None` for any number.
    pub fn operands(&self) -> Option<(&[String], &'static [&'static str])> {
        match self {
            ImageCommand::CatManifest(arguments) => Some((&arguments.operands, &["IMAGE"])),
            ImageCommand::Export(arguments) => Some((&arguments.operands, &["IMAGE", "OUTPUT_ACI_FILE"])),
            ImageCommand::Gc(_) | ImageCommand::List(_) => Some((&[], &[])),
            ImageCommand::Extract(arguments) | ImageCommand::Render(arguments) => {
                Some((&arguments.operands, &["IMAGE", "OUTPUT_DIR"]))
            }
            ImageCommand::Fetch(_) | ImageCommand::Rm(_) | ImageCommand::Verify(_) => None,
        }
    }
}

/// Runs a command; its exit code.
pub fn dispatch(command: ImageCommand, list: AppList, globals: &GlobalFlags, log: Log) -> Result<u8> {
    match command {
        ImageCommand::CatManifest(arguments) => cat_manifest::run(&arguments, globals),
        ImageCommand::Export(arguments) => export::run(&arguments, globals),
        ImageCommand::Extract(arguments) => extract::run(&arguments, globals),
        ImageCommand::Fetch(arguments) => fetch::run(&arguments, list, globals),
        ImageCommand::Gc(arguments) => gc::run(&arguments, globals, log),
        ImageCommand::List(arguments) => list::run(&arguments, globals, log),
        ImageCommand::Render(arguments) => render::run(&arguments, globals, log),
        ImageCommand::Rm(arguments) => rm::run(&arguments, globals, log),
        ImageCommand::Verify(arguments) => verify::run(&arguments, globals, log),
    }
}

/// The store of the data directory in use.
fn open_store(globals: &GlobalFlags) -> Result<ImageStore> {
    ImageStore::open(&config::data_directory(globals)?).context("cannot open store")
}

/// The image that the user means: the only one whose ID begins so, or the best of that name. It has to be in the store,
/// and labels that were not asked for do not matter.
fn find(store: &ImageStore, image: &str) -> Result<Key> {
    if image.parse::<ImageId>().is_ok() {
        return store.resolve_key(image).context("cannot resolve image ID");
    }
    if is_place(image) {
        return Err(Stage0Error::refused(format!(
            "cannot find image: {image:?} says where to fetch an image from; one in the store is named by its ID or its \
             name (see \"rkt image list\")"
        )));
    }
    let name: AppcName = image.parse().context("cannot find image")?;
    store.get_by_name(&name.name, &name.labels).context("cannot find image")?.ok_or_else(|| {
        let labels: Vec<String> = name
            .labels
            .iter()
            .map(|label| format!("{{{:?} {:?}}}", label.name.as_str(), label.value))
            .collect();
        Stage0Error::refused(format!(
            "cannot find image: cannot find aci satisfying name: {:?} and labels: [{}] in the local store",
            name.name.as_str(),
            labels.join(" ")
        ))
    })
}

/// Whether this is what `rkt fetch` takes and no name of an image.
fn is_place(image: &str) -> bool {
    image.contains("://") || image.starts_with(['/', '.']) || image.starts_with("docker:")
}
