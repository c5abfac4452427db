//! What became of each recipient of a transaction. Replies are kept once, whoever they are for, and their
//! memory is used again.

use super::reply::{Enhanced, Reply};

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientResult<'a> {
    /// The server has taken the message for it: this 2yz answers the end of the mail data.
    Accepted(Reply<'a>),
    /// Its RCPT was accepted, and no content was to follow ([`Client::ask`](super::Client::ask)): the server
    /// has taken nothing.
    Welcome,
    /// Refused for now: 4yz, or a 552 to the first RCPT that says that there are too many recipients
    /// ([`Reply::says_too_many_recipients`]).
    Temporary(Reply<'a>),
    /// Refused for good: 5yz.
    Permanent(Reply<'a>),
    /// Nothing was said of it, because a transaction may have only so many recipients (RCPTMAX, RFC 9422; or
    /// the server took others and said that they are enough, RFC 5321 §4.5.3.1.10), or because the server
    /// offers something else since XCLIENT: it is for a further transaction, at once.
    Untried,
    /// The session ended before. The server has not taken the message.
    Lost,
    /// The session ended after all of the content was on its way and before its reply: the server may have
    /// taken the message, or not (RFC 1047).
    Unknown,
}

/// The same, as it is kept: with the number of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Its RCPT has no reply yet.
    Unanswered,
    /// Its RCPT was accepted.
    Taken,
    Accepted(u32),
    Welcome,
    Temporary(u32),
    Permanent(u32),
    Untried,
    Lost,
    Unknown,
}

impl Row {
    /// Whether nobody knows yet what becomes of it.
    fn is_open(self) -> bool {
        matches!(self, Self::Unanswered | Self::Taken)
    }
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    code: u16,
    enhanced: Option<Enhanced>,
    /// Where its text ends; it begins where the one before ends.
    end: usize,
}

/// A reply that refuses, or accepts, and is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer(Row);

/// The results of one transaction.
#[derive(Debug, Default)]
pub(super) struct Results {
    rows: Vec<Row>,
    replies: Vec<Kept>,
    texts: Vec<u8>,
}

/// Memory of texts, and of rows, that is kept for the next transaction: that of usual ones.
const KEPT_BYTES: usize = 16 * 1024;

impl Results {
    /// Forgets all, and keeps the memory if it is not much.
    pub(super) fn clear(&mut self) {
        if self.texts.capacity() > KEPT_BYTES || self.rows.capacity() * size_of::<Row>() > KEPT_BYTES {
            *self = Self::default();
        }
        self.rows.clear();
        self.replies.clear();
        self.texts.clear();
    }

    /// One more recipient; `is_tried`: of this transaction.
    pub(super) fn push(&mut self, is_tried: bool) {
        self.rows.push(if is_tried { Row::Unanswered } else { Row::Untried });
    }

    /// Keeps a reply for recipients.
    pub(super) fn accepted(&mut self, reply: Reply<'_>) -> Answer {
        Answer(Row::Accepted(self.keep(reply)))
    }

    /// Keeps a reply for recipients that are refused for now.
    pub(super) fn temporary(&mut self, reply: Reply<'_>) -> Answer {
        Answer(Row::Temporary(self.keep(reply)))
    }

    /// Keeps a reply for recipients that are refused for good.
    pub(super) fn permanent(&mut self, reply: Reply<'_>) -> Answer {
        Answer(Row::Permanent(self.keep(reply)))
    }

    /// Keeps a reply; its number.
    pub(super) fn keep(&mut self, reply: Reply<'_>) -> u32 {
        self.texts.extend_from_slice(reply.text);
        self.replies.push(Kept { code: reply.code, enhanced: reply.enhanced, end: self.texts.len() });
        u32::try_from(self.replies.len() - 1).unwrap_or(u32::MAX)
    }

    /// The reply of this number.
    pub(super) fn reply(&self, number: u32) -> Option<Reply<'_>> {
        let number = number as usize;
        let kept = self.replies.get(number)?;
        let before = number.checked_sub(1).and_then(|before| self.replies.get(before));
        let text = self.texts.get(before.map_or(0, |before| before.end)..kept.end)?;
        Some(Reply { code: kept.code, enhanced: kept.enhanced, text })
    }

    /// The RCPT of this recipient was accepted.
    pub(super) fn take(&mut self, index: usize) {
        if let Some(row) = self.rows.get_mut(index) {
            *row = Row::Taken;
        }
    }

    /// What becomes of this recipient.
    pub(super) fn set(&mut self, index: usize, answer: Answer) {
        if let Some(row) = self.rows.get_mut(index) {
            *row = answer.0;
        }
    }

    /// What becomes of all recipients whose fate is open.
    pub(super) fn set_open(&mut self, answer: Answer) {
        self.settle(answer.0);
    }

    /// What becomes of all recipients, because MAIL was refused: also of those that would have been for a
    /// further transaction.
    pub(super) fn set_all(&mut self, answer: Answer) {
        self.rows.fill(answer.0);
    }

    /// This recipient is for a further transaction.
    pub(super) fn leave_untried(&mut self, index: usize) {
        if let Some(row) = self.rows.get_mut(index) {
            *row = Row::Untried;
        }
    }

    /// None was tried.
    pub(super) fn set_untried(&mut self) {
        self.rows.fill(Row::Untried);
    }

    /// The session ended. `sent`: all of the content was on its way.
    pub(super) fn lose(&mut self, sent: bool) {
        self.settle(if sent { Row::Unknown } else { Row::Lost });
    }

    fn settle(&mut self, as_row: Row) {
        self.rows.iter_mut().filter(|row| row.is_open()).for_each(|row| *row = as_row);
    }

    /// Those whose RCPT was accepted have what they asked for.
    pub(super) fn set_welcome(&mut self) {
        self.rows.iter_mut().filter(|row| **row == Row::Taken).for_each(|row| *row = Row::Welcome);
    }

    /// The first recipient from this one on whose RCPT was accepted and that has no result.
    pub(super) fn next_taken(&self, from: usize) -> Option<usize> {
        let rest = self.rows.get(from..)?;
        rest.iter().position(|row| *row == Row::Taken).map(|at| from + at)
    }

    /// Whether any recipient was accepted.
    pub(super) fn any_accepted(&self) -> bool {
        self.rows.iter().any(|row| matches!(row, Row::Accepted(_)))
    }

    /// The results, in the order of the recipients.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = RecipientResult<'_>> {
        use RecipientResult::{Accepted, Lost, Permanent, Temporary, Unknown, Untried, Welcome};
        self.rows.iter().map(|row| match *row {
            Row::Accepted(number) => self.reply(number).map_or(Lost, Accepted),
            Row::Temporary(number) => self.reply(number).map_or(Lost, Temporary),
            Row::Permanent(number) => self.reply(number).map_or(Lost, Permanent),
            Row::Welcome => Welcome,
            Row::Untried => Untried,
            Row::Unanswered | Row::Taken | Row::Lost => Lost,
            Row::Unknown => Unknown,
        })
    }
}
