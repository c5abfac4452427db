//! What a client is told before its session begins.

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP (RFC 5321): one reply to the mail data, for all its recipients.
    Smtp,
    /// LMTP (RFC 2033): a reply to the mail data for each recipient.
    Lmtp,
}

/// Whether the session is put under TLS by STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// Where the server offers it.
    Offered,
    /// Always: without it the session ends before a transaction.
    Required,
}

/// The settings of one next hop.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// What the client calls itself in EHLO, HELO or LHLO: a domain or an address literal of printable ASCII
    /// without spaces (RFC 5321 §4.1.4).
    pub name: Box<str>,
    /// Whether the session is put under TLS.
    pub tls: Tls,
    /// Whether the next hop is told on whose behalf a transaction is, by XCLIENT, where it offers that.
    pub xclient: bool,
    /// Whether commands are sent in groups (RFC 2920) where PIPELINING is offered.
    pub pipelining: bool,
    /// Whether mail data goes by BDAT (RFC 3030) where CHUNKING is offered.
    pub chunking: bool,
    /// Whether a server of our own name is none to talk to: we would be it. A server of LMTP on this host may
    /// well have the same name.
    pub is_elsewhere: bool,
}

impl Settings {
    /// The usual ones under a name: TLS where it is offered, no XCLIENT, command groups and chunks.
    ///
    /// # Panics
    /// When the name is empty, longer than a domain or an address literal can be, or holds anything but
    /// printable ASCII: it would be another command.
    pub fn of(protocol: Protocol, name: &str) -> Self {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|o| o.is_ascii_graphic());
        assert!(fits, "{name:?} is not a name for EHLO");
        Self {
            protocol,
            name: name.into(),
            tls: Tls::Offered,
            xclient: false,
            pipelining: true,
            chunking: true,
            is_elsewhere: false,
        }
    }
}

/// Octets of our name.
const NAME_BYTES_MAX: usize = crate::limits::DOMAIN_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "is not a name for EHLO")]
    fn a_name_that_is_another_command_is_none() {
        let _ = Settings::of(Protocol::Smtp, "mx.test\r\nQUIT");
    }
}
