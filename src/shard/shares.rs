//! How much of its shard each connection had, so that whoever takes little is served before those who take
//! all that they can get.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, 1996), reduced to two classes. Work is counted in
//! units of about a nanosecond, as in `work`. A connection's *share* is what it had; the *mark* is where
//! those are that had most. Who is far behind the mark is *light*, all others are *busy*:
//!
//! ```text
//!   share      light                            busy
//!   ────────────┼────────────────┼───────────────┼──────────►
//!        mark - 2 LAG      mark - LAG          mark
//! ```
//!
//! Light ones have their events handled, and their replies sent, first. While any were seen lately the others
//! are served in *short turns*: so few of their events and so little of what they stream a turn that a light
//! client hardly waits at all. A shard whose connections all do the same has no light ones, and long turns,
//! which cost a message less (`docs/experiments.md`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::table::Key;
use crate::ring::{Event, Received};

/// Who is so far behind the mark is light. However long somebody was idle, nobody is twice as far behind.
const LAG: u64 = 4_000_000;

/// Whoever is behind the mark comes up so many times as fast as it has work done. So only those fall back,
/// and are light, that take less than this part of what those take that have most: equal ones never are,
/// however unevenly they come.
const CATCHING_UP: u64 = 4;

/// Turns are short for so long after a light client was served.
const SHORT_FOR: Duration = Duration::from_secs(1);

/// Units that events of busy connections take in a short turn, after which the others wait for the next.
const EVENTS_PER_SHORT_TURN: u64 = 128 * 1024;

/// Receives of busy connections that stream which begin in a short turn. Each brings a whole buffer, and the
/// kernel copies them all while the shard waits.
const STREAMS_PER_SHORT_TURN: usize = 16;

/// What an octet costs to be received, as a part of a unit.
const OCTETS_A_UNIT: u64 = 8;

/// What any event costs, most of it the reply to it.
const EVENT: u64 = 8_000;

/// What a new connection costs, with its end.
const ACCEPT: u64 = 30_000;

/// What a step of a TLS handshake costs.
pub(super) const HANDSHAKE: u64 = 100_000;

/// What one connection had, and how it takes more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Units.
    had: u64,
    /// Events of it that wait for a turn with time for them. Until they are handled it has no other.
    events: u32,
    /// Its last receive filled a whole buffer: more waits in the socket.
    streams: bool,
}

impl Share {
    /// An event of it waits.
    pub(super) fn defer(&mut self) {
        self.events += 1;
    }

    /// One that waited is handled.
    pub(super) fn end_deferral(&mut self) {
        self.events = self.events.saturating_sub(1);
    }

    /// Whether its last receive filled a whole buffer.
    pub(super) fn streams(self) -> bool {
        self.streams
    }

    /// Its last receive filled a whole buffer, or did not.
    pub(super) fn note_receive(&mut self, was_full: bool) {
        self.streams = was_full;
    }
}

/// Those of a shard.
#[derive(Debug)]
pub(super) struct Shares {
    /// The highest share at which somebody was served.
    mark: u64,
    /// [`LAG`], save in simulations.
    lag: u64,
    /// Until then turns are short.
    short_until: Option<Instant>,
    /// The turn's time.
    now: Instant,
    /// Busy connections that stream and wait for a receive, the longest waiting first.
    streams: VecDeque<Key>,
    /// Events that wait for a turn with time for them, in their order.
    events: VecDeque<Event>,
}

impl Shares {
    /// Nobody had anything.
    pub(super) fn new(now: Instant) -> Self {
        Self { mark: 0, lag: LAG, short_until: None, now, streams: VecDeque::new(), events: VecDeque::new() }
    }

    /// From now on so little makes somebody light.
    pub(super) fn set_lag(&mut self, lag: u64) {
        self.lag = lag;
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.short_until = self.short_until.filter(|until| *until > now);
    }

    /// The share of somebody new, who is neither light nor at the mark: many who come for one message each
    /// are not those that have most.
    pub(super) fn of_newcomer(&self) -> Share {
        Share { had: self.mark.saturating_sub(self.lag / 2), events: 0, streams: false }
    }

    /// A connection had so much more.
    pub(super) fn charge(&mut self, share: &mut Share, units: u64) {
        if self.is_light(*share) {
            self.short_until = Some(self.now + SHORT_FOR);
        }
        let from = share.had.max(self.mark.saturating_sub(2 * self.lag));
        share.had = (from + units * CATCHING_UP).min(self.mark.max(from + units));
        self.mark = self.mark.max(from);
    }

    /// Whether whoever had this is far behind those who had most.
    pub(super) fn is_light(&self, share: Share) -> bool {
        share.had + self.lag < self.mark
    }

    /// Whether an event of this connection need not wait: it is light, and no event of it waits already.
    pub(super) fn is_first(&self, share: Share) -> bool {
        share.events == 0 && self.is_light(share)
    }

    /// Whether this connection's next receive has to wait in the queue of those that stream.
    pub(super) fn must_queue(&self, share: Share) -> bool {
        share.streams && self.are_turns_short() && !self.is_light(share)
    }

    /// Whether turns are short.
    pub(super) fn are_turns_short(&self) -> bool {
        self.short_until.is_some()
    }

    /// A busy connection that streams waits for a receive.
    pub(super) fn queue_stream(&mut self, key: Key) {
        self.streams.push_back(key);
    }

    /// So many connections that stream have their receives now: the fewer, the more events wait, but one.
    pub(super) fn streams_due(&self, published: usize) -> usize {
        if !self.are_turns_short() {
            return self.streams.len();
        }
        published.min(STREAMS_PER_SHORT_TURN.saturating_sub(self.events.len()).max(1))
    }

    /// The next connection that streams.
    pub(super) fn next_stream(&mut self) -> Option<Key> {
        self.streams.pop_front()
    }

    /// Whether some wait that stream, so that the shard must not sleep.
    pub(super) fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// An event of a busy connection waits.
    pub(super) fn queue_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// The next event that waited, while a turn whose events had `spent` units has time for it; what it costs
    /// is added.
    pub(super) fn next_event(&mut self, spent: &mut u64) -> Option<Event> {
        if self.are_turns_short() && *spent >= EVENTS_PER_SHORT_TURN {
            return None;
        }
        let event = self.events.pop_front()?;
        *spent += cost(&event);
        Some(event)
    }

    /// Events that wait. While there are any the shard must not sleep.
    pub(super) fn events_waiting(&self) -> usize {
        self.events.len()
    }
}

/// What an event costs, in units.
pub(super) fn cost(event: &Event) -> u64 {
    match event {
        Event::Accepted { .. } => ACCEPT,
        Event::Received { received: Received::Octets { count, .. }, .. } => {
            EVENT + *count as u64 / OCTETS_A_UNIT
        }
        Event::Received { .. } => EVENT,
        Event::Sent { .. } | Event::Peeked { .. } | Event::Connected { .. } | Event::Woken => EVENT / 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Shares {
        Shares::new(Instant::now())
    }

    #[test]
    fn equal_ones_are_all_busy() {
        let mut shares = shares();
        let mut equal = [shares.of_newcomer(); 50];
        for round in 0..1000 {
            for one in &mut equal {
                assert!(!shares.is_light(*one), "round {round}");
                shares.charge(one, EVENT);
            }
        }
        assert!(!shares.are_turns_short());
    }

    #[test]
    fn equal_ones_that_come_unevenly_are_busy() {
        let mut shares = shares();
        let mut equal = [shares.of_newcomer(); 10];
        let mut random = 1_u64;
        for round in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let one = &mut equal[(random >> 33) as usize % 10];
            shares.charge(one, 2 * EVENT);
            assert!(round < 10 || !shares.are_turns_short(), "round {round}");
        }
    }

    #[test]
    fn who_comes_for_one_message_is_busy_and_makes_nobody_light() {
        let mut shares = shares();
        let mut stays = shares.of_newcomer();
        shares.charge(&mut stays, 10 * LAG);
        shares.charge(&mut stays, EVENT);
        let mark = shares.mark;
        for _ in 0..10_000 {
            let mut newcomer = shares.of_newcomer();
            for units in [ACCEPT, HANDSHAKE, EVENT, EVENT, EVENT, EVENT] {
                assert!(!shares.is_light(newcomer));
                shares.charge(&mut newcomer, units);
            }
        }
        assert_eq!(shares.mark, mark);
    }

    #[test]
    fn one_who_takes_little_is_light_beside_a_flood_and_busy_once_it_takes_as_much() {
        let mut shares = shares();
        let (mut little, mut flood) = (shares.of_newcomer(), [shares.of_newcomer(); 200]);
        while shares.mark <= 2 * LAG {
            for one in &mut flood {
                shares.charge(one, EVENT);
            }
        }
        assert!(shares.is_light(little) && !flood.iter().any(|one| shares.is_light(*one)));
        assert!(!shares.are_turns_short(), "nobody light was served yet");
        let mut events = 0;
        while shares.is_light(little) {
            shares.charge(&mut little, EVENT);
            events += 1;
        }
        assert!(shares.are_turns_short());
        assert!((events * EVENT * CATCHING_UP).abs_diff(LAG) <= 2 * EVENT * CATCHING_UP, "{events}");
    }

    #[test]
    fn turns_are_short_for_a_second_after_a_light_one() {
        let mut shares = shares();
        let (mut little, mut busy) = (shares.of_newcomer(), shares.of_newcomer());
        for _ in 0..2 {
            shares.charge(&mut busy, 2 * LAG);
        }
        shares.charge(&mut little, EVENT);
        let now = shares.now;
        shares.begin_turn(now + SHORT_FOR / 2);
        assert!(shares.are_turns_short());
        shares.begin_turn(now + SHORT_FOR);
        assert!(!shares.are_turns_short());
    }

    #[test]
    fn who_streams_has_a_receive_however_many_events_wait() {
        let mut shares = shares();
        assert_eq!((shares.streams_due(32), shares.has_streams()), (0, false));
        for _ in 0..100 {
            shares.queue_stream(Key::from_word(1));
            shares.queue_event(Event::Woken);
        }
        assert_eq!(shares.streams_due(32), 100, "a long turn has all of them");
        shares.short_until = Some(shares.now + SHORT_FOR);
        assert_eq!((shares.streams_due(32), shares.streams_due(0)), (1, 0));
        shares.events.clear();
        assert_eq!((shares.streams_due(32), shares.streams_due(3)), (STREAMS_PER_SHORT_TURN, 3));
    }

    #[test]
    fn a_short_turn_handles_few_events_and_a_long_one_all() {
        let mut shares = shares();
        for _ in 0..100 {
            shares.queue_event(Event::Woken);
            shares.queue_event(Event::Received {
                token: crate::ring::Token::new(1),
                received: Received::End,
                more: false,
            });
        }
        shares.short_until = Some(shares.now + SHORT_FOR);
        let mut spent = 0;
        let short = std::iter::from_fn(|| shares.next_event(&mut spent)).count();
        assert!((16..40).contains(&short), "{short}");
        shares.short_until = None;
        assert_eq!(std::iter::from_fn(|| shares.next_event(&mut spent)).count(), 200 - short);
        assert_eq!(shares.events_waiting(), 0);
    }
}
