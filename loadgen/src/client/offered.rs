//! What a server offers in its reply to EHLO (RFC 5321 §4.1.1.1).

use crate::reply::Line;

/// EHLO keywords that matter to us.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offered {
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) eight_bit: bool,
    /// Octets of a message at most (RFC 1870); 0: not told.
    pub(super) size_max: u64,
}

impl Offered {
    /// Takes a line of the reply to EHLO (RFC 5321 §4.1.1.1). The first line names the server, and no keyword is a domain.
    pub(super) fn note(&mut self, line: &Line<'_>) {
        if line.code != 250 {
            return;
        }
        let mut words = line.text.split(|octet| *octet == b' ');
        let keyword = words.next().unwrap_or_default();
        let is = |name: &str| keyword.eq_ignore_ascii_case(name.as_bytes());
        self.pipelining |= is("PIPELINING");
        self.chunking |= is("CHUNKING");
        self.eight_bit |= is("8BITMIME");
        if is("SIZE") {
            let octets = words.next().and_then(|octets| str::from_utf8(octets).ok()?.parse().ok());
            self.size_max = octets.unwrap_or(0);
        }
    }
}
