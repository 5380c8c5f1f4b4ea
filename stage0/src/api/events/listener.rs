//! One client that listens.
//!
//! Responsible for: what it is sent, from when to when, at its own pace. Must not know: where events come from. Follows
//! rkt-reference.md 7.1.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::history::History;
use crate::api::filter::wants_event;
use crate::api::wire::{EventFilter, ListenEventsResponse};

/// Messages that wait for a client. What it has not taken stays in the history.
const WAITING_MESSAGES: usize = 2;
/// Events of one message.
const MAX_MESSAGE_EVENTS: usize = 256;

/// Sends what the filter wants, until its last second, until the client goes or the service exits.
pub fn listen(
    history: Arc<History>,
    filter: EventFilter,
    exiting: impl Future<Output = Status> + Send + 'static,
) -> ReceiverStream<Result<ListenEventsResponse, Status>> {
    let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
    // Whoever asks for nothing of the past gets what comes from this very moment on.
    let position = if filter.since_time == 0 { history.end() } else { history.start() };
    tokio::spawn(async move {
        let end = tokio::select! {
            end = send_all(&history, position, &filter, &sender) => end,
            status = exiting => Err(status),
            () = sender.closed() => return,
        };
        if let Err(status) = end {
            drop(sender.send(Err(status)).await);
        }
    });
    ReceiverStream::new(receiver)
}

async fn send_all(
    history: &History,
    mut position: u64,
    filter: &EventFilter,
    sender: &mpsc::Sender<Result<ListenEventsResponse, Status>>,
) -> Result<(), Status> {
    let mut end = history.subscribe();
    loop {
        end.mark_unchanged();
        let forgotten =
            |_| Status::data_loss("the client is too slow: events were forgotten before it took them");
        let events = history.from(position, MAX_MESSAGE_EVENTS).map_err(forgotten)?;
        if events.is_empty() {
            tokio::select! {
                // What happened in the last moment is told before the end.
                biased;
                _ = end.changed() => continue,
                () = until(filter.until_time) => return Ok(()),
            }
        }
        position = position.saturating_add(events.len() as u64);
        let events: Vec<_> = events.into_iter().filter(|event| wants_event(filter, event)).collect();
        if !events.is_empty() && sender.send(Ok(ListenEventsResponse { events })).await.is_err() {
            return Ok(());
        }
    }
}

/// Waits for a time in seconds since 1970; for ever if it is 0.
async fn until(time: i64) {
    let Ok(seconds @ 1..) = u64::try_from(time) else { return std::future::pending().await };
    let end = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    match end.map(|end| end.duration_since(SystemTime::now())) {
        Some(Ok(left)) => tokio::time::sleep(left).await,
        Some(Err(_)) => {}
        None => std::future::pending().await,
    }
}
