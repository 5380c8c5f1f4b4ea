//! Everywhere that what apps write is kept: the pod's files, the host's journal, Kubernetes' files.
//!
//! Responsible for: handing every byte to each of them. Must not know: formats. Follows docs/logs.md.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use guest_api::{AppId, StdioStream};

use crate::journal::Journal;
use crate::kubernetes_log::{KubernetesLogs, KubernetesPlan};
use crate::log_files::LogFiles;

/// All logs of a pod. What goes wrong is said once, in the sentences that come back.
#[derive(Debug)]
pub struct Logs {
    files: LogFiles,
    journal: Option<Journal>,
    kubernetes: KubernetesLogs,
}

impl Logs {
    /// In these files, in the journal if there is one, and where the plan says.
    pub fn new(files: LogFiles, journal: Option<Journal>, kubernetes: KubernetesPlan) -> Self {
        Self { files, journal, kubernetes: KubernetesLogs::new(kubernetes) }
    }

    /// An app that comes later has this file of Kubernetes'.
    pub fn add(&mut self, name: &str, kubernetes: Option<PathBuf>) {
        self.kubernetes.add(name, kubernetes);
    }

    /// From now on the app's process `pid` writes.
    pub fn started(&mut self, app: AppId, name: &str, pid: u32) -> Vec<String> {
        if let Some(journal) = &mut self.journal {
            journal.started(app, name, pid);
        }
        let file = self.files.started(app, name).map(|error| error.to_string());
        file.into_iter().chain(self.kubernetes.started(app, name)).collect()
    }

    /// The same with another process of the app.
    pub fn speaks(&mut self, app: AppId, pid: u32) {
        if let Some(journal) = &mut self.journal {
            journal.speaks(app, pid);
        }
    }

    /// The next bytes of a stream.
    pub fn push(&mut self, app: AppId, stream: StdioStream, data: &[u8]) -> Vec<String> {
        let journal = self.journal.as_mut().and_then(|journal| journal.push(app, stream, data));
        let file = self.files.push(app, stream, data).map(|error| error.to_string());
        file.into_iter().chain(journal).chain(self.kubernetes.push(app, stream, data)).collect()
    }

    /// Nothing more comes from the stream: what is left of it counts as a line.
    pub fn close(&mut self, app: AppId, stream: StdioStream) -> Vec<String> {
        let journal = self.journal.as_mut().and_then(|journal| journal.close(app, stream));
        let file = self.files.close(app, stream).map(|error| error.to_string());
        file.into_iter().chain(journal).chain(self.kubernetes.close(app, stream)).collect()
    }

    /// Nothing more comes from any stream.
    pub fn close_all(&mut self) -> Vec<String> {
        let journal = self.journal.as_mut().and_then(Journal::close_all);
        let file = self.files.close_all().map(|error| error.to_string());
        file.into_iter().chain(journal).chain(self.kubernetes.close_all()).collect()
    }

    /// The app writes nothing any more.
    pub fn forget(&mut self, app: AppId) {
        self.files.forget(app);
        self.kubernetes.forget(app);
        if let Some(journal) = &mut self.journal {
            journal.forget(app);
        }
    }

    /// What must become writable before more of what waits can be passed on.
    pub fn blocked(&self) -> Option<BorrowedFd<'_>> {
        self.journal.as_ref().and_then(Journal::blocked)
    }

    /// Passes on what waits.
    pub fn flush(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.flush();
        }
    }

    /// The same, waiting for whoever takes it, but not longer than this. Says what is lost for good.
    pub fn finish(&mut self, patience: Duration) -> Option<String> {
        let until = Instant::now().checked_add(patience);
        self.journal.as_mut().and_then(|journal| journal.finish(until))
    }
}

impl From<LogFiles> for Logs {
    fn from(files: LogFiles) -> Self {
        Self::new(files, None, KubernetesPlan::default())
    }
}
