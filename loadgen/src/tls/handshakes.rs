//! Handshakes that were done: how many, how many of them resumed, and what was negotiated.

use std::fmt;

/// Counts of a thread, or of a whole run.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// Handshakes done.
    pub count: u64,
    /// Those that resumed a session. `resumed <= count`
    pub resumed: u64,
    /// What was negotiated, and how often. A server has few.
    negotiated: Vec<(Negotiated, u64)>,
}

/// What a handshake agreed on, by the names of the registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite.
    pub cipher: &'static str,
    /// Key exchange; a resumed session of TLS 1.2 has none.
    pub group: Option<&'static str>,
}

impl Handshakes {
    /// Counts one.
    pub fn add(&mut self, negotiated: Negotiated, resumed: bool) {
        self.count += 1;
        self.resumed += u64::from(resumed);
        self.count_negotiated(negotiated, 1);
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.resumed += other.resumed;
        for (negotiated, count) in &other.negotiated {
            self.count_negotiated(*negotiated, *count);
        }
    }

    /// Handshakes of a hundred that resumed a session.
    pub fn resumed_percent(&self) -> f64 {
        100.0 * self.resumed as f64 / self.count.max(1) as f64
    }

    /// All that was negotiated, the most frequent first.
    pub fn negotiated(&self) -> Vec<(Negotiated, u64)> {
        let mut all = self.negotiated.clone();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }

    fn count_negotiated(&mut self, negotiated: Negotiated, count: u64) {
        match self.negotiated.iter_mut().find(|(known, _)| *known == negotiated) {
            Some((_, known)) => *known += count,
            None => self.negotiated.push((negotiated, count)),
        }
    }
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.cipher)?;
        self.group.map_or(Ok(()), |group| write!(f, " {group}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_the_most_frequent_is_in_front() {
        let rare = Negotiated { version: "TLSv1.2", cipher: "A", group: None };
        let frequent = Negotiated { version: "TLSv1.3", cipher: "B", group: Some("X25519") };
        let mut whole = Handshakes::default();
        for _ in 0..2 {
            let mut thread = Handshakes::default();
            thread.add(rare, true);
            thread.add(frequent, false);
            thread.add(frequent, false);
            whole.merge(&thread);
        }
        assert_eq!((whole.count, whole.resumed), (6, 2));
        assert_eq!(whole.negotiated(), [(frequent, 4), (rare, 2)]);
        assert_eq!([rare, frequent].map(|one| one.to_string()), ["TLSv1.2 A", "TLSv1.3 B X25519"]);
        assert!(Handshakes::default().resumed_percent().abs() < f64::EPSILON);
    }
}
