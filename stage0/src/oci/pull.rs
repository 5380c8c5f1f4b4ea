//! Bringing an image's layers into the store.
//!
//! Responsible for: fetching what is not there yet, several layers at once, each in one pass. Must not know: where layers
//! come from, how they are kept. Follows rkt-reference.md 3.4 ("Progress bars") and the OCI image specification 1.1,
//! layer.md.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Layer, LayerSource, OciError, Selected};
use crate::image::{ImageError, Progress};
use crate::log::Log;
use crate::store::{DiffId, Layers, StoreError};

/// Layers that are fetched at once, as docker does: more would not make a connection faster, and each holds buffers of a
/// few megabytes and up to 8 MiB of zstd's window.
const CONCURRENT_LAYERS: usize = 3;
/// Digits of a digest that a progress line shows.
const SHOWN_DIGITS: usize = 12;
/// As much is read of a layer whose content is at fault to find out whether it is the layer that was announced.
const MAX_READ_FOR_A_MESSAGE: u64 = 4 * 1024 * 1024;

/// Brings all layers of an image into the store and names them, the lowest first. A layer that is whole stays there
/// even if another one fails, for the next attempt.
pub(super) fn pull(
    source: &dyn LayerSource,
    selected: &Selected,
    layers: &Layers<'_>,
    is_remote: bool,
    log: Log,
) -> Result<Vec<DiffId>, ImageError> {
    let diff_ids = selected.layers.iter().map(diff_id).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    // The same layer may lie in an image several times, as the empty one does.
    let mut missing: Vec<(&Layer, &DiffId)> = selected.layers.iter().zip(&diff_ids).collect();
    missing.retain(|(_, id)| seen.insert(*id) && !layers.contains(id));
    log.debug(format_args!("{} of {} layers are in the store", seen.len() - missing.len(), seen.len()));
    let pull = Pull {
        source,
        layers,
        progress: is_remote.then(Progress::new),
        failed: AtomicBool::new(false),
        failure: Mutex::new(None),
        waiting: Mutex::new(missing.into_iter()),
    };
    std::thread::scope(|scope| {
        let others = CONCURRENT_LAYERS.min(pull.waiting().len()).saturating_sub(1);
        for _ in 0..others {
            let worker = std::thread::Builder::new().name("layer".to_owned());
            // With fewer threads it takes longer, no more.
            let _ = worker.spawn_scoped(scope, || pull.work());
        }
        pull.work();
    });
    match pull.failure.into_inner() {
        Ok(None) => Ok(diff_ids),
        Ok(Some(error)) => Err(error),
        Err(poisoned) => match poisoned.into_inner() {
            None => Ok(diff_ids),
            Some(error) => Err(error),
        },
    }
}

fn diff_id(layer: &Layer) -> Result<DiffId, ImageError> {
    Ok(layer.diff_id.to_string().parse()?)
}

/// One pull's threads have this in common.
struct Pull<'a, I> {
    source: &'a dyn LayerSource,
    layers: &'a Layers<'a>,
    /// `None` for layers that need no download.
    progress: Option<Progress>,
    failed: AtomicBool,
    /// The first failure; those of the layers given up for it say nothing.
    failure: Mutex<Option<ImageError>>,
    waiting: Mutex<I>,
}

impl<'a, I: ExactSizeIterator<Item = (&'a Layer, &'a DiffId)>> Pull<'a, I> {
    fn waiting(&self) -> std::sync::MutexGuard<'_, I> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn work(&self) {
        while !self.failed.load(Ordering::Relaxed) {
            let Some((layer, id)) = self.waiting().next() else { return };
            if let Err(error) = self.fetch(layer, id) {
                let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                failure.get_or_insert(error);
                // After it: those that stop because of it have a failure, too.
                self.failed.store(true, Ordering::Relaxed);
            }
        }
    }

    fn fetch(&self, layer: &Layer, id: &DiffId) -> Result<(), ImageError> {
        let Some(import) = self.layers.begin(id)? else { return Ok(()) };
        let mut bytes = self.source.layer(&layer.descriptor)?;
        let digits = layer.descriptor.digest.hex().get(..SHOWN_DIGITS).unwrap_or_default();
        let label = format!("Downloading {}:{digits}", layer.descriptor.digest.algorithm().as_str());
        let bar = self.progress.as_ref().map(|bars| bars.bar(label, Some(layer.descriptor.size)));
        let source: Box<dyn Read + Send> = match &bar {
            Some(bar) => Box::new(bar.reader(&mut bytes)),
            None => Box::new(&mut bytes),
        };
        let written = import.write(Stoppable { source, stop: &self.failed });
        if let Err(error) = written {
            let is_content = matches!(error, StoreError::ReadLayer { .. } | StoreError::WrongLayer { .. })
                && !self.failed.load(Ordering::Relaxed);
            let fault = bytes.fault(if is_content { MAX_READ_FOR_A_MESSAGE } else { 0 });
            return Err(fault.map_or_else(|| error.into(), ImageError::from));
        }
        bytes.finish()?;
        if let Some(bar) = bar {
            bar.finish();
        }
        Ok(())
    }
}

/// A reader that ends with an error as soon as another layer failed: the rest of this one would be for nothing.
struct Stoppable<'s, R> {
    source: R,
    stop: &'s AtomicBool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            let (what, reason) = ("layer".to_owned(), "another layer failed".to_owned());
            return Err(io::Error::other(OciError::Broken { what, reason }));
        }
        self.source.read(buffer)
    }
}
