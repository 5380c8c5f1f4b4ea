//! The loop that serves devices, in the thread that called [`crate::Vm::run`].
//!
//! Responsible for: waking devices when the guest notifies them or their host side has news, until the machine ends. Must
//! not know: what devices do. Follows event-manager's documentation.

use std::sync::Arc;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};

use crate::Error;
use crate::exit::ExitLatch;
use crate::virtio::mmio::DeviceHandle;

/// Marks the event of a device's host side; queues have small numbers.
const OUTSIDE: u32 = u32::MAX;

enum Source {
    Device(DeviceHandle),
    Exit(Arc<ExitLatch>),
}

impl MutEventSubscriber for Source {
    fn init(&mut self, ops: &mut EventOps) {
        let mut watch = |events: Events| {
            if let Err(error) = ops.add(events) {
                log::error!("cannot watch a descriptor: {error}");
            }
        };
        match self {
            Source::Exit(exit) => watch(Events::new(exit.event(), EventSet::IN)),
            Source::Device(handle) => {
                let device = handle.lock();
                if device.wants_notifications() {
                    for (index, kick) in (0..).zip(handle.kicks.iter()) {
                        watch(Events::with_data(kick, index, EventSet::IN));
                    }
                }
                if let Some(descriptor) = device.outside_descriptor() {
                    watch(Events::with_data_raw(descriptor, OUTSIDE, EventSet::IN));
                }
            }
        }
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        // The exit event only has to end the wait.
        let Source::Device(handle) = self else { return };
        if events.data() == OUTSIDE {
            handle.lock().outside_event();
        } else if let Some((index, kick)) =
            usize::try_from(events.data()).ok().and_then(|index| Some((index, handle.kicks.get(index)?)))
        {
            // Another wake-up may have consumed the count already; serving an empty queue is harmless.
            let _ = kick.read();
            handle.lock().notified(index);
        }
    }
}

/// Events of all devices of a machine.
pub struct EventLoop {
    manager: EventManager<Source>,
    exit: Arc<ExitLatch>,
}

impl EventLoop {
    /// A loop over `devices` that ends when `exit` is set.
    pub fn new(devices: &[DeviceHandle], exit: Arc<ExitLatch>) -> Result<Self, Error> {
        let mut manager = EventManager::new().map_err(Error::EventLoop)?;
        manager.add_subscriber(Source::Exit(exit.clone()));
        for device in devices {
            manager.add_subscriber(Source::Device(device.clone()));
        }
        Ok(EventLoop { manager, exit })
    }

    /// Serves devices until the machine ends.
    pub fn run(&mut self) {
        while !self.exit.is_set() {
            if let Err(error) = self.manager.run() {
                self.exit.set(Err(Error::EventLoop(error)));
            }
        }
    }
}
