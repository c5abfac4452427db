//! How a connection is closed, and what its place does next.

use std::time::Duration;

use ringmx::ring::Ring;

use super::connection::State;
use super::{LoadThread, token_of};
use crate::client::SessionEnd;

/// Pause before a connection that failed is made again.
const PAUSE: Duration = Duration::from_millis(100);

/// After so many failures in a row without a message accepted a connection is given up.
const BARREN_MAX: u32 = 5;

impl<R: Ring> LoadThread<'_, R> {
    /// Cancels what is under way; [`Self::finish_close`] closes after the last of it.
    pub(super) fn begin_close(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(socket) = connection.socket else { return };
        if connection.receiving {
            self.ring.cancel_receive(token_of(index));
        }
        if connection.sending && connection.state == State::Connecting {
            // Ends the connect with an error.
            self.ring.shut_down(socket);
        } else if connection.sending {
            if let Some(send) = connection.last_send {
                self.ring.cancel_send(token_of(index), send);
            }
        } else {
            self.say_farewell(index);
        }
        self.connections[index].state = State::Closing;
    }

    pub(super) fn finish_close(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.state != State::Closing || !connection.is_idle() {
            return;
        }
        if let Some(socket) = connection.socket.take() {
            self.ring.close(socket);
        }
        connection.channel = None;
        // Whatever was under way on it has ended, so it is known how much was sent.
        connection.client.abandon(connection.sent_whole, &mut self.tally);
        let quit = matches!(connection.client.ending(), Some(SessionEnd::Quit | SessionEnd::Done));
        self.after_close(index, quit);
    }

    /// A session is over, by QUIT or by a failure. The next begins, now or after a pause, as long as work is left.
    pub(super) fn after_close(&mut self, index: usize, quit: bool) {
        let connection = &mut self.connections[index];
        if let Some(message) = connection.client.take_claimed() {
            self.work.give_back(message);
        }
        let scenario = connection.scenario;
        let fruitful = connection.client.done() > 0 || (quit && self.work.is_open_loop());
        connection.barren = if fruitful { 0 } else { connection.barren + 1 };
        if connection.barren >= BARREN_MAX {
            self.finish(index);
        } else if !scenario.row.act.sends() {
            // The server ended it; it would do so again.
            connection.state = State::Pausing(self.now + PAUSE);
        } else if let (Some(period), true) = (scenario.row.period, quit) {
            let periods = (self.now - self.started).as_nanos() / period.as_nanos() + 1;
            let next = self.started + period * u32::try_from(periods).unwrap_or(u32::MAX);
            connection.state = State::Pausing(next);
        } else if quit && fruitful {
            self.connect(index);
        } else {
            connection.state = State::Pausing(self.now + PAUSE);
        }
    }

    pub(super) fn finish(&mut self, index: usize) {
        self.connections[index].state = State::Finished;
        self.unfinished -= 1;
    }
}
