//! One session of a bot, sans-IO: octets of replies go in, what to send next comes out. No socket, file,
//! thread or clock; time is an argument.
//!
//! What it says is a script of its kind (`script.rs`): words, and how many replies it waits for after them.
//! It expects nothing of a reply, except that with 421 the server goes, and so does the bot: it says nothing
//! more and waits for the end. What it heard and how it ended is counted by kind.

mod script;

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::latency::Phase;
use crate::reply::ReplyReader;
use crate::scenario::bots::{Bots, End, Kind};
use crate::tally::Tally;
use script::{Awaits, Step, Words, script};

/// Between two octets of a slow bot.
const DRIP_PERIOD: Duration = Duration::from_secs(1);

/// What it says, an octet at a time, again and again.
const DRIPS: &[u8] = b"EHLO bot.test\r\nNOOP\r\nHELP\r\n";

/// See the file's head.
#[derive(Debug)]
pub struct Bot {
    bots: &'static Bots,
    kind: Kind,
    /// Which session of the run it is.
    number: u64,
    /// Draws its address.
    address: u64,
    rng: Rng,
    script: &'static [Step],
    /// The next step. `at <= script.len()`
    at: usize,
    awaits: Awaits,
    replies: ReplyReader,
    /// The next octet of a slow bot, and when it is due.
    drip: usize,
    drip_at: Option<Instant>,
    /// It sends the flood again each time that it was taken, and reads nothing.
    floods: bool,
    /// The greeting has come.
    greeted: bool,
    /// It was a good one, and what came was replies.
    is_served: bool,
    connected_at: Instant,
    /// When what is answered next was said.
    said_at: Instant,
    /// The last words were RCPT.
    said_rcpt: bool,
    end: Option<End>,
}

impl Bot {
    /// The session of this number. Its seed decides of what kind it is and what it says.
    pub fn new(bots: &'static Bots, number: u64, now: Instant) -> Self {
        // Neighbours in the order of sessions must have nothing in common.
        let mut rng = Rng::with_seed(bots.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let kind = bots.kinds.draw(rng.u64(..));
        Self {
            bots,
            kind,
            number,
            address: rng.u64(..),
            rng,
            script: script(kind),
            at: 0,
            awaits: Awaits::Replies(0),
            replies: ReplyReader::default(),
            drip: 0,
            drip_at: None,
            floods: false,
            greeted: false,
            is_served: false,
            connected_at: now,
            said_at: now,
            said_rcpt: false,
            end: None,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Which address of a network it has.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Whether the connection is to be reset at its end, and not closed.
    pub fn resets(&self) -> bool {
        self.kind == Kind::NoQuit && self.number.is_multiple_of(2)
    }

    /// Whether it has little room for what it does not read.
    pub fn is_small(&self) -> bool {
        self.kind == Kind::NeverReads
    }

    /// Whether replies are to be received.
    pub fn reads(&self) -> bool {
        !self.floods
    }

    /// How it ended, once it did.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether it was served and ended as its kind means to.
    pub fn is_complete(&self) -> bool {
        self.is_served && self.end.is_some_and(|end| self.kind.is_completed_by(end))
    }

    /// The connection is made.
    pub fn handle_connected(&mut self, now: Instant) {
        self.connected_at = now;
        self.said_at = now;
    }

    /// Takes octets that the server sent.
    pub fn handle_octets(&mut self, mut octets: &[u8], now: Instant, tally: &mut Tally) {
        // What answers no ClientHello is an alert, and no reply.
        if self.kind == Kind::BadTls && self.at == self.script.len() {
            return;
        }
        let mut replies = std::mem::take(&mut self.replies);
        while self.end.is_none() {
            match replies.next_line(&mut octets) {
                Ok(None) => break,
                Ok(Some(line)) if line.last => self.handle_reply(line.code, now, tally),
                Ok(Some(_)) => {}
                Err(malformed) => {
                    tally.failures.add(|| format!("{}: {malformed}", self.kind.name()));
                    self.is_served = false;
                    self.end = Some(End::Left);
                }
            }
        }
        self.replies = replies;
    }

    fn handle_reply(&mut self, code: u16, now: Instant, tally: &mut Tally) {
        tally.replies.count(code);
        tally.bots.count_reply(self.kind, code);
        if !std::mem::replace(&mut self.greeted, true) {
            tally.latencies.record(Phase::Greeting, now - self.connected_at);
            self.is_served = self.kind.is_greeted_by(code);
        } else if self.said_rcpt && self.kind == Kind::Refused && is_refusal(code) {
            tally.latencies.record(Phase::Refused, now - self.said_at);
        }
        if code == 421 {
            self.awaits = Awaits::End;
            self.drip_at = None;
        }
        if let Awaits::Replies(count) = &mut self.awaits {
            *count = count.saturating_sub(1);
        }
    }

    /// What to send now, if anything: octets put into `head` (empty when handed in), and after them those
    /// returned. Asked for only when the last send has ended.
    pub fn next_send(&mut self, head: &mut Vec<u8>, now: Instant) -> Option<&'static [u8]> {
        if self.floods {
            return Some(&self.bots.flood);
        }
        if let (0, Some(proxy)) = (self.at, self.bots.proxy) {
            proxy.write_header(self.address, head);
        }
        while self.awaits == Awaits::Replies(0) && self.end.is_none() {
            let Some(Step { words, awaits }) = self.script.get(self.at) else {
                self.end = Some(End::Left);
                break;
            };
            self.at += 1;
            self.awaits = *awaits;
            self.said_at = now;
            self.said_rcpt = *words == Words::Rcpt;
            if let Some(body) = self.say(*words, head, now) {
                return Some(body);
            }
        }
        (!head.is_empty()).then_some(b"")
    }

    fn say(&mut self, words: Words, head: &mut Vec<u8>, now: Instant) -> Option<&'static [u8]> {
        match words {
            Words::Nothing => None,
            Words::Plain(octets) => Some(octets),
            Words::BadGreeting => Some(script::bad_greeting(self.rng.u64(..))),
            Words::Mail => Some(&self.bots.mail),
            Words::Rcpt => {
                self.bots.unknown.write_rcpt(self.number, head);
                Some(b"")
            }
            Words::EarlyGroup => {
                head.extend_from_slice(script::EHLO);
                head.extend_from_slice(&self.bots.mail);
                self.bots.unknown.write_rcpt(self.number, head);
                Some(b"")
            }
            Words::Flood => Some(&self.bots.flood),
            Words::FloodForEver => {
                self.floods = true;
                Some(&self.bots.flood)
            }
            Words::NoClientHello => {
                script::write_no_client_hello(&mut self.rng, head);
                Some(b"")
            }
            Words::Drip => {
                self.drip_at = Some(now);
                None
            }
        }
    }

    /// The octet of a slow bot, if its time has come.
    pub fn take_drip(&mut self, now: Instant) -> Option<&'static [u8]> {
        let at = self.drip_at.as_mut().filter(|at| **at <= now)?;
        *at = now + DRIP_PERIOD;
        let octet = DRIPS.get(self.drip..=self.drip);
        self.drip = (self.drip + 1) % DRIPS.len();
        octet
    }

    /// It ends, in a way that is not its own.
    pub fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
    }
}

/// Whether this reply to RCPT refuses the recipient. 421 ends the session, and 503 says that MAIL was
/// refused.
fn is_refusal(code: u16) -> bool {
    code >= 400 && !matches!(code, 421 | 503)
}

#[cfg(test)]
mod tests;
