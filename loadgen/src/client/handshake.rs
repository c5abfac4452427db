//! Where TLS comes into a session: before the greeting, or after the reply to STARTTLS (RFC 3207). The
//! handshake itself is done by the load thread, which moves the octets.

use std::time::Instant;

use super::Client;
use super::offered::Offered;
use super::stage::Stage;
use crate::reply::ReplyReader;
use crate::scenario::act::Act;
use crate::tls::mode::Mode;

impl Client {
    /// Whether the handshake is to begin, once the last send has ended.
    pub fn awaits_handshake(&self) -> bool {
        self.stage == Stage::Handshake && !self.said
    }

    /// The handshake begins; appends what goes before it in plaintext: with implicit TLS the PROXY header.
    pub fn begin_handshake(&mut self, head: &mut Vec<u8>) {
        self.said = true;
        if let (Some(Mode::Implicit), Some(proxy)) = (self.scenario.tls, self.scenario.proxy) {
            proxy.write_header(self.serial, head);
        }
    }

    /// The handshake is done. After STARTTLS the session begins afresh, with EHLO (RFC 3207 §4.2).
    pub fn handle_secured(&mut self, now: Instant) {
        self.secured = true;
        self.replies = ReplyReader::default();
        self.offered = Offered::default();
        if self.scenario.tls == Some(Mode::Implicit) {
            self.connected_at = now;
            self.stage = Stage::Greeting;
            self.said = self.scenario.row.act != Act::EarlyTalker;
        } else {
            self.stage = Stage::Ehlo;
            self.said = false;
        }
    }
}
