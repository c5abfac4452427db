//! A connection's socket: its receive, its send, and how it is closed. It knows no session and no TLS.
//!
//! ```text
//!   Off ──receive──► Armed ──full, behind, over──► Cancelling ──its last completion──► Off
//!    └──receive one buffer──► ArmedOnce ──its only completion──► Off
//! ```

use crate::limits::DRAIN_BYTES_MAX;
use crate::ring::{Outgoing, Ring, SendId, Socket, Token};

/// A socket and what is under way on it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    token: Token,
    receiving: Receiving,
    sending: Option<SendId>,
    send_cancelled: bool,
    /// The receive found no buffer, or has to wait for those of others: it is in a list.
    stalled: bool,
    /// Octets that came after the last that was read, and were dropped.
    drained_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Off,
    Armed,
    /// For one buffer.
    ArmedOnce,
    Cancelling,
}

/// What may be received now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intake {
    /// A receive may begin.
    pub(super) may_begin: bool,
    /// It takes one buffer, not as many as there is something for.
    pub(super) one_at_a_time: bool,
    /// A receive of many buffers ends.
    pub(super) must_end: bool,
}

impl Wire {
    /// On which nothing is under way.
    pub(super) fn new(socket: Socket, token: Token) -> Self {
        Self {
            socket,
            token,
            receiving: Receiving::Off,
            sending: None,
            send_cancelled: false,
            stalled: false,
            drained_bytes: 0,
        }
    }

    /// A completion of the receive came, and whether more of them follow.
    pub(super) fn handle_received(&mut self, more: bool) {
        if !more {
            self.receiving = Receiving::Off;
        } else if self.receiving == Receiving::Cancelling {
            // It came before the cancel, or the cancel missed it.
            self.receiving = Receiving::Armed;
        }
    }

    /// The receive found no buffer, or has to wait. True when it has to be put into a list of those.
    pub(super) fn stall(&mut self) -> bool {
        !std::mem::replace(&mut self.stalled, true)
    }

    /// It was taken out of that list, because there are buffers now.
    pub(super) fn leave_stall(&mut self) {
        self.stalled = false;
    }

    /// Whether the next [`Wire::settle_receive`] would begin a receive.
    pub(super) fn would_receive(&self, intake: Intake) -> bool {
        self.receiving == Receiving::Off && !self.stalled && intake.may_begin
    }

    /// Arms or cancels the receive.
    pub(super) fn settle_receive<R: Ring>(&mut self, intake: Intake, ring: &mut R) {
        match self.receiving {
            Receiving::Off if self.stalled || !intake.may_begin => {}
            Receiving::Off if intake.one_at_a_time => {
                ring.receive_once(self.socket, self.token);
                self.receiving = Receiving::ArmedOnce;
            }
            Receiving::Off => {
                ring.receive(self.socket, self.token);
                self.receiving = Receiving::Armed;
            }
            Receiving::Armed if intake.must_end => {
                ring.cancel_receive(self.token);
                self.receiving = Receiving::Cancelling;
            }
            Receiving::Armed | Receiving::ArmedOnce | Receiving::Cancelling => {}
        }
    }

    /// Whether a send is under way: the client has not read what it was told.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Sends. Not while a send is under way.
    pub(super) fn send<R: Ring>(&mut self, head: Vec<u8>, ring: &mut R) {
        debug_assert!(self.sending.is_none(), "one send at a time");
        self.sending = Some(ring.send(self.socket, Outgoing { head, body: &[] }, self.token));
    }

    /// The send ended.
    pub(super) fn handle_sent(&mut self) {
        self.sending = None;
    }

    /// Asks whether octets wait in the socket.
    pub(super) fn peek<R: Ring>(&self, ring: &mut R) {
        ring.peek(self.socket, self.token);
    }

    /// Sends nothing more.
    pub(super) fn shut_down<R: Ring>(&self, ring: &mut R) {
        ring.shut_down(self.socket);
    }

    /// So many octets came that nobody reads. False when they are too many.
    pub(super) fn drain(&mut self, count: usize) -> bool {
        self.drained_bytes += count as u64;
        self.drained_bytes <= DRAIN_BYTES_MAX
    }

    /// Closes the socket as soon as nothing is under way. True when that is done; else cancels what is.
    pub(super) fn close<R: Ring>(&mut self, ring: &mut R) -> bool {
        if matches!(self.receiving, Receiving::Armed | Receiving::ArmedOnce) {
            ring.cancel_receive(self.token);
            self.receiving = Receiving::Cancelling;
        }
        if let Some(id) = self.sending
            && !std::mem::replace(&mut self.send_cancelled, true)
        {
            ring.cancel_send(self.token, id);
        }
        let is_idle = self.receiving == Receiving::Off && self.sending.is_none();
        if is_idle {
            ring.close(self.socket);
        }
        is_idle
    }

    /// A cancel may have met its operation in a moment when the kernel could not find it: the next
    /// [`Wire::close`] tries again.
    pub(super) fn forget_cancels(&mut self) {
        self.send_cancelled = false;
        if self.receiving == Receiving::Cancelling {
            self.receiving = Receiving::Armed;
        }
    }
}
