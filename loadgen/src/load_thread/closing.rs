//! How a connection is closed, and what its place does next.

use std::time::{Duration, Instant};

use ringmx::ring::Ring;

use super::connection::{Connection, State};
use crate::client::SessionEnd;
use crate::plan::Plan;
use crate::tally::Tally;

/// Pause before a connection that failed is made again.
const PAUSE: Duration = Duration::from_millis(100);

/// After so many failures in a row without a message accepted a connection is given up.
const BARREN_MAX: u32 = 5;

/// What comes after a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another session, now.
    Connect,
    /// Another session, at this time.
    Pause(Instant),
    /// Nothing: the connection is given up.
    Finish,
}

impl Connection {
    /// Cancels what is under way; [`Self::finish_close`] closes after the last of it.
    pub fn begin_close(&mut self, ring: &mut impl Ring, now: Instant) {
        let Some(socket) = self.socket else { return };
        if self.receiving {
            ring.cancel_receive(self.token);
        }
        if self.sending && self.state == State::Connecting {
            // Ends the connect with an error.
            ring.shut_down(socket);
        } else if self.sending {
            self.cancel_send(ring);
        } else {
            self.say_farewell(ring, now);
        }
        self.state = State::Closing;
    }

    /// Closes the socket, if that was begun and nothing is under way any more. Tells then whether the session
    /// ended as it should.
    pub fn finish_close(&mut self, ring: &mut impl Ring, tally: &mut Tally) -> Option<bool> {
        if self.state != State::Closing || !self.is_idle() {
            return None;
        }
        if let Some(socket) = self.socket.take() {
            ring.close(socket);
        }
        self.channel = None;
        // Whatever was under way on it has ended, so it is known how much was sent.
        self.client.abandon(self.sent_whole, tally);
        Some(matches!(self.client.ending(), Some(SessionEnd::Quit | SessionEnd::Done)))
    }

    /// A session of `plan`, which began at `started`, is over, by QUIT or by a failure: what comes next, as
    /// long as work is left.
    pub fn next(&mut self, quit: bool, plan: &Plan, started: Instant, now: Instant) -> Next {
        let row = self.scenario.row;
        let fruitful = self.client.done() > 0 || (quit && plan.rate.is_some());
        self.barren = if fruitful { 0 } else { self.barren + 1 };
        // What runs beside others goes on: to be turned away is its lot.
        if self.barren >= BARREN_MAX && !plan.is_beside {
            Next::Finish
        } else if !row.act.sends() {
            // The server ended it; it would do so again.
            Next::Pause(now + PAUSE)
        } else if let (Some(period), true) = (row.period, quit) {
            let periods = (now - started).as_nanos() / period.as_nanos() + 1;
            Next::Pause(started + period * u32::try_from(periods).unwrap_or(u32::MAX))
        } else if quit && fruitful {
            Next::Connect
        } else {
            Next::Pause(now + PAUSE)
        }
    }
}
