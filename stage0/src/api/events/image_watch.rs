//! Watching the image store.
//!
//! Responsible for: noticing that an image came or went. Must not know: pods, listeners. Follows rkt-reference.md 2.9 and
//! inotify(7).
//!
//! An image is there when the database has a row on it, so the database's directory is watched, and its rows are compared with
//! those seen before.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::inotify::WatchFlags;

use super::history::History;
use super::notices::{Notices, Watch};
use super::{SWEEP, UNWATCHED_SWEEP};
use crate::api::images::ImageReader;
use crate::api::wire::{Event, EventType};
use crate::clock::unix_seconds;
use crate::log::Log;
use crate::store::StoreError;

/// A fetch writes several rows; they are read once.
const SETTLING: Duration = Duration::from_millis(20);

/// An image as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: String,
    imported: SystemTime,
}

#[derive(Debug)]
struct ImageWatch {
    data: PathBuf,
    history: Arc<History>,
    log: Log,
    notices: Notices,
    watch: Option<Watch>,
    seen: BTreeMap<String, Seen>,
    complained: bool,
}

/// Looks at the store once and goes on watching in a thread, which ends with the process.
pub fn start(data: PathBuf, history: Arc<History>, log: Log) -> io::Result<()> {
    let mut watch = ImageWatch {
        data,
        // What is there at the start has not happened now.
        history: Arc::new(History::default()),
        log,
        notices: Notices::default(),
        watch: None,
        seen: BTreeMap::new(),
        complained: false,
    };
    watch.look();
    watch.history = history;
    std::thread::Builder::new().name("images".to_owned()).spawn(move || watch.run()).map(drop)
}

impl ImageWatch {
    fn run(mut self) {
        loop {
            let sweep = if self.notices.is_complete() { SWEEP } else { UNWATCHED_SWEEP };
            if !self.notices.wait(sweep).is_empty() {
                std::thread::sleep(SETTLING);
                self.notices.wait(Duration::ZERO);
            }
            self.look();
        }
    }

    /// Watches first and reads then, so that nothing falls in between.
    fn look(&mut self) {
        let watch = self.notices.watch_nearest(&self.data.join("cas/db"), WatchFlags::CLOSE_WRITE);
        if let Some(before) = self.watch.filter(|_| watch != self.watch) {
            self.notices.forget(before);
        }
        self.watch = watch;
        match self.read() {
            Ok(now) => self.compare(now),
            Err(error) if !std::mem::replace(&mut self.complained, true) => self.log.error(&error),
            Err(_) => {}
        }
    }

    fn read(&self) -> Result<BTreeMap<String, Seen>, StoreError> {
        let rows = ImageReader::open(&self.data)?.rows()?;
        let seen = |name, imported| Seen { name, imported };
        Ok(rows.into_iter().map(|row| (row.key.to_string(), seen(row.name, row.import_time))).collect())
    }

    fn compare(&mut self, now: BTreeMap<String, Seen>) {
        let time = unix_seconds(SystemTime::now());
        let event = |kind: EventType, id: &String, image: &Seen| Event {
            r#type: kind.into(),
            id: id.clone(),
            from: image.name.clone(),
            time,
            data: Vec::new(),
        };
        let removed = self.seen.iter().filter(|(id, _)| !now.contains_key(*id));
        let imported = now.iter().filter(|(id, image)| self.seen.get(*id) != Some(image));
        let removed = removed.map(|(id, image)| event(EventType::ImageRemoved, id, image));
        let imported = imported.map(|(id, image)| event(EventType::ImageImported, id, image));
        self.history.add(removed.chain(imported));
        self.seen = now;
    }
}
