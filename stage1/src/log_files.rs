//! The apps' output in files of the pod's directory, for whoever asks later.
//!
//! Responsible for: `logs/APP.log` in the format of the Container Runtime Interface, its rotation, and that a file system that
//! is full costs lines of the log and nothing else. Must not know: who reads (stage0's `pod/logs.rs`); what else becomes of
//! the output. Follows Kubernetes' "CRI: log management" (`<RFC 3339 time> stdout|stderr F|P <text>`) and docs/logs.md.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use guest_api::{AppId, StdioStream};
use jiff::Timestamp;

use crate::line_cutter;
use crate::stdio::MAX_LINE_BYTES;

/// Where the files are, below the pod's directory.
pub const DIRECTORY: &str = "logs";

/// Size at which a file is put aside: kubelet's default, `containerLogMaxSize`.
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;

/// Files of one app, the current one included: kubelet's default, `containerLogMaxFiles`.
const MAX_FILES: usize = 5;

/// What is made into records before they may be written. Output that is all line breaks takes forty times its size once each has its
/// time.
const STEP_BYTES: usize = 16 * 1024;

/// Records are written together up to this size: those of a whole message, unless its lines are short.
const BATCH_BYTES: usize = 128 * 1024;

/// Capacity of the formatting buffer that is kept from one piece of output to the next.
const KEPT_BUFFER_BYTES: usize = 192 * 1024;

/// What others may do with the files: group rkt reads them.
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// Why lines are missing in a log.
#[derive(Debug, thiserror::Error)]
#[error("warning: logs are incomplete: cannot write {}: {cause}", path.display())]
pub struct LogError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// The log of one app.
#[derive(Debug)]
struct AppLog {
    app: AppId,
    path: PathBuf,
    /// None until the first attempt to write, and after a failed rotation.
    file: Option<File>,
    size: u64,
    /// What has come of a line of each stream.
    partial_stdout: Vec<u8>,
    partial_stderr: Vec<u8>,
}

/// The logs of a pod.
#[derive(Debug)]
pub struct LogFiles {
    directory: PathBuf,
    max_file_bytes: u64,
    apps: Vec<AppLog>,
    records: Vec<u8>,
    complained: bool,
}

impl LogFiles {
    /// Logs in `directory`, which is made when it is needed.
    pub fn new(directory: &Path) -> Self {
        Self::with_limit(directory, MAX_FILE_BYTES)
    }

    /// The same with files of another size.
    pub fn with_limit(directory: &Path, max_file_bytes: u64) -> Self {
        LogFiles {
            directory: directory.to_owned(),
            max_file_bytes,
            apps: Vec::new(),
            records: Vec::new(),
            complained: false,
        }
    }

    /// From now on `app` has a log, an empty one at first. Returns the first error of all logs, as all of these do:
    /// whatever goes wrong later goes wrong for the same reason.
    pub fn started(&mut self, app: AppId, name: &str) -> Option<LogError> {
        let mut log = AppLog {
            app,
            path: self.directory.join(format!("{name}.log")),
            file: None,
            size: 0,
            partial_stdout: Vec::new(),
            partial_stderr: Vec::new(),
        };
        let opened = log.open();
        self.apps.push(log);
        self.complain(opened)
    }

    /// The next bytes of a stream.
    pub fn push(&mut self, app: AppId, stream: StdioStream, data: &[u8]) -> Option<LogError> {
        let log = self.apps.iter_mut().find(|log| log.app == app)?;
        let prefix = format!("{:.9} {} F ", Timestamp::now(), name(stream));
        let mut result = Ok(());
        let mut left = data.len();
        for step in data.chunks(STEP_BYTES) {
            format(&mut self.records, prefix.as_bytes(), log.partial(stream), step);
            left = left.saturating_sub(step.len());
            if left == 0 || self.records.len() >= BATCH_BYTES {
                result = result.and(log.write(&self.records, self.max_file_bytes));
                self.records.clear();
            }
        }
        self.records.shrink_to(KEPT_BUFFER_BYTES);
        self.complain(result)
    }

    /// Nothing more comes from the stream: what is left of it counts as a line.
    pub fn close(&mut self, app: AppId, stream: StdioStream) -> Option<LogError> {
        let log = self.apps.iter_mut().find(|log| log.app == app)?;
        if log.partial(stream).is_empty() {
            return None;
        }
        self.push(app, stream, b"\n")
    }

    /// Nothing more comes from the app. Its log stays.
    pub fn forget(&mut self, app: AppId) {
        self.apps.retain(|log| log.app != app);
    }

    /// Nothing more comes from any stream.
    pub fn close_all(&mut self) -> Option<LogError> {
        let apps: Vec<AppId> = self.apps.iter().map(|log| log.app).collect();
        let mut problem = None;
        for app in apps {
            for stream in [StdioStream::Stdout, StdioStream::Stderr] {
                problem = problem.or(self.close(app, stream));
            }
        }
        problem
    }

    fn complain(&mut self, result: Result<(), LogError>) -> Option<LogError> {
        result.err().filter(|_| !std::mem::replace(&mut self.complained, true))
    }
}

impl AppLog {
    fn partial(&mut self, stream: StdioStream) -> &mut Vec<u8> {
        match stream {
            StdioStream::Stdout => &mut self.partial_stdout,
            StdioStream::Stderr => &mut self.partial_stderr,
        }
    }

    fn open(&mut self) -> Result<(), LogError> {
        let failed = |cause| LogError { path: self.path.clone(), cause };
        if let Some(directory) = self.path.parent() {
            make_directory(directory).map_err(failed)?;
        }
        let file = File::options().append(true).create(true).mode(FILE_MODE).open(&self.path);
        let file = file.map_err(failed)?;
        // The caller's umask is not to decide who reads.
        file.set_permissions(fs::Permissions::from_mode(FILE_MODE)).map_err(failed)?;
        self.size = file.metadata().map_err(failed)?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Appends whole records, to a new file if they do not fit the current one.
    fn write(&mut self, records: &[u8], max_file_bytes: u64) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        let bytes = u64::try_from(records.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(bytes) > max_file_bytes {
            self.file = None;
            self.rotate().map_err(|cause| LogError { path: self.path.clone(), cause })?;
        }
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut written = 0;
        let result = append(file, records, &mut written);
        if result.is_err() {
            // No half a record, which the next one would be taken for a part of.
            let through = records.get(..written).unwrap_or(records);
            written = through.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        }
        self.size = self.size.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        result.map_err(|cause| {
            // If not even that works, the reader shows what is there.
            let _ = file.set_len(self.size);
            LogError { path: self.path.clone(), cause }
        })
    }

    /// `APP.log` becomes `APP.log.1`, that one `APP.log.2`, and the last one goes.
    fn rotate(&self) -> io::Result<()> {
        for number in (1..MAX_FILES).rev() {
            let older = rotated(&self.path, number);
            let newer = if number == 1 { self.path.clone() } else { rotated(&self.path, number - 1) };
            match fs::rename(newer, older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Adds the group's permissions only: the bit that hands the group on must stay.
fn make_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            let mode = fs::metadata(path)?.permissions().mode();
            fs::set_permissions(path, fs::Permissions::from_mode(mode | DIRECTORY_MODE))
        }
    }
}

fn append(file: &mut File, records: &[u8], written: &mut usize) -> io::Result<()> {
    while let Some(rest) = records.get(*written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn name(stream: StdioStream) -> &'static str {
    match stream {
        StdioStream::Stdout => "stdout",
        StdioStream::Stderr => "stderr",
    }
}

/// Cuts `data` into records. What is left of it waits in `partial`, which never grows beyond a record's text.
///
/// `prefix` is that of a whole line, and ends with its tag.
pub(crate) fn format(records: &mut Vec<u8>, prefix: &[u8], partial: &mut Vec<u8>, data: &[u8]) {
    let tagless = prefix.strip_suffix(b"F ").unwrap_or(prefix);
    let record = |records: &mut Vec<u8>, tag: &[u8], head: &mut Vec<u8>, text: &[u8]| {
        for part in [tagless, tag, head.as_slice(), text, b"\n"] {
            records.extend_from_slice(part);
        }
        head.clear();
    };
    for piece in line_cutter::pieces(data) {
        if partial.is_empty() && piece.len() <= MAX_LINE_BYTES && piece.ends_with(b"\n") {
            records.extend_from_slice(prefix);
            records.extend_from_slice(piece);
            continue;
        }
        let (mut text, is_end) = match piece.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (piece, false),
        };
        while let Some((fits, rest)) = text.split_at_checked(MAX_LINE_BYTES.saturating_sub(partial.len())) {
            if rest.is_empty() {
                break;
            }
            record(records, b"P ", partial, fits);
            text = rest;
        }
        if is_end {
            record(records, b"F ", partial, text);
        } else {
            partial.extend_from_slice(text);
        }
    }
}
