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
mod tests {
    use super::*;

    #[test]
    fn envelopes_with_many_recipients_share_a_budget() {
        let budget = EnvelopeBudget::new(40 * 1024);
        let mut first = Envelope::within(&budget);
        first.push_recipient(b"one", b"x.test");
        assert!(first.count() && budget.bytes() == 0, "a usual envelope is not counted");
        let add = |envelope: &mut Envelope| {
            envelope.push_recipient(&[b'a'; 60], b"x.test");
            envelope.count()
        };
        let taken = (0..1000).take_while(|_| add(&mut first)).count();
        assert!((100..900).contains(&taken), "{taken}");
        let mut second = Envelope::within(&budget);
        assert!((0..20).all(|_| add(&mut second)), "those of others are taken on");
        drop(second);
        first.clear();
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn those_of_an_alias_that_have_no_room_leave_nothing_behind() {
        let budget = EnvelopeBudget::new(40 * 1024);
        let mut envelope = Envelope::within(&budget);
        envelope.push_recipient(b"all", b"x.test");
        let members: Vec<_> = (0..2000).map(|number| format!("member-{number}@x.test")).collect();
        let bytes = |envelope: &Envelope| {
            let recipients = envelope.recipients.capacity() * size_of::<Recipient>();
            envelope.text.capacity() + recipients + envelope.repeated.bytes()
        };
        let mut source = Envelope::default();
        for member in &members {
            source.push_whole_recipient(member.as_bytes());
        }
        assert!(!envelope.replace_last_recipient(source.recipients(), false));
        assert!(bytes(&envelope) < ENVELOPE_BYTES_FREE && budget.bytes() == 0, "{}", bytes(&envelope));
        assert_eq!(envelope.recipients().map(|one| one.whole.to_vec()).collect::<Vec<_>>(), [b"all@x.test"]);
        envelope.push_recipient(b"All", b"x.test");
        assert!(envelope.last_recipient_is_repeated(false));
    }

    #[test]
    fn a_recipient_that_an_alias_brought_has_the_parameters_of_the_rcpt_that_names_it() {
        let mut envelope = Envelope::default();
        envelope.push_recipient(b"all", b"x.test");
        envelope.set_recipient_parameters(RecipientParameters { notify: Some(Notify::NEVER), orcpt: b"" });
        let mut members = Envelope::default();
        for member in [&b"one@x.test"[..], b"two@x.test"] {
            members.push_whole_recipient(member);
        }
        assert!(envelope.replace_last_recipient(members.recipients(), false));
        let orcpt = &b"rfc822;one@x.test"[..];
        envelope.push_recipient(b"One", b"x.test");
        let Some(Repeats::Brought(brought)) = envelope.last_recipient_repeats(false) else {
            panic!("an alias brought it")
        };
        envelope.set_recipient_parameters(RecipientParameters { notify: None, orcpt });
        envelope.merge_into(brought);
        envelope.push_recipient(b"three", b"x.test");
        envelope.retract_recipient();
        let seen: Vec<_> =
            envelope.recipients_with_parameters().map(|(mailbox, told)| (mailbox.whole, told)).collect();
        let never = RecipientParameters { notify: Some(Notify::NEVER), orcpt: b"" };
        let named = RecipientParameters { notify: None, orcpt };
        assert_eq!(seen, [(&b"one@x.test"[..], named), (b"two@x.test", never)]);
    }

    #[test]
    fn a_recipient_is_seen_in_its_two_parts() {
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"a", b"x.test");
        envelope.push_recipient(b"\"b@c\"", b"y.test");
        assert_eq!(envelope.reverse_path(), b"a@x.test");
        let recipient = envelope.recipients().next().expect("one recipient");
        assert_eq!((recipient.local_part, recipient.domain), (&b"\"b@c\""[..], &b"y.test"[..]));
        assert_eq!(recipient.whole, b"\"b@c\"@y.test");
    }

    #[test]
    fn the_null_reverse_path_is_empty() {
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"", b"");
        assert_eq!(envelope.reverse_path(), b"");
    }

    #[test]
    fn parameters_belong_to_their_recipient() {
        let mut envelope = Envelope::default();
        envelope.set_envid(b"id");
        envelope.push_recipient(b"b", b"y.test");
        let notify = Some(Notify::SUCCESS.and(Notify::DELAY));
        envelope.set_recipient_parameters(RecipientParameters { notify, orcpt: b"rfc822;b" });
        envelope.push_recipient(b"c", b"y.test");
        envelope.set_recipient_parameters(RecipientParameters { notify: None, orcpt: b"rfc822;c" });
        envelope.retract_recipient();
        envelope.push_recipient(b"d", b"y.test");
        let seen: Vec<_> = envelope.recipients_with_parameters().collect();
        assert_eq!(
            (seen[0].0.whole, seen[0].1.notify, seen[0].1.orcpt),
            (&b"b@y.test"[..], notify, &b"rfc822;b"[..])
        );
        assert_eq!((seen[1].0.whole, seen[1].1), (&b"d@y.test"[..], RecipientParameters::default()));
        assert_eq!(
            (envelope.envid(), notify.map(|notify| notify.to_string())),
            (&b"id"[..], Some("SUCCESS,DELAY".into()))
        );
    }

    #[test]
    fn a_recipient_that_was_written_down_whole_is_seen_in_its_two_parts() {
        let (mut envelope, mut other) = (Envelope::default(), Envelope::default());
        other.set_envid(b"elsewhere in the arena");
        other.set_envid(b"");
        for mailbox in [&b"\"b@c\"@y.test"[..], b"anna@y.test"] {
            envelope.push_whole_recipient(mailbox);
        }
        other.push_recipient(b"\"b@c\"", b"y.test");
        other.push_recipient(b"anna", b"y.test");
        assert_eq!(envelope, other);
        assert!(envelope.set_orcpt(b"rfc822;x") && envelope.set_notify(Some(Notify::NEVER)));
        assert_ne!(envelope, other);
        envelope.push_whole_recipient(b"no at");
        let last = envelope.last_recipient().expect("one");
        assert_eq!((last.local_part, last.domain, last.whole), (&b"no at"[..], &b""[..], &b"no at"[..]));
        assert!(!Envelope::default().set_orcpt(b"x") && !Envelope::default().set_notify(None));
    }

    #[test]
    fn a_cleared_envelope_says_nothing() {
        let mut envelope = Envelope { smtputf8: true, size_declared: Some(7), ..Envelope::default() };
        envelope.push_recipient(b"b", b"y.test");
        envelope.clear();
        assert_eq!(envelope.recipients().len(), 0);
        assert!(!envelope.smtputf8 && envelope.size_declared.is_none());
    }
}
