//! The loop that serves devices, in the thread that called [`crate::Vm::run`].
//!
//! Responsible for: waking devices when the guest notifies them or their host side has news, until the machine ends. Must
//! not know: what devices do. Follows event-manager's documentation.

use std::sync::Arc;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};

use crate::Error;
use crate::device_thread::DeviceThread;
use crate::exit::ExitLatch;
use crate::scheduling::Scheduling;
use crate::virtio::device::Outside;
use crate::virtio::mmio::DeviceHandle;

/// Where the numbers of events of a device's host side start; queues have smaller ones.
const OUTSIDE: u32 = 1 << 16;

enum Source {
    Device(DeviceHandle, Arc<Scheduling>),
    Exit(Arc<ExitLatch>),
    Calls(Arc<DeviceThread>, Arc<Scheduling>),
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
            Source::Calls(calls, _) => {
                watch(Events::new(calls.event(), EventSet::IN | EventSet::EDGE_TRIGGERED));
            }
            Source::Device(handle, _) => {
                let device = handle.lock();
                for (index, kick) in (0..).zip(handle.kicks.iter()) {
                    if device.wants_notifications(index as usize) {
                        // Every write to an event descriptor is a change, so that its count need not be read.
                        watch(Events::with_data(kick, index, EventSet::IN | EventSet::EDGE_TRIGGERED));
                    }
                }
                for (number, outside) in (OUTSIDE..).zip(device.outside_descriptors()) {
                    let (descriptor, events) = match outside {
                        Outside::Readable(descriptor) => (descriptor, EventSet::IN),
                        Outside::Changed(descriptor) => {
                            (descriptor, EventSet::IN | EventSet::OUT | EventSet::EDGE_TRIGGERED)
                        }
                    };
                    watch(Events::with_data_raw(descriptor, number, events));
                }
            }
        }
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        match self {
            // It only has to end the wait.
            Source::Exit(_) => {}
            Source::Calls(calls, scheduling) => {
                scheduling.set_unhurried(false);
                calls.serve();
            }
            Source::Device(handle, scheduling) => {
                let outside = events.data().checked_sub(OUTSIDE);
                if outside.is_none() {
                    handle.counters.notifications.add(1);
                }
                let mut device = handle.lock();
                match outside {
                    Some(index) => device.outside_event(index as usize),
                    None => device.notified(events.data() as usize),
                }
                // A stream that nobody waits for does not delay what comes beside it more than once.
                scheduling.set_unhurried(device.is_unhurried());
            }
        }
    }
}

/// Events of all devices of a machine.
pub struct EventLoop {
    manager: EventManager<Source>,
    exit: Arc<ExitLatch>,
    calls: Arc<DeviceThread>,
    scheduling: Arc<Scheduling>,
}

impl EventLoop {
    /// To be run by the calling thread: a loop over `devices` and `calls` of virtual CPUs that ends when `exit` is set.
    pub fn new(
        devices: &[DeviceHandle],
        calls: Arc<DeviceThread>,
        exit: Arc<ExitLatch>,
    ) -> Result<Self, Error> {
        let mut manager = EventManager::new().map_err(Error::EventLoop)?;
        manager.add_subscriber(Source::Exit(exit.clone()));
        let scheduling = Arc::new(Scheduling::of_this_thread());
        manager.add_subscriber(Source::Calls(calls.clone(), scheduling.clone()));
        for device in devices {
            manager.add_subscriber(Source::Device(device.clone(), scheduling.clone()));
        }
        Ok(EventLoop { manager, exit, calls, scheduling })
    }

    /// Serves devices until the machine ends. A virtual CPU that waits for one of them then goes on.
    pub fn run(&mut self) {
        while !self.exit.is_set() {
            if let Err(error) = self.manager.run() {
                self.exit.set(Err(Error::EventLoop(error)));
            }
        }
        self.calls.close();
        self.scheduling.set_unhurried(false);
    }
}
