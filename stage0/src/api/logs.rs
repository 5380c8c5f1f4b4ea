//! What a pod's apps print, as a stream.
//!
//! Responsible for: which lines a client wants, how they look, and at whose pace they are read. Must not know: how logs are
//! kept. Follows rkt-reference.md 7.1 (`GetLogs`); a line looks as journald's reader in rkt made it, which rkt's clients take
//! apart again: `2006-01-02 15:04:05.999 -0700 MST text`.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::exit::Exiting;
use super::pods;
use super::status;
use super::wire::{GetLogsRequest, GetLogsResponse};
use crate::clock;
use crate::pod::locate::Pods;
use crate::pod::logs::{LogLine, LogQuery, Logs};

/// Clients that are sent logs at a time, each by a thread of its own that waits for it.
pub const MAX_READERS: usize = 64;
/// Messages that wait for a client.
const WAITING_MESSAGES: usize = 2;
/// Lines and bytes of one message, roughly: a client takes 4 MiB, and a line has at most 256 KiB.
const MAX_MESSAGE_LINES: usize = 512;
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// What a client is sent.
type Message = Result<GetLogsResponse, Status>;

/// Sends the lines that were asked for; those to come too, if they were.
pub fn read(
    pods: Pods,
    request: GetLogsRequest,
    readers: &Arc<Semaphore>,
    exiting: Exiting,
) -> Result<ReceiverStream<Message>, Status> {
    let permit = Arc::clone(readers)
        .try_acquire_owned()
        .map_err(|_| Status::resource_exhausted(format!("{MAX_READERS} clients read logs already")))?;
    let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
    // Without the thread's own sender the stream has ended.
    let (weak_sender, (working, done)) = (sender.downgrade(), oneshot::channel::<Infallible>());
    tokio::spawn(async move {
        tokio::select! {
            _ = done => {}
            status = exiting.begun() => if let Some(sender) = weak_sender.upgrade() {
                drop(sender.send(Err(status)).await);
            }
        }
    });
    let work = move || {
        run(&pods, &request, &sender);
        drop((working, permit));
    };
    let started = std::thread::Builder::new().name("logs".to_owned()).spawn(work);
    started.map_err(|error| Status::resource_exhausted(format!("cannot read logs: {error}")))?;
    Ok(ReceiverStream::new(receiver))
}

fn run(pods: &Pods, request: &GetLogsRequest, sender: &mpsc::Sender<Message>) {
    let mut batch = Batch { lines: Vec::new(), bytes: 0, sender };
    if let Err(status) = send(pods, request, &mut batch) {
        // A client that is gone wants no reason.
        drop(sender.blocking_send(Err(status)));
    }
}

fn send(pods: &Pods, request: &GetLogsRequest, batch: &mut Batch<'_>) -> Result<(), Status> {
    let query = query(request)?;
    let (uuid, stage) = pods::resolve(pods, &request.pod_id)?;
    let gone = || Status::not_found(format!("no matches found for {:?}", request.pod_id));
    let pod = pods.open(uuid, stage).map_err(|error| status::of(&error))?.ok_or_else(gone)?;
    let manifest = pod.manifest().map_err(|error| status::of(&error))?;
    if !request.app_name.is_empty() && manifest.app(&request.app_name).is_none() {
        return Err(Status::not_found(format!(
            "no app {:?} in pod {:?}",
            request.app_name,
            uuid.to_string()
        )));
    }
    let mut logs = Logs::open(&pod, query).map_err(|error| status::of(&error))?;
    if request.follow {
        logs.follow(pods, pod, |line| batch.take(line)).map_err(|error| status::of(&error))?;
    } else {
        while let Some(line) = logs.next_line().map_err(|error| status::of(&error))? {
            if batch.take(Some(line)).is_break() {
                return Ok(());
            }
        }
    }
    // The client may be gone, which is no error.
    let _: ControlFlow<()> = batch.flush();
    Ok(())
}

fn query(request: &GetLogsRequest) -> Result<LogQuery, Status> {
    let last = match usize::try_from(request.lines) {
        Ok(0) => None,
        Ok(lines) => Some(lines),
        Err(_) => return Err(Status::invalid_argument("lines is less than 0")),
    };
    let apps = if request.app_name.is_empty() { Vec::new() } else { vec![request.app_name.clone()] };
    Ok(LogQuery { apps, since: time(request.since_time)?, until: time(request.until_time)?, last })
}

/// 0 is no time, but a bound that is not set.
fn time(seconds: i64) -> Result<Option<SystemTime>, Status> {
    let invalid = || Status::invalid_argument(format!("{seconds} is no time in seconds since 1970"));
    let since = Duration::from_secs(u64::try_from(seconds).map_err(|_| invalid())?);
    match UNIX_EPOCH.checked_add(since) {
        Some(UNIX_EPOCH) => Ok(None),
        time => time.map(Some).ok_or_else(invalid),
    }
}

/// Lines that are sent together.
struct Batch<'a> {
    lines: Vec<String>,
    bytes: usize,
    sender: &'a mpsc::Sender<Message>,
}

impl Batch<'_> {
    /// Takes a line, or sends what there is when there are no more for now. Ends it all when the client is gone.
    fn take(&mut self, line: Option<LogLine>) -> ControlFlow<()> {
        let Some(line) = line else { return self.flush() };
        let text = format!("{} {}", clock::full(Some(line.time)), String::from_utf8_lossy(&line.text));
        self.bytes = self.bytes.saturating_add(text.len());
        self.lines.push(text);
        if self.lines.len() < MAX_MESSAGE_LINES && self.bytes < MAX_MESSAGE_BYTES {
            return ControlFlow::Continue(());
        }
        self.flush()
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        let lines = std::mem::take(&mut self.lines);
        let is_gone = match lines.is_empty() {
            true => self.sender.is_closed(),
            false => self.sender.blocking_send(Ok(GetLogsResponse { lines })).is_err(),
        };
        if is_gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
