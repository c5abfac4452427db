//! What a session refused and nobody has told of yet, for the log.
//!
//! A session notes its first refusals only, so a client decides neither how much memory they take nor how
//! much is said of it.

use std::ops::Range;

use super::reply_line::Reply;
use crate::limits::{REFUSAL_ADDRESS_BYTES_MAX, REFUSAL_RECIPIENTS_MAX};
use crate::mail::envelope::Envelope;

/// Refusals, the first one first.
#[derive(Debug, Default)]
pub struct Refusals {
    list: Vec<Noted>,
    /// All addresses, one after the other.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Noted {
    reply: Reply,
    step: &'static str,
    /// None where there is no transaction.
    from: Option<Range<usize>>,
    /// Recipients, each with a NUL after it.
    to: Range<usize>,
    recipients: usize,
    /// It is about a message that was delivered, and was no transaction any more.
    is_of_delivered: bool,
}

/// A refusal.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// What was said.
    pub reply: Reply,
    /// What was refused: the verb of a command, or another word.
    pub step: &'static str,
    /// The reverse-path, or what was sent as one; none where there is no transaction.
    pub from: Option<&'a [u8]>,
    to: &'a [u8],
    /// How many recipients there are; not all of them are kept.
    pub recipients: usize,
    /// It is about the message that was delivered.
    pub is_of_delivered: bool,
}

impl<'a> Refusal<'a> {
    /// The recipient that was refused, or the first ones of the transaction.
    pub fn to(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.to.split(|octet| *octet == 0).filter(|address| !address.is_empty())
    }
}

/// To whom a refused command or message is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Address<'a> {
    /// The transaction tells, if there is one.
    Transaction,
    /// This envelope, of a transaction that is over.
    Envelope(&'a Envelope),
    /// The envelope of the message that was delivered, which the outside has: [`Refusals::complete`].
    Delivered,
    /// The argument of MAIL, which was refused.
    ReversePath(&'a [u8]),
    /// The argument of RCPT, which was refused.
    ForwardPath(&'a [u8]),
    /// The recipient that was added to the envelope last is refused.
    LastRecipient,
}

impl Refusals {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Refusal<'_>> {
        let text = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        self.list.iter().map(move |noted| Refusal {
            reply: noted.reply,
            step: noted.step,
            from: noted.from.as_ref().map(text),
            to: text(&noted.to),
            recipients: noted.recipients,
            is_of_delivered: noted.is_of_delivered,
        })
    }

    /// The message that was delivered has this envelope. Where its refusal was not noted, nothing changes.
    pub fn complete(&mut self, envelope: &Envelope) {
        let is_open = |noted: &Noted| noted.is_of_delivered && noted.from.is_none();
        if let Some(place) = self.list.iter().position(is_open) {
            let from = self.push_text(envelope.reverse_path());
            let (to, recipients) = self.push_recipients(envelope);
            if let Some(noted) = self.list.get_mut(place) {
                *noted = Noted { from: Some(from), to, recipients, ..*noted };
            }
        }
    }

    /// One more.
    pub(super) fn push(
        &mut self,
        reply: Reply,
        step: &'static str,
        address: Address<'_>,
        envelope: Option<&Envelope>,
    ) {
        let envelope = if let Address::Envelope(envelope) = address { Some(envelope) } else { envelope };
        let reverse_path = envelope.map(|envelope| self.push_text(envelope.reverse_path()));
        let start = self.text.len();
        let (from, to, recipients) = match address {
            Address::Transaction | Address::Envelope(_) => {
                let (to, all) = envelope.map_or((start..start, 0), |envelope| self.push_recipients(envelope));
                (reverse_path, to, all)
            }
            Address::Delivered => (None, start..start, 0),
            Address::ReversePath(argument) => {
                (Some(self.push_text(path(argument, b"FROM:"))), start..start, 0)
            }
            Address::ForwardPath(argument) => {
                self.push_recipient(path(argument, b"TO:"));
                (reverse_path, start..self.text.len(), 1)
            }
            Address::LastRecipient => {
                let last = envelope.and_then(Envelope::last_recipient);
                self.push_recipient(last.map_or(&b""[..], |mailbox| mailbox.whole));
                (reverse_path, start..self.text.len(), 1)
            }
        };
        let is_of_delivered = matches!(address, Address::Delivered);
        self.list.push(Noted { reply, step, from, to, recipients, is_of_delivered });
    }

    /// This was said instead of the last one.
    pub(super) fn amend(&mut self, reply: Reply) {
        if let Some(last) = self.list.last_mut() {
            last.reply = reply;
        }
    }

    fn push_text(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend(text.iter().take(REFUSAL_ADDRESS_BYTES_MAX));
        start..self.text.len()
    }

    /// The first recipients; and how many there are.
    fn push_recipients(&mut self, envelope: &Envelope) -> (Range<usize>, usize) {
        let start = self.text.len();
        let recipients = envelope.recipients();
        let all = recipients.len();
        recipients.take(REFUSAL_RECIPIENTS_MAX).for_each(|mailbox| self.push_recipient(mailbox.whole));
        (start..self.text.len(), all)
    }

    fn push_recipient(&mut self, text: &[u8]) {
        self.push_text(text);
        self.text.push(0);
    }
}

/// The path in an argument, without angle brackets and parameters, however wrong it is.
fn path<'a>(argument: &'a [u8], keyword: &[u8]) -> &'a [u8] {
    let is_keyword = argument.get(..keyword.len()).is_some_and(|word| word.eq_ignore_ascii_case(keyword));
    let text = argument.get(keyword.len()..).filter(|_| is_keyword).unwrap_or(argument).trim_ascii();
    let (path, end): (&[u8], &[u8]) = match text.strip_prefix(b"<") {
        Some(path) => (path, b"> "),
        None => (text, b" "),
    };
    let end = path.windows(end.len()).position(|octets| octets == end).unwrap_or(path.len());
    let path = path.get(..end).unwrap_or_default();
    path.strip_suffix(b">").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply;

    #[test]
    fn the_path_of_an_argument_is_found_however_wrong_it_is() {
        for (argument, expected) in [
            (&b"TO:<a@x.test>"[..], &b"a@x.test"[..]),
            (b"TO:<a@x.test> NOTIFY=NEVER", b"a@x.test"),
            (b"to: <\"a b\"@x.test>", b"\"a b\"@x.test"),
            (b"TO:a@x.test NOTIFY=NEVER", b"a@x.test"),
            (b"TO:<a@x.test", b"a@x.test"),
            (b"TO:<>", b""),
            (b"TO:", b""),
            (b"a@x.test", b"a@x.test"),
        ] {
            assert_eq!(path(argument, b"TO:"), expected, "{}", argument.escape_ascii());
        }
    }

    #[test]
    fn refusals_keep_what_they_are_about() {
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"a", b"x.test");
        for number in 0..10 {
            envelope.push_recipient(format!("b{number}").as_bytes(), b"y.test");
        }
        let mut refusals = Refusals::default();
        refusals.push(
            reply::NO_SUCH_RECIPIENT,
            "RCPT",
            Address::ForwardPath(b"TO:<c@y.test>"),
            Some(&envelope),
        );
        refusals.push(reply::NO_SUCH_RECIPIENT, "RCPT", Address::LastRecipient, Some(&envelope));
        refusals.push(reply::BAD_REVERSE_PATH, "MAIL", Address::ReversePath(b"FROM:<x>"), None);
        refusals.push(reply::UNRECOGNIZED, "COMMAND", Address::Transaction, None);
        refusals.complete(&envelope);
        refusals.push(reply::NO_SPACE, "MAIL-DATA", Address::Delivered, None);
        refusals.push(reply::UNRECOGNIZED, "COMMAND", Address::Transaction, None);
        refusals.complete(&envelope);
        refusals.push(reply::NUL_IN_DATA, "BDAT", Address::Envelope(&envelope), None);
        let told: Vec<_> = refusals
            .iter()
            .map(|one| {
                let to: Vec<_> = one.to().map(|to| String::from_utf8_lossy(to).into_owned()).collect();
                (
                    one.from.map(|from| String::from_utf8_lossy(from).into_owned()),
                    to.join(" "),
                    one.recipients,
                    one.is_of_delivered,
                )
            })
            .collect();
        let from = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                (from("a@x.test"), "c@y.test".to_owned(), 1, false),
                (from("a@x.test"), "b9@y.test".to_owned(), 1, false),
                (from("x"), String::new(), 0, false),
                (None, String::new(), 0, false),
                (from("a@x.test"), "b0@y.test b1@y.test b2@y.test b3@y.test".to_owned(), 10, true),
                (None, String::new(), 0, false),
                (from("a@x.test"), "b0@y.test b1@y.test b2@y.test b3@y.test".to_owned(), 10, false),
            ]
        );
    }
}
