//! What a virtual CPU has the device thread do for it.
//!
//! Responsible for: carrying a call over to the thread that serves devices, and its answer back, so that a thread that runs hostile
//! code makes no system call of a device's. Must not know: what is called. Follows docs/threat-model.md, "Guest to VMM".
//!
//! Waiting costs a vCPU thread futex(2) and nothing else: the channels of the standard library would give up the processor too.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::Error;

type Call = Box<dyn FnOnce() + Send>;

/// Calls that wait for the device thread.
pub struct DeviceThread {
    /// `None` when the device thread takes no more.
    calls: Mutex<Option<Vec<Call>>>,
    event: EventFd,
}

/// What came of a call.
enum Answer<R> {
    Awaited,
    Given(R),
    /// The call was dropped.
    None,
}

struct Place<R> {
    answer: Mutex<Answer<R>>,
    changed: Condvar,
}

/// The duty to answer, which ends with this value.
struct Duty<R>(Arc<Place<R>>);

impl<R> Place<R> {
    fn set(&self, new: Answer<R>) {
        let mut answer = lock(&self.answer);
        if matches!(*answer, Answer::Awaited) {
            *answer = new;
            self.changed.notify_one();
        }
    }
}

impl<R> Drop for Duty<R> {
    fn drop(&mut self) {
        self.0.set(Answer::None);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DeviceThread {
    /// Takes calls from the start.
    pub fn new() -> Result<Self, Error> {
        let event = EventFd::new(EFD_NONBLOCK).map_err(Error::os("create an event descriptor"))?;
        Ok(DeviceThread { calls: Mutex::new(Some(Vec::new())), event })
    }

    /// Has the device thread make the call, and waits. `None` if the machine ends before that. Never to be called in the device
    /// thread itself, nor with a lock held that a device takes.
    pub fn call<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        let place = Arc::new(Place { answer: Mutex::new(Answer::Awaited), changed: Condvar::new() });
        let duty = Duty(place.clone());
        lock(&self.calls).as_mut()?.push(Box::new(move || duty.0.set(Answer::Given(work()))));
        if let Err(error) = self.event.write(1) {
            log::error!("cannot wake the device thread: {error}");
        }
        let mut answer = lock(&place.answer);
        loop {
            match std::mem::replace(&mut *answer, Answer::Awaited) {
                Answer::Awaited => {
                    answer = place.changed.wait(answer).unwrap_or_else(PoisonError::into_inner);
                }
                Answer::Given(result) => return Some(result),
                Answer::None => return None,
            }
        }
    }

    /// Changes when there are calls.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Makes the calls that there are.
    pub fn serve(&self) {
        let calls = lock(&self.calls).as_mut().map(std::mem::take).unwrap_or_default();
        for call in calls {
            call();
        }
    }

    /// Nobody makes calls any more: whoever waits goes on without an answer.
    pub fn close(&self) {
        drop(lock(&self.calls).take());
    }
}
