//! Latencies of a session: the phases that they are measured of, and what a report shows of each.

/// What a latency was measured of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Start of the connect to its end.
    Connect,
    /// Connected (with implicit TLS: from the end of the handshake) to the 220.
    Greeting,
    /// ClientHello handed to the kernel to the end of the handshake.
    Tls,
    /// Intended time to MAIL sent; in the open loop only.
    Wait,
    /// MAIL sent to the 354 (with BDAT: to the last reply to RCPT).
    Envelope,
    /// First octet of the mail data handed to the kernel to the last one taken by it.
    Data,
    /// RCPT sent to its refusal; in a command group from MAIL. Of those that are to be refused only.
    Refused,
    /// Mail data sent to the final 250.
    Accepted,
    /// MAIL sent to the final 250; in the open loop from the intended time.
    Transaction,
    /// Start of the connect (in the open loop the intended time of its first message) to the reply to QUIT,
    /// of sessions that have a certain number of messages.
    Session,
}

impl Phase {
    /// All, in the order of a session. A phase's index is its place in here.
    pub const ALL: [Self; 10] = [
        Self::Connect,
        Self::Greeting,
        Self::Tls,
        Self::Wait,
        Self::Envelope,
        Self::Data,
        Self::Refused,
        Self::Accepted,
        Self::Transaction,
        Self::Session,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Tls => "TLS",
            Self::Wait => "wait",
            Self::Envelope => "envelope",
            Self::Data => "data",
            Self::Refused => "refused",
            Self::Accepted => "accepted",
            Self::Transaction => "transaction",
            Self::Session => "session",
        }
    }
}

/// Latencies of one phase, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// Half of them were at most this.
    pub p50: u64,
    /// As the name says.
    pub p90: u64,
    /// As the name says.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// The longest.
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_phase_is_its_place() {
        for (index, phase) in Phase::ALL.iter().enumerate() {
            assert_eq!(*phase as usize, index);
        }
    }
}
