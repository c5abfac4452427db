//! What is counted of deliveries, and what is shown of queues and hosts to whoever watches the forwarder.

use std::time::Duration;

use super::Engine;
use super::connection::Current;
use crate::forward::schedule::{DestinationId, DestinationView, Ended, HostState, HostView};
use crate::metrics::{Attempt, DelayPart, DestinationShown, ForwardResult, HostShown, STOPPED, Shown};
use crate::ring::Ring;

/// Deliveries that are looked at a second for the oldest one: the time of a fraction of a millisecond.
const WALK_SLOTS: u32 = 65_536;

impl<R: Ring> Engine<R> {
    /// So many recipients of a destination had this result.
    pub(super) fn count(&self, destination: DestinationId, result: ForwardResult, recipients: usize) {
        if let Some(counted) = self.metrics.engine.destinations.get(usize::from(destination.0)) {
            counted.count(result, recipients as u64);
        }
    }

    /// An attempt, or a connection that came to nothing, ended like this.
    pub(super) fn count_attempt(&self, destination: DestinationId, ended: Attempt) {
        if let Some(counted) = self.metrics.engine.destinations.get(usize::from(destination.0)) {
            counted.attempt(ended);
        }
    }

    /// An attempt to deliver this ended so.
    pub(super) fn count_ended(&self, current: &Current, ended: Ended<'_>) {
        let destination = current.delivery.destination;
        let attempt = match ended {
            Ended::Done | Ended::Part => Attempt::Done,
            Ended::Deferred => Attempt::Deferred,
            Ended::Lost(_) => Attempt::Lost,
            Ended::Untouched(_) => Attempt::Untouched,
        };
        self.count_attempt(destination, attempt);
        self.count(destination, ForwardResult::Delivered, current.sent.len());
        self.count(destination, ForwardResult::Undeliverable, current.failed.len());
        if matches!(ended, Ended::Done | Ended::Deferred | Ended::Part) {
            let engine = &self.metrics.engine;
            engine.delay(DelayPart::Queue, current.queued);
            if let Some(took) = current.connect {
                engine.delay(DelayPart::Connect, took);
            }
            engine.delay(DelayPart::Transmit, self.now.saturating_duration_since(current.begun_at));
        }
    }

    /// Shows how queues and hosts are, if somebody has looked at what was shown before. Once a second.
    pub(super) fn show(&mut self) {
        if !self.metrics.wants_showing() {
            return;
        }
        self.schedule.walk_expiry(&mut self.expiry_walk, WALK_SLOTS);
        let destinations = self.schedule.destinations();
        let destinations = destinations.map(|(id, view)| self.destination_shown(id, &view)).collect();
        self.metrics.show(Box::new(Shown { destinations, window_bytes: self.schedule.window_bytes() }));
    }

    fn destination_shown(&self, id: DestinationId, view: &DestinationView<'_>) -> DestinationShown {
        let hops = self.routes.all().get(usize::from(id.0)).map_or(&[][..], |route| &route.to);
        // It was received that long before it expires.
        let oldest = self.expiry_walk.first(id).and_then(|expires| {
            let left = expires.saturating_duration_since(self.now);
            let over = self.now.saturating_duration_since(expires);
            let age = self.expire.saturating_sub(left) + over;
            self.wall_clock.checked_sub(age)
        });
        DestinationShown {
            down_since: view.down_since,
            queue: [
                ("fresh", view.fresh),
                ("due", view.due),
                ("waiting", view.waiting),
                ("busy", view.busy),
                ("moving", view.moving),
                ("held", view.held),
            ]
            .map(|(state, count)| (state, u64::from(count)))
            .to_vec(),
            oldest,
            hosts: hops.iter().zip(&view.hosts).map(|(hop, host)| shown(hop.to_string(), host)).collect(),
        }
    }
}

fn shown(name: String, host: &HostView<'_>) -> HostShown {
    HostShown {
        name,
        state: match host.state {
            HostState::Healthy => "up",
            HostState::Suspended => "suspended",
            HostState::Stopped => STOPPED,
        },
        since: host.since,
        why: host.why.to_owned(),
        next_probe: host.next_probe,
        concurrency: host.concurrency.into(),
        open: host.open.into(),
        busy: host.busy.into(),
    }
}

/// The parts of the delay before the first command: in the queue, and while the connection was opened, which
/// only its first message has waited for.
pub(super) fn before_transmit(age: Duration, connect: Option<Duration>) -> (Duration, Option<Duration>) {
    (age.saturating_sub(connect.unwrap_or_default()), connect)
}
