//! What would be refused if it did more than warn: of which kinds a session's log has told.

use crate::smtp::denial::Denial;

/// All that can only warn, each with a bit of its own.
const KINDS: [Denial; 12] = [
    Denial::BY_RULE,
    Denial::LISTED,
    Denial::NO_REVERSE_NAME,
    Denial::REVERSE_NAME_UNKNOWN,
    Denial::NO_SENDER_DOMAIN,
    Denial::SENDER_TAKES_NO_MAIL,
    Denial::GREYLISTED,
    Denial::TOO_MANY_CONNECTIONS,
    Denial::TOO_MANY_CONNECTIONS_LATELY,
    Denial::TOO_MANY_MESSAGES,
    Denial::TOO_MANY_RECIPIENTS,
    Denial::TOO_MANY_UNKNOWN,
];

/// Which kinds were told of.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Warned(u16);

impl Warned {
    /// Whether this one is to be told of: it is the first of its kind.
    pub(super) fn is_new(&mut self, denial: Denial) -> bool {
        // Whatever has no place here has the bit after them.
        let place = KINDS.iter().position(|kind| kind.is_like(denial)).unwrap_or(KINDS.len());
        let bit = 1 << place;
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::denial::Words;

    #[test]
    fn each_kind_is_told_of_once_whatever_its_words() {
        let mut warned = Warned::default();
        for denial in KINDS.into_iter().chain([Denial::TOO_MANY_ERRORS]) {
            assert!(warned.is_new(denial), "{denial}");
            assert!(!warned.is_new(denial.in_words(Words::number(3))), "{denial}");
        }
    }
}
