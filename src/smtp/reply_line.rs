//! A reply as a value: its code, its text, and why it refuses something. The replies themselves stand in
//! `reply`.

use std::fmt::{self, Display, Formatter};

use super::reason::Reason;
use crate::mail::foreign_reply::ForeignReply;

/// A reply of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The reply code (RFC 5321 §4.2.3).
    pub code: u16,
    /// The enhanced code; empty for none.
    pub(super) enhanced: &'static str,
    /// What is said to people.
    pub(super) text: &'static str,
    /// Why something is refused; none where nothing is.
    pub(super) reason: Option<Reason>,
    /// Its number among all replies.
    pub(super) row: u8,
    /// Other words for it; none where it is said as the table has it.
    pub(super) words: Option<Words>,
}

/// Whose words a reply is said in, instead of those of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// The operator's: the number of a text in [`Settings::words`](super::settings::Settings::words).
    Operator(u16),
    /// Those of another program, which the session has, with an enhanced code of theirs.
    Foreign,
}

impl Words {
    /// The operator's text of this number.
    pub fn number(number: usize) -> Option<Self> {
        u16::try_from(number).ok().map(Self::Operator)
    }
}

impl Reply {
    /// A refusal in the words of another program; it is counted as the first of these where it is for good,
    /// else as the second.
    pub(super) fn in_foreign_words(permanent: Self, temporary: Self, foreign: &ForeignReply) -> Self {
        let own = if foreign.is_permanent() { permanent } else { temporary };
        Self { code: foreign.code(), words: Some(Words::Foreign), ..own }
    }

    /// Its number among all replies, for counting.
    pub(super) const fn index(self) -> usize {
        self.row as usize
    }

    /// The reply code and the enhanced code of the table, which is empty where there is none.
    pub(super) const fn codes(self) -> (u16, &'static str) {
        (self.code, self.enhanced)
    }

    /// Why something is refused; none where nothing is.
    pub const fn reason(self) -> Option<Reason> {
        self.reason
    }
}

impl Display for Reply {
    /// The reply as it is sent, without its CRLF.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let space = if self.enhanced.is_empty() { "" } else { " " };
        write!(f, "{} {}{space}{}", self.code, self.enhanced, self.text)
    }
}
