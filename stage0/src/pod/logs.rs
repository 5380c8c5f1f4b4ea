//! What apps wrote, as stage1 logged it: `logs/APP.log` in the pod's directory and the files put aside from it.
//!
//! Responsible for: lines of one or all apps in the order of their times, the last of them, those of a period, and those
//! still to come. Must not know: who asks (`rkt logs`, the API service); when files are put aside. Follows Kubernetes' "CRI:
//! log management" (`<RFC 3339 time> stdout|stderr F|P <text>`) and docs/logs.md.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::locate::{FoundPod, Pods};
use super::log_file::{LogFile, MAX_FILES, Record};
use crate::error::{FileContext, Result, Stage0Error};

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Longest line that is put together from its pieces; what is beyond comes as a further line.
const MAX_LINE_BYTES: usize = 256 * 1024;

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Of these apps; of all when empty.
    pub apps: Vec<String>,
    /// Written at this time or later.
    pub since: Option<SystemTime>,
    /// Written at this time or earlier.
    pub until: Option<SystemTime>,
    /// Of those that are there, only so many, the last ones.
    pub last: Option<usize>,
}

/// The stream a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line an app wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The app.
    pub app: Arc<str>,
    /// When its end reached stage1.
    pub time: SystemTime,
    /// Where it was written to.
    pub stream: LogStream,
    /// The line, without its newline; whatever bytes the app wrote.
    pub text: Vec<u8>,
}

/// The logs of a pod, read from their beginning.
#[derive(Debug)]
pub struct Logs {
    directory: OwnedFd,
    path: PathBuf,
    query: LogQuery,
    apps: Vec<AppLog>,
    /// The last lines that were asked for; `None` until they were looked for.
    ready: Option<VecDeque<LogLine>>,
}

#[derive(Debug)]
struct AppLog {
    name: Arc<str>,
    /// The oldest first. The last one is the current log, or was when it was opened.
    files: VecDeque<LogFile>,
    /// Read, and not handed out yet.
    next: Option<LogLine>,
    /// Pieces of a line of each stream.
    partial_stdout: Vec<u8>,
    partial_stderr: Vec<u8>,
    /// Of the record before.
    time: SystemTime,
    found: bool,
}

impl Logs {
    /// The logs of a pod. Errors: its manifest cannot be read, or it has no app of such a name. That an app has no log
    /// (yet) is no error.
    pub fn open(pod: &FoundPod, query: LogQuery) -> Result<Self> {
        let manifest = pod.manifest()?;
        let mut names: Vec<&str> = manifest.apps.iter().map(|app| app.name.as_str()).collect();
        if let Some(missing) = query.apps.iter().find(|app| !names.contains(&app.as_str())) {
            return Err(Stage0Error::refused(format!(
                "no app {missing:?} in pod {:?}",
                pod.uuid().to_string()
            )));
        }
        names.retain(|name| query.apps.is_empty() || query.apps.iter().any(|app| app == name));
        let apps = names.into_iter().map(AppLog::new).collect();
        let directory = pod.directory().try_clone().file("open", pod.path())?;
        let ready = query.last.is_none().then(VecDeque::new);
        Ok(Logs { directory, path: pod.path().to_owned(), query, apps, ready })
    }

    /// Whether one of the apps has a log, as far as was looked by now.
    pub fn any_found(&self) -> bool {
        self.apps.iter().any(|app| app.found)
    }

    /// The next line that is there. `None`: not now; a later call may find one that was written meanwhile.
    pub fn next_line(&mut self) -> Result<Option<LogLine>> {
        if self.ready.is_none() {
            let last = self.last_lines()?;
            self.ready = Some(last);
        }
        match self.ready.as_mut().and_then(VecDeque::pop_front) {
            Some(line) => Ok(Some(line)),
            None => self.merged(),
        }
    }

    /// Hands every line to `each`, those to come too, until the pod has ended or nothing more can be in the query's period.
    /// `each` gets `None` whenever there is nothing to hand out, and may end it all.
    pub fn follow(
        &mut self,
        pods: &Pods,
        pod: FoundPod,
        mut each: impl FnMut(Option<LogLine>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut pod = Some(pod);
        loop {
            // Looked at first: what was written until then is read below.
            let is_over = pod.as_ref().is_none_or(|pod| pod.state().is_finished())
                || self.query.until.is_some_and(|until| until < SystemTime::now());
            while let Some(line) = self.next_line()? {
                if each(Some(line)).is_break() {
                    return Ok(());
                }
            }
            if is_over || each(None).is_break() {
                return Ok(());
            }
            std::thread::sleep(POLL);
            if let Some(found) = pod {
                pod = found.again(pods)?;
            }
        }
    }

    fn last_lines(&mut self) -> Result<VecDeque<LogLine>> {
        let wanted = self.query.last.unwrap_or(usize::MAX);
        let mut lines = VecDeque::new();
        while let Some(line) = self.merged()? {
            lines.push_back(line);
            if lines.len() > wanted {
                lines.pop_front();
            }
        }
        Ok(lines)
    }

    /// The oldest line of those that come next in each app's log.
    fn merged(&mut self) -> Result<Option<LogLine>> {
        for app in &mut self.apps {
            while app.next.is_none() {
                let Some(line) = app.read(&self.directory, &self.path)? else { break };
                let too_early = self.query.since.is_some_and(|since| line.time < since);
                let too_late = self.query.until.is_some_and(|until| line.time > until);
                app.next = (!too_early && !too_late).then_some(line);
            }
        }
        let with_line = self.apps.iter_mut().filter(|app| app.next.is_some());
        let oldest = with_line.min_by_key(|app| app.next.as_ref().map(|line| line.time));
        Ok(oldest.and_then(|app| app.next.take()))
    }
}

impl AppLog {
    fn new(name: &str) -> Self {
        AppLog {
            name: name.into(),
            files: VecDeque::new(),
            next: None,
            partial_stdout: Vec::new(),
            partial_stderr: Vec::new(),
            time: SystemTime::UNIX_EPOCH,
            found: false,
        }
    }

    /// The next line, put together from its pieces.
    fn read(&mut self, directory: &OwnedFd, pod: &Path) -> Result<Option<LogLine>> {
        while let Some(bytes) = self.read_record(directory, pod)? {
            let record = Record::parse(&bytes).unwrap_or(Record {
                // Not ours, or what a power failure left: shown as it is.
                time: self.time,
                stream: LogStream::Stdout,
                is_whole: true,
                text: &bytes,
            });
            self.time = record.time;
            let partial = match record.stream {
                LogStream::Stdout => &mut self.partial_stdout,
                LogStream::Stderr => &mut self.partial_stderr,
            };
            partial.extend_from_slice(record.text);
            if record.is_whole || partial.len() >= MAX_LINE_BYTES {
                let text = std::mem::take(partial);
                let (app, time, stream) = (self.name.clone(), record.time, record.stream);
                return Ok(Some(LogLine { app, time, stream, text }));
            }
        }
        Ok(None)
    }

    fn read_record(&mut self, directory: &OwnedFd, pod: &Path) -> Result<Option<Vec<u8>>> {
        let shown = || pod.join("logs").join(format!("{}.log", self.name));
        loop {
            if let Some(file) = self.files.front_mut()
                && let Some(record) = file.next_record().file("read", &shown())?
            {
                return Ok(Some(record));
            }
            if self.files.len() > 1 {
                // A newer one was there when this one was read to its end, so nothing more comes here.
                let rest = self.files.pop_front().map(LogFile::into_rest);
                if let Some(rest) = rest.transpose().file("read", &shown())?.filter(|rest| !rest.is_empty()) {
                    return Ok(Some(rest));
                }
                continue;
            }
            let newer = self.newer_files(directory).file("open", &shown())?;
            if newer.is_empty() {
                return Ok(None);
            }
            self.found = true;
            self.files.extend(newer);
        }
    }

    /// Files that were begun after the last one that is open, the oldest first. They are opened in the other order: one
    /// that is put aside meanwhile is met twice, and none is missed.
    fn newer_files(&self, directory: &OwnedFd) -> rustix::io::Result<Vec<LogFile>> {
        let mut found: Vec<LogFile> = Vec::new();
        for number in 0..MAX_FILES {
            let Some(file) = LogFile::open(directory, &self.name, number)? else { continue };
            if self.files.back().is_some_and(|last| last.is_same(&file)) {
                break;
            }
            if !found.iter().any(|other| other.is_same(&file)) {
                found.push(file);
            }
        }
        found.reverse();
        Ok(found)
    }
}
