//! What whoever serves a session may refuse: a client, a transaction, a recipient. Each denial is a reply of
//! the table; some may be said in the operator's words.

use super::reason::Reason;
use super::reply::{self, Reply};
pub use super::reply_line::Words;
use crate::mail::outcome::TryAgain;

/// A refusal that is not the session's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial(Reply);

macro_rules! denials {
    ($($(#[doc = $doc:literal])+ $name:ident = $reply:ident;)+) => {
        impl Denial {
            $($(#[doc = $doc])+ pub const $name: Self = Self(reply::$reply);)+
        }
    };
}

denials! {
    /// A client that has all the connections that it may have.
    TOO_MANY_CONNECTIONS = TOO_MANY_CONNECTIONS;
    /// A client that connected too often lately.
    TOO_MANY_CONNECTIONS_LATELY = TOO_MANY_CONNECTIONS_LATELY;
    /// A client by a rule, at its connect.
    CLIENT = CLIENT_REFUSED;
    /// A recipient, because of a rule about its client, or what that says.
    BY_RULE = REFUSED_BY_RULE;
    /// A client that lists speak against, at its connect.
    LISTED_CLIENT = CLIENT_LISTED;
    /// A recipient, because lists speak against the client.
    LISTED = REFUSED_AS_LISTED;
    /// A recipient, because the client's address has no name that leads back to it.
    NO_REVERSE_NAME = NO_REVERSE_NAME;
    /// A recipient, because that name could not be looked up.
    REVERSE_NAME_UNKNOWN = REVERSE_NAME_UNKNOWN;
    /// A recipient, because the domain of the reverse-path does not exist.
    NO_SENDER_DOMAIN = NO_SENDER_DOMAIN;
    /// A recipient, because the domain of the reverse-path takes no mail (RFC 7505).
    SENDER_TAKES_NO_MAIL = SENDER_TAKES_NO_MAIL;
    /// A recipient for which the client is asked to come back.
    GREYLISTED = GREYLISTED;
    /// A recipient, because the client may not send for the domain of the reverse-path.
    SPF_FAIL = SPF_FAIL;
    /// A recipient, because what that domain says cannot be understood.
    SPF_ERROR = SPF_ERROR;
    /// A recipient, because what that domain says could not be looked up.
    SPF_UNKNOWN = SPF_UNKNOWN;
    /// A message with more in its header section than is read.
    HEADER_TOO_LARGE = HEADER_TOO_LARGE;
    /// A message whose author nobody can vouch for.
    BAD_FROM = BAD_FROM;
    /// A message that its author's domain wants refused.
    BY_DMARC = REFUSED_BY_DMARC;
    /// A message of which that could not be found out.
    DMARC_UNKNOWN = DMARC_UNKNOWN;
    /// A message that a content filter, which has to be asked, did not answer about.
    FILTER_UNKNOWN = FILTER_UNKNOWN;
    /// A transaction of a client that had too many lately.
    TOO_MANY_MESSAGES = TOO_MANY_MESSAGES;
    /// A recipient of a client that named too many lately.
    TOO_MANY_RECIPIENTS = TOO_MANY_RECIPIENTS_LATELY;
    /// Any recipient of a client that named too many lately that nobody knows.
    TOO_MANY_UNKNOWN = TOO_MANY_UNKNOWN_LATELY;
    /// A client that made too many errors lately.
    TOO_MANY_ERRORS = TOO_MANY_ERRORS_LATELY;
    /// A client, while there is too much to do for all.
    OVERLOAD = CUT_OFF;
}

impl Denial {
    /// The same in other words.
    #[must_use]
    pub fn in_words(self, words: Option<Words>) -> Self {
        Self(Reply { words, ..self.0 })
    }

    /// What is said.
    pub(super) fn reply(self) -> Reply {
        self.0
    }

    /// Whether the other is the same but for its words.
    pub fn is_like(self, other: Self) -> bool {
        self.in_words(None) == other.in_words(None)
    }

    /// Why something is refused by it.
    pub fn reason(self) -> Option<Reason> {
        self.0.reason()
    }

    /// Its reply code.
    pub fn code(self) -> u16 {
        self.0.code
    }
}

impl From<TryAgain> for Denial {
    fn from(why: TryAgain) -> Self {
        Self(why.into())
    }
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
