//! What a load thread notes of a message: that it begins, and how it ended.

/// The step of a transaction that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// MAIL.
    Mail,
    /// RCPT, all of them.
    Rcpt,
    /// DATA.
    Data,
    /// The end of mail data.
    End,
}

impl Step {
    /// All, with their words in a ledger.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Mail, "MAIL"), (Self::Rcpt, "RCPT"), (Self::Data, "DATA"), (Self::End, "end")];

    /// Its word in a ledger.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(step, _)| *step == self).map_or("", |(_, name)| name)
    }
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 250 to the end of mail data.
    Accepted,
    /// 4yz or 5yz.
    Refused {
        /// To what.
        step: Step,
        /// The reply code.
        code: u16,
    },
    /// The end of mail data was never sent.
    Unfinished,
    /// The end of mail data was sent, or may have been, and there was no answer, or one that says neither yes
    /// nor no.
    Unknown,
}

/// What a load thread notes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Its transaction begins.
    Begun {
        /// Which message.
        number: u64,
    },
    /// Its end is known.
    Ended {
        /// Which message.
        number: u64,
        /// How it ended.
        ending: Ending,
        /// Recipients that were accepted.
        recipients: u16,
    },
}
