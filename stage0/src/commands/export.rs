//! `rkt export`.
//!
//! Responsible for: which app of which pod becomes an image, and where that is written. Must not know: how files become an
//! archive. Follows rkt-reference.md 1.6 and 9.4.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::app_choice::AppChoice;
use super::image::place::{Place, behind_link};
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;
use crate::log::Log;
use crate::pod::app_root;
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::lock;
use crate::pod::state::State;
use crate::store::{IdShift, TreeStore, standalone_manifest, write_tree};

const EXISTS: &str = "target file exists (try --overwrite)";
const NOT_EXITED: &str = "pod is not exited. Only exited pods can be exported";

/// Flags of `rkt export`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// name of the app to export within the specified pod
    #[arg(long, value_name = "string", default_value = "")]
    app: String,

    /// overwrite output ACI
    #[arg(long, switch = false)]
    overwrite: bool,

    pub operands: Vec<String>,
}

/// Writes an app's files as an image.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let [uuid, output] = arguments.operands.as_slice() else {
        return Err(Stage0Error::refused("a pod UUID and a file are needed"));
    };
    let output = Path::new(output);
    if output.extension() != Some(OsStr::new("aci")) {
        return Err(Stage0Error::refused(format!("extension must be .aci (given {})", output.display())));
    }
    let data = config::data_directory(globals)?;
    let pods = Pods::of(&data);
    let pod = held(&pods, pods.resolve(uuid)?)?;
    let choice = AppChoice { command: "export", wanted: &arguments.app };
    let app = choice.find(&pod, log).context("unable to find app")?;

    let trees = TreeStore::open(&data).context("cannot open treestore")?;
    let app = AppFiles {
        manifest: manifest(&pod, app.as_str()).context("unable to read Image Manifest")?,
        owners: app_root::id_shift(&pod)?,
        root: app_root::open(&pod, app.as_str(), &trees).context("error building aci")?,
    };
    let place = Place::of(&behind_link(output, arguments.overwrite))?;
    if !arguments.overwrite && place.is_taken()? {
        return Err(Stage0Error::refused(EXISTS)).context("error building aci");
    }
    if place.path().is_dir() {
        return Err(Stage0Error::refused(format!("output ACI file {output:?} is a directory")));
    }
    let (draft, file) = place.draft_file()?;
    app.write(file).context("error building aci")?;
    fault::point("export.written");
    draft.publish(arguments.overwrite, EXISTS).context("error building aci")?;
    Ok(0)
}

/// An exited pod that is not deleted as long as this process looks at it: who deletes it waits for its lock.
fn held(pods: &Pods, pod: FoundPod) -> Result<FoundPod> {
    let exited = |state| matches!(state, State::Exited | State::ExitedGarbage);
    let locked = lock::try_lock_shared(pod.directory()).file("lock", pod.path())?;
    let now = pod.again(pods)?;
    if !locked || !now.is_some_and(|now| exited(now.state())) {
        return Err(Stage0Error::refused(NOT_EXITED));
    }
    Ok(pod)
}

fn manifest(pod: &FoundPod, app: &str) -> Result<Vec<u8>> {
    // Checked, as what is exported shall be an image again.
    pod.image_manifest(app)?;
    let json = pod.image_manifest_json(app)?;
    standalone_manifest(&json).context(format!("invalid image manifest of app {app:?}"))
}

struct AppFiles {
    manifest: Vec<u8>,
    owners: IdShift,
    root: File,
}

impl AppFiles {
    fn write(self, file: File) -> Result<()> {
        let mut output = GzEncoder::new(file, Compression::default());
        write_tree(&self.manifest, self.root, self.owners, &mut output).context("error walking rootfs")?;
        output.finish().context("unable to close image")?;
        Ok(())
    }
}
