//! What a transaction collected: reverse-path, forward-paths and their parameters (RFC 5321 §2.3.1).
//!
//! An envelope is a plain value: the session fills it, the sink reads it, and its memory goes back to the
//! shard with the receipt, so that in steady state a transaction allocates nothing. All text lies in one
//! arena.

use std::ops::Range;
use std::sync::Arc;

use super::caseless::folded;
use super::envelope_budget::{Charge, EnvelopeBudget};
pub use super::mailbox::Mailbox;
pub use super::parameters::{BodyType, Notify, RecipientParameters, Ret};
use super::repeated::Repeated;
pub use super::repeated::{Brought, Repeats};
use crate::limits::ENVELOPE_BYTES_FREE;

/// The envelope of one transaction.
///
/// Paths are stored without angle brackets and source route, in the spelling that is used from here on:
/// domains in lower case as A-labels, local-parts unquoted where quotes were not needed, their case kept.
#[derive(Debug, Default, Clone)]
pub struct Envelope {
    text: Vec<u8>,
    reverse_path: Span,
    recipients: Vec<Recipient>,
    /// Finds a recipient again.
    repeated: Repeated,
    /// The first so many recipients have their hash, for comparison as `hashed_by_case` says.
    /// `<= recipients.len()`
    hashed: usize,
    hashed_by_case: bool,
    /// BODY= of MAIL (RFC 6152, RFC 3030).
    pub body: BodyType,
    /// SMTPUTF8 was given at MAIL (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// REQUIRETLS was given at MAIL (RFC 8689): whoever hands the message on has to keep it.
    pub requiretls: bool,
    /// RET= of MAIL (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// ENVID= of MAIL (RFC 3461 §4.4); empty when it was not given, because a value cannot be empty.
    envid: Span,
    /// SIZE= of MAIL in octets (RFC 1870), saturated. `None` when it was not given.
    pub size_declared: Option<u64>,
    /// The mail data holds a CR or an LF that is not part of a CRLF, so its line ends cannot be converted and
    /// back.
    pub bare_line_ends: bool,
    charge: Charge,
}

/// Where a text lies in the arena.
#[derive(Debug, Default, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Recipient {
    mailbox: Span,
    /// Where in the mailbox the `@` stands.
    at: u32,
    /// The mailbox in its comparable spelling, which is worked out once; empty where it is ASCII, which is
    /// compared as it is.
    folded: Span,
    /// So that a repeated one is found without comparing text with text: see `Envelope::hashed`.
    hash: u32,
    /// No RCPT named it: an alias did.
    is_brought: bool,
    notify: Option<Notify>,
    /// Empty when it was not given.
    orcpt: Span,
}

impl Envelope {
    /// An empty envelope that counts what it takes.
    pub fn within(budget: &Arc<EnvelopeBudget>) -> Self {
        Self { charge: Charge::to(budget), ..Self::default() }
    }

    /// Counts what it takes now. False when the budget of all envelopes has no room for it.
    pub fn count(&mut self) -> bool {
        let recipients = self.recipients.capacity() * size_of::<Recipient>();
        let bytes = self.text.capacity() + recipients + self.repeated.bytes();
        bytes <= ENVELOPE_BYTES_FREE || self.charge.raise_to(bytes)
    }

    /// Forgets everything and keeps the memory, if it is not much.
    pub fn clear(&mut self) {
        let Self {
            text,
            reverse_path,
            recipients,
            repeated,
            hashed,
            hashed_by_case: _,
            body,
            smtputf8,
            requiretls,
            ret,
            envid,
            size_declared,
            bare_line_ends,
            charge,
        } = self;
        if charge.bytes > 0 {
            *text = Vec::new();
            *recipients = Vec::new();
            repeated.free();
            charge.give_back();
        }
        text.clear();
        recipients.clear();
        repeated.truncate(0);
        *hashed = 0;
        *reverse_path = Span::default();
        *body = BodyType::default();
        *smtputf8 = false;
        *requiretls = false;
        *ret = None;
        *envid = Span::default();
        *size_declared = None;
        *bare_line_ends = false;
    }

    /// The reverse-path without angle brackets; empty for the null reverse-path `<>`.
    pub fn reverse_path(&self) -> &[u8] {
        self.text.get(self.reverse_path.range()).unwrap_or_default()
    }

    /// Sets the reverse-path. A mailbox is given in its two parts, the null reverse-path as two empty ones.
    pub fn set_reverse_path(&mut self, local_part: &[u8], domain: &[u8]) {
        self.write_reverse_path(|text| {
            if !(local_part.is_empty() && domain.is_empty()) {
                text.extend_from_slice(local_part);
                text.push(b'@');
                text.extend_from_slice(domain);
            }
        });
    }

    /// Sets the reverse-path, which the caller writes; nothing for the null reverse-path.
    pub fn write_reverse_path(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        write(&mut self.text);
        self.reverse_path = Self::span(start, self.text.len());
    }

    /// ENVID= of MAIL as sent, in xtext (RFC 3461 §4.4); empty when it was not given.
    pub fn envid(&self) -> &[u8] {
        self.text.get(self.envid.range()).unwrap_or_default()
    }

    /// Sets ENVID=.
    pub fn set_envid(&mut self, envid: &[u8]) {
        self.envid = self.push_text(envid);
    }

    fn push_text(&mut self, text: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Self::span(start, self.text.len())
    }

    /// Adds a recipient.
    pub fn push_recipient(&mut self, local_part: &[u8], domain: &[u8]) {
        self.propose_recipient(
            |text| text.extend_from_slice(local_part),
            |text| text.extend_from_slice(domain),
        );
    }

    /// Adds a recipient whose parts are written by the caller, to be looked at before it stays.
    pub fn propose_recipient(
        &mut self,
        local_part: impl FnOnce(&mut Vec<u8>),
        domain: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.text.len();
        local_part(&mut self.text);
        let at = self.text.len() - start;
        self.text.push(b'@');
        domain(&mut self.text);
        self.enter_recipient(start, at);
    }

    /// Adds a recipient that was written down whole ([`Mailbox::whole`]). It is folded as any other, though
    /// readers of a store never compare recipients.
    pub fn push_whole_recipient(&mut self, whole: &[u8]) {
        let at = whole.iter().rposition(|octet| *octet == b'@').unwrap_or(whole.len());
        let start = self.text.len();
        self.text.extend_from_slice(whole);
        self.enter_recipient(start, at);
    }

    /// The text from `start` on is a recipient, whose `@` is `at` octets after that.
    fn enter_recipient(&mut self, start: usize, at: usize) {
        let mailbox = Self::span(start, self.text.len());
        let whole = self.text.get(start..).unwrap_or_default();
        let folded = match folded(whole) {
            None => Span::default(),
            Some(folded) => self.push_text(folded.as_bytes()),
        };
        let at = Self::span(0, at).end;
        let orcpt = Span::default();
        self.recipients.push(Recipient {
            mailbox,
            at,
            folded,
            hash: 0,
            is_brought: false,
            notify: None,
            orcpt,
        });
    }

    /// Sets the parameters of the recipient added last.
    pub fn set_recipient_parameters(&mut self, parameters: RecipientParameters<'_>) {
        let RecipientParameters { notify, orcpt } = parameters;
        self.set_notify(notify);
        self.set_orcpt(orcpt);
    }

    /// Sets NOTIFY= of the recipient added last. False when there is no recipient.
    pub fn set_notify(&mut self, notify: Option<Notify>) -> bool {
        let Some(recipient) = self.recipients.last_mut() else { return false };
        recipient.notify = notify;
        true
    }

    /// Sets ORCPT= of the recipient added last. False when there is no recipient.
    pub fn set_orcpt(&mut self, orcpt: &[u8]) -> bool {
        let orcpt = self.push_text(orcpt);
        let Some(recipient) = self.recipients.last_mut() else { return false };
        recipient.orcpt = orcpt;
        true
    }

    /// Takes the recipient added last back.
    pub fn retract_recipient(&mut self) {
        if let Some(recipient) = self.recipients.pop() {
            self.text.truncate(recipient.mailbox.start as usize);
            self.forget_repeated();
        }
    }

    /// Octets that the reverse-path, the recipients and their parameters take as JSON, at most, where no
    /// address is of quotes and backslashes.
    pub fn json_bytes_max(&self) -> usize {
        self.json_bytes_max_with(0, 0)
    }

    /// The same with so many more recipients, whose addresses have so many octets.
    pub fn json_bytes_max_with(&self, recipients: usize, text_bytes: usize) -> usize {
        /// What stands around an address and its parameters.
        const RECIPIENT_BYTES: usize = 56;
        // A character of UTF-8 is escaped to three times its octets.
        let factor = if self.smtputf8 { 3 } else { 1 };
        let of = |recipient: &Recipient| recipient.mailbox.range().len() + recipient.orcpt.range().len();
        let text_bytes = text_bytes + self.reverse_path().len() + self.envid().len();
        let text_bytes = text_bytes + self.recipients.iter().map(of).sum::<usize>();
        text_bytes * factor + (self.recipients.len() + recipients) * RECIPIENT_BYTES
    }

    /// Keeps the recipients that this says yes to, which is asked about each in their order.
    pub fn retain_recipients(&mut self, mut keeps: impl FnMut() -> bool) {
        self.recipients.retain(|_| keeps());
        self.hashed = 0;
        self.repeated.truncate(0);
    }

    /// Puts these mailboxes, which an alias brought, in the place of the recipient added last, each with its
    /// parameters. Those that are there already are not added. False when the budget of all envelopes has no
    /// room for them: then nothing has changed.
    pub fn replace_last_recipient<'m>(
        &mut self,
        mailboxes: impl Iterator<Item = Mailbox<'m>>,
        case_sensitive: bool,
    ) -> bool {
        let Some(replaced) = self.recipients.pop() else { return false };
        let (count, text_bytes) = (self.recipients.len(), self.text.len());
        self.forget_repeated();
        for mailbox in mailboxes {
            self.push_whole_recipient(mailbox.whole);
            if self.last_recipient_is_repeated(case_sensitive) {
                self.retract_recipient();
            } else if let Some(last) = self.recipients.last_mut() {
                last.is_brought = true;
                (last.notify, last.orcpt) = (replaced.notify, replaced.orcpt);
            }
        }
        let has_room = self.count();
        if !has_room {
            self.recipients.truncate(count);
            self.recipients.push(replaced);
            self.text.truncate(text_bytes);
            self.hashed = self.hashed.min(count);
            // What nobody counts is not kept.
            self.recipients.shrink_to_fit();
            self.text.shrink_to_fit();
            self.repeated.free();
        }
        has_room
    }

    /// What finds repeated recipients again forgets those that are gone.
    fn forget_repeated(&mut self) {
        self.repeated.truncate(self.recipients.len());
        self.hashed = self.hashed.min(self.recipients.len());
    }

    /// The recipient added last.
    pub fn last_recipient(&self) -> Option<Mailbox<'_>> {
        self.recipients.last().map(|recipient| self.mailbox(*recipient))
    }

    /// Whether the recipient added last was there before. Local-parts compare octet for octet or without
    /// case; postmaster's always without (RFC 5321 §4.5.1).
    pub fn last_recipient_is_repeated(&mut self, case_sensitive: bool) -> bool {
        self.last_recipient_repeats(case_sensitive).is_some()
    }

    /// The one before that the recipient added last is, compared as there.
    pub fn last_recipient_repeats(&mut self, case_sensitive: bool) -> Option<Repeats> {
        self.hash_recipients(case_sensitive);
        // Taken out for the time, because the recipients are looked at meanwhile.
        let mut repeated = std::mem::take(&mut self.repeated);
        let found = self.recipients.split_last().and_then(|(last, others)| {
            let hash_of = |number: usize| others.get(number).map_or(0, |other| other.hash);
            let is_same = |number: usize| {
                others.get(number).is_some_and(|other| {
                    if case_sensitive {
                        let (other, last) = (self.mailbox(*other), self.mailbox(*last));
                        let are_postmasters = other.is_postmaster() && last.is_postmaster();
                        other.whole == last.whole || (are_postmasters && other.domain == last.domain)
                    } else {
                        self.comparable(*other).eq_ignore_ascii_case(self.comparable(*last))
                    }
                })
            };
            let index = repeated.find(others.len(), last.hash, hash_of, is_same)?;
            let is_brought = others.get(index)?.is_brought;
            Some(if is_brought { Repeats::Brought(Brought(index)) } else { Repeats::Named })
        });
        self.repeated = repeated;
        found
    }

    /// The recipient added last, which RCPT named, and one that an alias brought before become one, which has
    /// the parameters of that RCPT: they are about this recipient, and those of the alias were about others,
    /// too.
    pub fn merge_into(&mut self, brought: Brought) {
        let Some(named) = self.recipients.pop() else { return };
        // Its text stays for the sake of its ORCPT.
        if named.orcpt.range().is_empty() {
            self.text.truncate(named.mailbox.start as usize);
        }
        self.forget_repeated();
        if let Some(recipient) = self.recipients.get_mut(brought.0) {
            recipient.is_brought = false;
            (recipient.notify, recipient.orcpt) = (named.notify, named.orcpt);
        }
    }

    /// Gives a hash to the recipients that have no hash yet.
    fn hash_recipients(&mut self, case_sensitive: bool) {
        if self.hashed_by_case != case_sensitive {
            self.hashed_by_case = case_sensitive;
            self.hashed = 0;
            self.repeated.truncate(0);
        }
        for number in self.hashed..self.recipients.len() {
            let Some(recipient) = self.recipients.get(number).copied() else { break };
            let mailbox = self.mailbox(recipient);
            let case_counts = case_sensitive && !mailbox.is_postmaster();
            let text = if case_counts { mailbox.whole } else { self.comparable(recipient) };
            let hash = self.repeated.hash(text, case_counts);
            if let Some(recipient) = self.recipients.get_mut(number) {
                recipient.hash = hash;
            }
        }
        self.hashed = self.recipients.len();
    }

    /// The comparable spelling of a recipient, save for the case of ASCII.
    fn comparable(&self, recipient: Recipient) -> &[u8] {
        let folded = self.text.get(recipient.folded.range()).unwrap_or_default();
        if folded.is_empty() { self.mailbox(recipient).whole } else { folded }
    }

    /// The recipients in the order they were accepted.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = Mailbox<'_>> {
        self.recipients.iter().map(|recipient| self.mailbox(*recipient))
    }

    /// The same with the parameters of their RCPT commands.
    pub fn recipients_with_parameters(
        &self,
    ) -> impl ExactSizeIterator<Item = (Mailbox<'_>, RecipientParameters<'_>)> {
        self.recipients.iter().map(|recipient| {
            let orcpt = self.text.get(recipient.orcpt.range()).unwrap_or_default();
            (self.mailbox(*recipient), RecipientParameters { notify: recipient.notify, orcpt })
        })
    }

    fn written_recipients(&self) -> impl Iterator<Item = (&[u8], RecipientParameters<'_>)> {
        self.recipients_with_parameters().map(|(mailbox, parameters)| (mailbox.whole, parameters))
    }

    fn mailbox(&self, recipient: Recipient) -> Mailbox<'_> {
        let whole = self.text.get(recipient.mailbox.range()).unwrap_or_default();
        let (local_part, rest) = whole.split_at_checked(recipient.at as usize).unwrap_or_default();
        Mailbox { local_part, domain: rest.get(1..).unwrap_or_default(), whole }
    }

    /// Recipients and path lengths are bounded by configuration, whose ranges keep the arena far below 4 GiB.
    fn span(start: usize, end: usize) -> Span {
        let narrow = |at: usize| u32::try_from(at).expect("an envelope is smaller than 4 GiB");
        Span { start: narrow(start), end: narrow(end) }
    }
}

/// By what they say; where their texts lie is no part of that.
impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        // Named one by one, so that a new field is compared or left out on purpose.
        let Self {
            text: _,
            reverse_path: _,
            recipients: _,
            repeated: _,
            hashed: _,
            hashed_by_case: _,
            body,
            smtputf8,
            requiretls,
            ret,
            envid: _,
            size_declared,
            bare_line_ends,
            charge: _,
        } = other;
        self.reverse_path() == other.reverse_path()
            && self.written_recipients().eq(other.written_recipients())
            && self.envid() == other.envid()
            && (self.body, self.smtputf8, self.requiretls) == (*body, *smtputf8, *requiretls)
            && (self.ret, self.size_declared) == (*ret, *size_declared)
            && self.bare_line_ends == *bare_line_ends
    }
}

impl Eq for Envelope {}

#[cfg(test)]
mod tests;
