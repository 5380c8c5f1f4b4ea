//! The network card: frames between the guest's queues and the queues of a tap.
//!
//! Responsible for: pairing queues with taps, what driver and tap agree on, and when each direction has its turn. Must not know: who
//! made the tap, what it is joined to. Follows the virtio specification 1.2, section 5.1.

mod buffers;
mod checksum;
mod control;
pub mod counters;
pub mod features;
pub mod header;
mod one_way;
mod rate;
mod receive;
pub mod tap;
mod transmit;
mod vhost;

#[cfg(test)]
mod features_test;
#[cfg(test)]
mod header_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod net_test;
#[cfg(test)]
mod one_way_test;
#[cfg(test)]
mod rate_test;

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use vmm_sys_util::eventfd::EventFd;

use self::control::Command;
use self::counters::{CardCounters, NetCounters};
use self::features::Features;
use self::one_way::OneWay;
use self::rate::Limiter;
use self::receive::Receiver;
use self::tap::{MAX_QUEUE_PAIRS, Tap};
use self::transmit::Transmitter;
use super::device::{ActivateError, Activation, Outside, VirtioDevice, serve_again};
use super::queue::{ActiveQueue, Served};
use crate::{Error, NetConfig, NetLimits};

/// Entries of a data queue. Linux fills the receiving one with buffers of 1.5 KiB, so that this many take six of the largest frames.
const DATA_QUEUE_SIZE: u16 = 256;
/// Entries of the control queue; Linux has one command under way.
const CONTROL_QUEUE_SIZE: u16 = 16;
/// Frames that one direction passes before others have their turn, small ones and ...
const FRAMES_PER_TURN: usize = 128;
/// ... large ones: some 100 µs of copying.
const BYTES_PER_TURN: usize = 1 << 20;
/// Turns of each queue when the machine has stopped: one queue full.
const LAST_TURNS: usize = DATA_QUEUE_SIZE as usize / FRAMES_PER_TURN;

/// How a turn of a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// There is nothing to do before the next event.
    Over,
    /// There may be more.
    More,
    /// There may be more, which may not pass before so much time is over.
    After(Duration),
}

/// The network card.
pub struct Net {
    taps: Vec<Tap>,
    vhost: Vec<File>,
    config: Vec<u8>,
    features: u64,
    queue_sizes: Vec<u16>,
    receive_limiter: Limiter,
    transmit_limiter: Limiter,
    /// For directions that have reached their limit.
    timer: Option<Timer>,
    counters: CardCounters,
    one_way: OneWay,
    running: Option<Running>,
}

/// What there is between activation and reset.
struct Running {
    features: Features,
    /// As many as taps. Empty where the host's kernel serves the queues.
    pairs: Vec<Pair>,
    /// Pairs that the driver uses, the first ones.
    in_use: usize,
    control: Option<ActiveQueue>,
    kicks: Arc<[EventFd]>,
    /// The host's kernel serves the queues; ends with this.
    kernel: Vec<vhost::Served>,
}

#[derive(Default)]
struct Pair {
    receiver: Option<Receiver>,
    transmitter: Option<Transmitter>,
}

/// Says when a direction may go on.
struct Timer {
    descriptor: OwnedFd,
    set_to: Option<Instant>,
}

impl Timer {
    fn new() -> Result<Self, Error> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor =
            timerfd_create(TimerfdClockId::Monotonic, flags).map_err(Error::os("create a timer"))?;
        Ok(Timer { descriptor, set_to: None })
    }

    fn set(&mut self, wait: Duration) {
        let now = Instant::now();
        if self.set_to.is_some_and(|time| time > now && time <= now + wait) {
            return;
        }
        let value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        match timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &once) {
            Ok(_) => self.set_to = Some(now + wait),
            Err(error) => log::warn!("virtio-net: cannot set a timer: {error}"),
        }
    }
}

impl Net {
    /// A card over the tap of `config` that counts there.
    pub fn new(config: NetConfig, counters: CardCounters) -> Result<Self, Error> {
        let NetConfig { queues, mac, mtu, limits, vhost } = config;
        let pairs = queues.len();
        if !(1..=MAX_QUEUE_PAIRS).contains(&pairs) {
            return Err(Error::Config(format!("{pairs} queues of a tap, want 1 to {MAX_QUEUE_PAIRS}")));
        }
        if !vhost.is_empty() && (vhost.len() != pairs || limits != NetLimits::default()) {
            return Err(Error::Config(
                "vhost-net takes one descriptor for each queue of the tap, and no limits".to_owned(),
            ));
        }
        let taps: Vec<Tap> = queues.into_iter().map(Tap::new).collect();
        let udp_segments = taps.first().is_some_and(Tap::knows_udp_offloads);
        let offered = features::offered(pairs, mtu.is_some(), udp_segments);
        let offered = vhost.first().map_or(Ok(offered), |kernel| vhost::restrict(kernel, offered))?;
        let now = Instant::now();
        let limiters = (Limiter::new(limits.receive, now), Limiter::new(limits.transmit, now));
        let limited = limiters.0.limits() || limiters.1.limits();
        let mut queue_sizes = vec![DATA_QUEUE_SIZE; 2 * pairs];
        if pairs > 1 {
            queue_sizes.push(CONTROL_QUEUE_SIZE);
        }
        Ok(Net {
            taps,
            vhost,
            config: features::configuration(mac, pairs, mtu),
            features: offered,
            queue_sizes,
            receive_limiter: limiters.0,
            transmit_limiter: limiters.1,
            timer: limited.then(Timer::new).transpose()?,
            counters,
            one_way: OneWay::default(),
            running: None,
        })
    }

    /// What the card has passed.
    pub fn counters(&self) -> &NetCounters {
        &self.counters
    }

    fn receive(&mut self, pair: usize) {
        let Some(running) = self.running.as_mut().filter(|running| pair < running.in_use) else { return };
        let (Some(queues), Some(tap)) = (running.pairs.get_mut(pair), self.taps.get(pair)) else { return };
        let Some(receiver) = &mut queues.receiver else { return };
        let before = self.counters.received_frames.get();
        let outcome = receiver.turn(tap.file(), &mut self.receive_limiter, &self.counters);
        self.one_way.received(self.counters.received_frames.get() - before, Instant::now);
        match outcome {
            Ok(turn) => follow(turn, &running.kicks, 2 * pair, self.timer.as_mut()),
            Err(error) => {
                log::warn!("virtio-net: {error}");
                queues.receiver = None;
            }
        }
    }

    fn transmit(&mut self, pair: usize) {
        let Some(running) = self.running.as_mut().filter(|running| pair < running.in_use) else { return };
        let (Some(queues), Some(tap)) = (running.pairs.get_mut(pair), self.taps.get(pair)) else { return };
        let Some(transmitter) = &mut queues.transmitter else { return };
        let before = self.counters.transmitted_frames.get();
        let outcome = transmitter.turn(tap.file(), &mut self.transmit_limiter, &self.counters);
        self.one_way.sent(self.counters.transmitted_frames.get() - before);
        match outcome {
            Ok(turn) => follow(turn, &running.kicks, 2 * pair + 1, self.timer.as_mut()),
            Err(error) => {
                log::warn!("virtio-net: {error}");
                queues.transmitter = None;
            }
        }
    }

    fn control(&mut self, index: usize) {
        let Some(running) = &mut self.running else { return };
        let Some(mut queue) = running.control.take() else { return };
        let counters = self.counters.clone();
        let mut commands = Vec::new();
        let served = queue.serve(|ram, chain| {
            let (written, accepted) = control::serve(ram, chain, |command| {
                let accepted = running.carry_out(command, &self.taps);
                commands.push(command);
                accepted
            });
            counters.control_refused.add(u64::from(!accepted));
            Some(written)
        });
        match served {
            Ok(Served::Everything) => running.control = Some(queue),
            Ok(Served::Part) => {
                running.control = Some(queue);
                serve_again(&running.kicks, index);
            }
            Err(error) => log::warn!("virtio-net: {error}"),
        }
        // Queues that have just come into use may have something already.
        if commands.iter().any(|command| matches!(command, Command::QueuePairs(_))) {
            (0..self.taps.len()).for_each(|pair| self.serve(pair));
        }
    }

    fn serve(&mut self, pair: usize) {
        self.receive(pair);
        self.transmit(pair);
    }
}

fn follow(turn: Turn, kicks: &[EventFd], queue: usize, timer: Option<&mut Timer>) {
    match turn {
        Turn::Over => {}
        Turn::More => serve_again(kicks, queue),
        Turn::After(wait) => {
            if let Some(timer) = timer {
                timer.set(wait);
            }
        }
    }
}

impl Running {
    fn carry_out(&mut self, command: Command, taps: &[Tap]) -> bool {
        match command {
            Command::QueuePairs(pairs) => {
                let pairs = usize::from(pairs);
                self.features.several_queues()
                    && (1..=taps.len()).contains(&pairs)
                    && self.use_pairs(pairs, taps)
            }
            Command::GuestOffloads(wanted) => {
                self.features.choose_guest_offloads(wanted).is_some_and(|chosen| {
                    taps.first().is_some_and(|tap| tap.set_offloads(chosen.tap_offloads()).is_ok())
                })
            }
        }
    }

    /// Has the host spread frames over the first `pairs` queues of the tap.
    fn use_pairs(&mut self, pairs: usize, taps: &[Tap]) -> bool {
        let changed = taps.iter().enumerate().filter(|(index, _)| (*index < pairs) != (*index < self.in_use));
        for (index, tap) in changed {
            if let Err(error) = tap.set_in_use(index < pairs) {
                log::warn!("virtio-net: cannot use {pairs} queues of the tap: {error}");
                return false;
            }
        }
        self.in_use = pairs;
        for receiver in self.pairs.iter_mut().filter_map(|pair| pair.receiver.as_mut()) {
            receiver.set_readable();
        }
        true
    }
}

impl VirtioDevice for Net {
    fn id(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let features = Features(activation.features);
        if let Some(tap) = self.taps.first() {
            tap.set_offloads(features.tap_offloads())?;
        }
        let Activation { ram, queues, interrupt, kicks, .. } = activation;
        let mut queues = queues.into_iter().enumerate();
        let active = |queue| ActiveQueue::new(queue, ram.clone(), interrupt.clone());
        let mut running = Running {
            features,
            pairs: Vec::new(),
            in_use: self.taps.len(),
            control: None,
            kicks: kicks.clone(),
            kernel: Vec::new(),
        };
        // Without several queues, the control queue is behind the first pair.
        let data = if features.several_queues() { 2 * self.taps.len() } else { 2 };
        let mut data_queues = Vec::new();
        for (index, queue) in queues.by_ref() {
            if index < data {
                data_queues.push(queue);
            } else if index == data && features.control_queue() {
                running.control = queue.map(active);
            }
        }
        if !matches!(data_queues.as_slice(), [Some(_), Some(_), ..]) {
            return Err("the driver did not set up both queues of the first pair".into());
        }
        if !self.vhost.is_empty() {
            let parts = self.vhost.iter().zip(&self.taps).zip(data_queues.chunks(2)).zip(kicks.chunks(2));
            for (((vhost, tap), queues), kicks) in parts {
                running.kernel.push(vhost::serve(
                    vhost,
                    tap.file(),
                    &ram,
                    features.0,
                    queues,
                    kicks,
                    &interrupt,
                )?);
            }
        } else {
            let mut data_queues = data_queues.into_iter();
            while let Some(receive) = data_queues.next() {
                let receiver = receive.map(|queue| Receiver::new(active(queue), features));
                let transmit = data_queues.next().flatten();
                let transmitter = transmit.map(|queue| Transmitter::new(active(queue), features));
                running.pairs.push(Pair { receiver, transmitter });
            }
        }
        // The first pair only, until the driver says that it uses more (5.1.6.5.5).
        running.use_pairs(1, &self.taps);
        self.running = Some(running);
        self.serve(0);
        Ok(())
    }

    fn reset(&mut self) {
        if let Some(mut running) = self.running.take() {
            // As before activation: all queues of the tap in use.
            running.use_pairs(self.taps.len(), &self.taps);
        }
    }

    fn status_is_constant(&self) -> bool {
        true
    }

    fn wants_notifications(&self, index: usize) -> bool {
        self.vhost.is_empty() || index >= 2 * self.taps.len()
    }

    fn notified(&mut self, index: usize) {
        let pair = index / 2;
        let several = self.running.as_ref().is_some_and(|running| running.features.several_queues());
        if pair >= if several { self.taps.len() } else { 1 } {
            self.control(index);
        } else if index.is_multiple_of(2) {
            self.receive(pair);
        } else {
            self.transmit(pair);
        }
    }

    fn outside_descriptors(&self) -> Vec<Outside> {
        if !self.vhost.is_empty() {
            return Vec::new();
        }
        let taps = self.taps.iter().map(|tap| tap.file().as_raw_fd());
        let timer = self.timer.iter().map(|timer| timer.descriptor.as_raw_fd());
        taps.chain(timer).map(Outside::Changed).collect()
    }

    fn outside_event(&mut self, index: usize) {
        if index >= self.taps.len() {
            (0..self.taps.len()).for_each(|pair| self.serve(pair));
            return;
        }
        let queues = self.running.as_mut().and_then(|running| running.pairs.get_mut(index));
        let Some(queues) = queues else { return };
        let blocked = queues.transmitter.as_mut().is_some_and(Transmitter::set_writable);
        if let Some(receiver) = &mut queues.receiver {
            receiver.set_readable();
        }
        self.receive(index);
        if blocked {
            self.transmit(index);
        }
    }

    fn is_unhurried(&self) -> bool {
        self.one_way.holds()
    }

    fn finish(&mut self) {
        // What the guest sent last: the ends of its connections.
        for pair in 0..self.taps.len() {
            (0..LAST_TURNS).for_each(|_| self.transmit(pair));
        }
    }
}
