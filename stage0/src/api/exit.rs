//! The service's exit, for those who would answer a client for ever.
//!
//! Responsible for: telling them. Must not know: why the service exits. Follows rkt-reference.md 7.1.

use tokio::sync::watch;
use tonic::Status;

/// Tells everybody.
#[derive(Debug)]
pub struct Exit(watch::Sender<bool>);

/// Is told.
#[derive(Debug, Clone)]
pub struct Exiting(watch::Receiver<bool>);

impl Default for Exit {
    fn default() -> Self {
        Exit(watch::Sender::new(false))
    }
}

impl Exit {
    /// Somebody who is told.
    pub fn exiting(&self) -> Exiting {
        Exiting(self.0.subscribe())
    }

    /// The service exits.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Exiting {
    /// Waits for the exit; what clients are told then.
    pub async fn begun(mut self) -> Status {
        // It ends in the same way if nobody is left to tell.
        drop(self.0.wait_for(|begun| *begun).await);
        Status::unavailable("the API service is exiting")
    }
}
