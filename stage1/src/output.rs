//! All output of a pod on its way to rkt's standard output and standard error, and into the logs.
//!
//! Responsible for: turns between the apps' streams, a bound on the lines that wait for a slow reader, whole lines where both
//! outputs lead to one reader. Must not know: the guest and its credit, which bounds what waits here unformatted. Follows
//! rkt-reference 6.11.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use guest_api::{AppId, MAX_OUTPUT_BYTES, StdioStream};

use crate::diagnostics;
use crate::logs::Logs;
use crate::sink::{self, Sink};
use crate::stdio::LineAssembler;
use crate::streams::{Mode, Streams};

/// Bytes of finished lines that may wait in front of a reader before apps' bytes stay as they are. A line costs dozens of
/// times its text if the app writes nothing but line breaks, so it is the lines that need a bound.
const WAITING_BYTES: usize = 256 * 1024;

/// What a stream may turn into lines before it is another one's turn.
const TURN_BYTES: usize = 8192;

/// Bytes of an app's stream that need no more room here: they were written, or nobody is left to read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The app.
    pub app: AppId,
    /// Its stream.
    pub stream: StdioStream,
    /// How many.
    pub bytes: u32,
}

/// A line of no app carries None.
type Tag = Option<Written>;

#[derive(Debug)]
struct Stream {
    lines: LineAssembler,
    /// Not cut into lines yet; the guest's credit is its bound.
    raw: VecDeque<u8>,
    ended: bool,
    logged: bool,
    /// Processes whose bytes come after so many of `raw`, in order.
    speakers: VecDeque<(usize, Speaker)>,
}

#[derive(Debug)]
struct Speaker {
    name: String,
    pid: u32,
}

impl Stream {
    fn new(name: &str, pid: u32, destination: Mode) -> Self {
        let logged = destination != Mode::Interactive;
        let lines = if logged { LineAssembler::new(name, pid) } else { LineAssembler::raw() };
        Self { lines, raw: VecDeque::new(), ended: false, logged, speakers: VecDeque::new() }
    }

    /// Cuts the next few bytes, and what is left at the stream's end.
    ///
    /// Appends them to `text`, and returns how many bytes of the stream they stand for.
    fn turn(&mut self, uptime: Duration, text: &mut Vec<u8>) -> u32 {
        let mut bytes = 0_u32;
        while let Some((0, speaker)) = self.speakers.front() {
            // Nobody finishes another one's line.
            bytes = bytes.saturating_add(self.lines.finish(uptime, text));
            self.lines.relabel(&speaker.name, speaker.pid);
            self.speakers.pop_front();
        }
        // What passes as it is costs no more than it holds, and is its reader's alone.
        let most = if self.lines.is_raw() { MAX_OUTPUT_BYTES } else { TURN_BYTES };
        let own = self.speakers.front().map_or(most, |(after, _)| most.min(*after));
        let front = self.raw.as_slices().0;
        let turn = front.get(..own).unwrap_or(front);
        let length = turn.len();
        bytes = bytes.saturating_add(self.lines.push(turn, uptime, text));
        self.raw.drain(..length);
        for (after, _) in &mut self.speakers {
            *after = after.saturating_sub(length);
        }
        if self.raw.is_empty() && std::mem::take(&mut self.ended) {
            bytes = bytes.saturating_add(self.lines.finish(uptime, text));
        }
        bytes
    }
}

#[derive(Debug)]
struct AppOutput {
    app: AppId,
    stdout: Stream,
    stderr: Stream,
    /// Goes when what it wrote is on its way.
    forgotten: bool,
}

impl AppOutput {
    fn is_of(&self, app: AppId) -> bool {
        self.app == app && !self.forgotten
    }

    fn is_done(&self) -> bool {
        let done = |stream: &Stream| stream.raw.is_empty() && !stream.ended;
        self.forgotten && done(&self.stdout) && done(&self.stderr)
    }

    fn state(&self, stream: StdioStream) -> &Stream {
        match stream {
            StdioStream::Stdout => &self.stdout,
            StdioStream::Stderr => &self.stderr,
        }
    }

    fn stream(&mut self, stream: StdioStream) -> &mut Stream {
        match stream {
            StdioStream::Stdout => &mut self.stdout,
            StdioStream::Stderr => &mut self.stderr,
        }
    }
}

/// Everything between the apps and the two descriptors.
#[derive(Debug)]
pub struct Outputs<'fd> {
    apps: Vec<AppOutput>,
    stdout: Sink<'fd, Tag>,
    stderr: Sink<'fd, Tag>,
    /// Both lead to the same pipe, terminal or socket.
    one_reader: bool,
    /// Kernel messages that nobody was quick enough to read.
    lost_messages: u64,
    /// Written as output arrives: a reader of ours that is slow does not keep it from them.
    logs: Logs,
    /// Out already, and not reported.
    passed: Vec<Written>,
}

const STREAMS: [StdioStream; 2] = [StdioStream::Stdout, StdioStream::Stderr];

impl<'fd> Outputs<'fd> {
    /// Writes to `stdout` and `stderr`, and to `logs`.
    pub fn new(stdout: BorrowedFd<'fd>, stderr: BorrowedFd<'fd>, logs: impl Into<Logs>) -> Self {
        Self {
            apps: Vec::new(),
            one_reader: sink::lead_to_one_reader(stdout, stderr),
            stdout: Sink::new(stdout),
            stderr: Sink::new(stderr),
            lost_messages: 0,
            logs: logs.into(),
            passed: Vec::new(),
        }
    }

    /// An app that comes later has this file of Kubernetes'.
    pub fn add(&mut self, name: &str, kubernetes: Option<PathBuf>) {
        self.logs.add(name, kubernetes);
    }

    /// From now on `app`, whose process is `pid`, has output: on its way to `streams`, of which rkt's own are passed on as they
    /// are and nowhere else.
    ///
    /// One that has output already goes on with what another process of it writes.
    pub fn started(&mut self, app: AppId, name: &str, pid: u32, streams: &Streams) {
        if let Some(output) = self.apps.iter_mut().find(|output| output.is_of(app)) {
            for stream in STREAMS {
                let state = output.stream(stream);
                state.speakers.push_back((state.raw.len(), Speaker { name: name.to_owned(), pid }));
            }
            self.logs.speaks(app, pid);
            return;
        }
        let stream = |stream| Stream::new(name, pid, streams.destination(stream));
        let (stdout, stderr) = (stream(StdioStream::Stdout), stream(StdioStream::Stderr));
        let logged = stdout.logged || stderr.logged;
        self.apps.push(AppOutput { app, stdout, stderr, forgotten: false });
        let started = if logged { self.logs.started(app, name, pid) } else { Vec::new() };
        self.warn(started);
    }

    /// Whether [`Self::splice`] is for this stream.
    pub fn splices(&self, app: AppId, stream: StdioStream) -> bool {
        let output = self.apps.iter().find(|output| output.is_of(app));
        output.is_some_and(|output| output.state(stream).lines.is_raw()) && self.sinks(stream).0.splices()
    }

    /// The next bytes of a stream, which are in this socket: as many of them as can be written at once. Returns how many that
    /// are; the rest is to be pushed.
    pub fn splice(&mut self, app: AppId, stream: StdioStream, socket: BorrowedFd<'_>, bytes: usize) -> usize {
        self.pass(app, stream, |sink| sink.splice(socket, bytes))
    }

    /// What passes as it is need not be copied first, if nothing is in front of it.
    fn pass(
        &mut self,
        app: AppId,
        stream: StdioStream,
        write: impl FnOnce(&Sink<'fd, Tag>) -> usize,
    ) -> usize {
        let (sink, other) = self.sinks(stream);
        let in_the_middle = self.one_reader && other.is_mid_line();
        let output = self.apps.iter().find(|output| output.is_of(app));
        let may_pass = output.is_some_and(|output| {
            let state = output.state(stream);
            state.lines.is_raw() && state.raw.is_empty()
        });
        let passed = if may_pass && !in_the_middle { write(sink) } else { 0 };
        if let Some(bytes) = u32::try_from(passed).ok().filter(|bytes| *bytes > 0) {
            add(&mut self.passed, Written { app, stream, bytes });
        }
        passed
    }

    /// That of the stream, and the other one.
    fn sinks(&self, stream: StdioStream) -> (&Sink<'fd, Tag>, &Sink<'fd, Tag>) {
        match stream {
            StdioStream::Stdout => (&self.stdout, &self.stderr),
            StdioStream::Stderr => (&self.stderr, &self.stdout),
        }
    }

    /// The next bytes of a stream.
    pub fn push(&mut self, app: AppId, stream: StdioStream, data: &[u8]) {
        let passed = self.pass(app, stream, |sink| sink.pass(data));
        if let Some(output) = self.apps.iter_mut().find(|output| output.is_of(app)) {
            let state = output.stream(stream);
            state.raw.extend(data.get(passed..).unwrap_or_default());
            let logged = if state.logged { self.logs.push(app, stream, data) } else { Vec::new() };
            self.warn(logged);
        }
    }

    /// Nothing more comes from the stream.
    pub fn close(&mut self, app: AppId, stream: StdioStream) {
        if let Some(output) = self.apps.iter_mut().find(|output| output.is_of(app)) {
            output.stream(stream).ended = true;
            let logged = self.logs.close(app, stream);
            self.warn(logged);
        }
    }

    /// Nothing more comes from the app, and its number may be given to another one.
    pub fn forget(&mut self, app: AppId) {
        // A slow reader may not have taken everything yet; that goes on as nobody's.
        if let Some(output) = self.apps.iter_mut().find(|output| output.is_of(app)) {
            output.forgotten = true;
        }
        self.logs.forget(app);
    }

    /// Nothing more comes from any stream.
    pub fn close_all(&mut self) {
        for output in &mut self.apps {
            for stream in STREAMS {
                output.stream(stream).ended = true;
            }
        }
        let logged = self.logs.close_all();
        self.warn(logged);
    }

    fn warn(&mut self, problems: Vec<String>) {
        problems.iter().for_each(|problem| self.say(problem));
    }

    /// What a log waits for, which nobody else does.
    pub fn blocked_log(&self) -> Option<BorrowedFd<'_>> {
        self.logs.blocked()
    }

    /// Gives logs that much time to take what waits for them.
    pub fn finish_logs(&mut self, patience: Duration) {
        let lost = self.logs.finish(patience);
        self.warn(lost.into_iter().collect());
    }

    /// A line of stage1's own for standard error. Unlike [`diagnostics::say`] it waits for nobody.
    pub fn say(&mut self, text: &str) {
        self.stderr.push(diagnostics::line(diagnostics::STAGE1, text), None);
    }

    /// A message of the guest's kernel or the VMM. It is dropped if standard error is behind: nothing else bounds what the kernel
    /// says, and a kernel that waits for its console stops every app.
    pub fn machine_message(&mut self, speaker: &str, text: &[u8]) {
        if self.stderr.waiting_bytes() >= WAITING_BYTES {
            self.lost_messages = self.lost_messages.saturating_add(1);
            return;
        }
        let lost = std::mem::take(&mut self.lost_messages);
        if lost > 0 {
            self.stderr
                .push(diagnostics::line(diagnostics::KERNEL, &format!("({lost} messages lost)")), None);
        }
        let text = String::from_utf8_lossy(text.trim_ascii_end());
        self.stderr.push(diagnostics::line(speaker, &text), None);
    }

    /// Whether something waits for a reader.
    pub fn is_waiting(&self) -> bool {
        self.blocked().next().is_some()
    }

    /// Bytes of lines that wait, for tests.
    #[cfg(test)]
    pub fn waiting_line_bytes(&self) -> usize {
        self.stdout.waiting_bytes() + self.stderr.waiting_bytes()
    }

    /// Descriptors that must become writable first.
    pub fn blocked(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.stdout, &self.stderr].into_iter().filter(|sink| !sink.is_empty()).map(Sink::descriptor)
    }

    /// Writes what the readers take. `uptime`, the pod's, is the label of lines that are finished now.
    pub fn flush(&mut self, uptime: Duration) -> Vec<Written> {
        let mut written = std::mem::take(&mut self.passed);
        self.logs.flush();
        loop {
            self.cut(uptime);
            self.apps.retain(|output| !output.is_done());
            let through = self.write();
            if through.is_empty() {
                return written;
            }
            through.into_iter().flatten().for_each(|more| add(&mut written, more));
        }
    }

    /// Cuts streams into lines, turn by turn, as long as there is room for lines.
    fn cut(&mut self, uptime: Duration) {
        let mut progress = true;
        while std::mem::take(&mut progress) {
            for output in &mut self.apps {
                let app = output.app;
                for stream in STREAMS {
                    let sink = match stream {
                        StdioStream::Stdout => &mut self.stdout,
                        StdioStream::Stderr => &mut self.stderr,
                    };
                    let state = output.stream(stream);
                    if sink.waiting_bytes() >= WAITING_BYTES || (state.raw.is_empty() && !state.ended) {
                        continue;
                    }
                    progress = true;
                    let is_lines = !state.lines.is_raw();
                    sink.fill(is_lines, |text| {
                        Some(Written { app, stream, bytes: state.turn(uptime, text) })
                    });
                }
            }
        }
    }

    fn write(&mut self) -> Vec<Tag> {
        let mut order = [(&mut self.stdout, "output"), (&mut self.stderr, "error")];
        if order.iter().any(|(sink, name)| *name == "error" && sink.is_mid_line()) {
            order.reverse();
        }
        let mut through = Vec::new();
        let mut complaints = Vec::new();
        for (sink, name) in order {
            let (tags, error) = sink.flush();
            through.extend(tags);
            complaints.extend(error.map(|error| {
                format!("warning: standard {name} is lost, what the apps write to it is dropped: {error}")
            }));
            if self.one_reader && sink.is_mid_line() {
                // The other one's lines would end up in the middle of this one's.
                break;
            }
        }
        for complaint in complaints {
            self.say(&complaint);
        }
        through
    }
}

/// Lines are many, and what they stand for is told as one.
fn add(written: &mut Vec<Written>, more: Written) {
    match written.last_mut() {
        Some(last) if (last.app, last.stream) == (more.app, more.stream) => {
            last.bytes = last.bytes.saturating_add(more.bytes);
        }
        _ => written.push(more),
    }
}
