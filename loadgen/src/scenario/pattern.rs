//! A forward-path that the server is to refuse. `{}` in it stands for a number, so that each RCPT may name
//! another mailbox, as those do who try out names.

use std::io::Write as _;

/// What stands for the number.
const NUMBER: &str = "{}";

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    before: String,
    /// `None`: it has no number.
    after: Option<String>,
}

impl Pattern {
    /// Of a mailbox; only the first `{}` is a number.
    pub fn new(mailbox: &str) -> Self {
        match mailbox.split_once(NUMBER) {
            Some((before, after)) => Self { before: before.to_owned(), after: Some(after.to_owned()) },
            None => Self { before: mailbox.to_owned(), after: None },
        }
    }

    /// Whether it has a number.
    pub fn varies(&self) -> bool {
        self.after.is_some()
    }

    /// Appends RCPT with this number.
    pub fn write_rcpt(&self, number: u64, octets: &mut Vec<u8>) {
        let before = &self.before;
        // Writing to memory cannot fail.
        let _ = match &self.after {
            Some(after) => write!(octets, "RCPT TO:<{before}{number}{after}>\r\n"),
            None => write!(octets, "RCPT TO:<{before}>\r\n"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_a_number_and_the_rest_stays() {
        let said = |mailbox: &str, number| {
            let mut octets = Vec::new();
            Pattern::new(mailbox).write_rcpt(number, &mut octets);
            String::from_utf8(octets).expect("ASCII")
        };
        assert_eq!(said("nobody@x.test", 7), "RCPT TO:<nobody@x.test>\r\n");
        assert_eq!(said("no{}body{}@x.test", u64::MAX), "RCPT TO:<no18446744073709551615body{}@x.test>\r\n");
        assert!(Pattern::new("{}@x.test").varies() && !Pattern::new("{@x.test").varies());
    }
}
