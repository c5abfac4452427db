//! A recipient that a notice tells of, and the fields that are its own (RFC 3464 §2.3).

use std::net::IpAddr;
use std::time::SystemTime;

use super::encoding::{clean, decoded_xtext};
use super::fields::{push_address, push_field};
use crate::timestamp::Rfc5322;

/// What became of a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It does not get the message.
    Failed,
    /// It has waited for long, and is tried further.
    Delayed,
    /// Its mailbox has it: a server of LMTP said so, which sends no notice itself.
    Delivered,
    /// A server took it that sends no notices (RFC 3461 §5.2.2).
    Relayed,
}

/// A recipient, and what is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// `local-part@domain`, as the message went to it.
    pub mailbox: &'a [u8],
    /// ORCPT= as sent; empty when it was not given.
    pub orcpt: &'a [u8],
    /// What became of it.
    pub action: Action,
    /// Whether it failed because it waited too long.
    pub is_expired: bool,
    /// Whether it was tried now. What waited too long was tried before, nobody knows when.
    pub is_tried: bool,
    /// The last reply: code, enhanced status code and text, of which any may be missing; without a code it is
    /// a text of ours.
    pub said: &'a str,
    /// The name or address of the server that was asked last; none where it has none.
    pub remote: Option<&'a str>,
}

/// Said of what waited too long and was not tried at its end.
pub const WAITED_TOO_LONG: &str = "it waited too long";

/// Octets of a reply that are told.
const SAID_BYTES_MAX: usize = 500;

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }

    /// The status where the reply has none (RFC 3463 §3.1: other or undefined).
    fn status(self) -> &'static str {
        match self {
            Self::Failed => "5.0.0",
            Self::Delayed => "4.0.0",
            Self::Delivered | Self::Relayed => "2.0.0",
        }
    }
}

impl Recipient<'_> {
    /// Appends its group of fields.
    pub(super) fn push_group(
        &self,
        at: SystemTime,
        retried_until: SystemTime,
        log_id: &str,
        out: &mut Vec<u8>,
    ) {
        if let Some((kind, address)) = split_orcpt(self.orcpt) {
            push_address("Original-Recipient", Some(kind), &decoded_xtext(address), out);
        }
        push_address("Final-Recipient", None, self.mailbox, out);
        push_field("Action", self.action.word(), out);
        push_field("Status", &self.status(), out);
        if let Some(remote) = self.remote {
            push_field("Remote-MTA", &format!("dns; {}", host(remote)), out);
        }
        let said = self.said();
        if !said.is_empty() {
            let kind = if Said::of(self.said).code.is_some() { "smtp" } else { "X-Ringmx" };
            push_field("Diagnostic-Code", &format!("{kind}; {said}"), out);
        }
        if self.is_tried {
            push_field("Last-Attempt-Date", &Rfc5322(at).to_string(), out);
        }
        push_field("Final-Log-ID", log_id, out);
        if self.action == Action::Delayed {
            push_field("Will-Retry-Until", &Rfc5322(retried_until).to_string(), out);
        }
    }

    /// What was said, on one line and without quotes.
    pub(super) fn said(&self) -> String {
        let Said { code, enhanced, text } = Said::of(self.said);
        let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let parts = [code.unwrap_or_default(), enhanced.unwrap_or_default(), unquoted];
        let whole = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        clean(whole.as_bytes(), SAID_BYTES_MAX)
    }

    fn status(&self) -> String {
        // The reply was about one attempt, and this is about all of them (RFC 3463 §3.5, X.4.7).
        if self.is_expired {
            return "4.4.7".to_owned();
        }
        let fits = |status: &&str| status.starts_with(&self.action.status()[..1]);
        let status = Said::of(self.said).enhanced.filter(fits).unwrap_or(self.action.status());
        status.to_owned()
    }
}

/// A reply as it is told, in its parts.
struct Said<'a> {
    code: Option<&'a str>,
    enhanced: Option<&'a str>,
    text: &'a str,
}

impl<'a> Said<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.trim_ascii();
        let (code, text) = split_word(text, |word| {
            let is_code = word.len() == 3 && word.bytes().all(|octet| octet.is_ascii_digit());
            is_code && word.starts_with(['2', '4', '5'])
        });
        let (enhanced, text) = split_word(text, is_enhanced);
        Self { code, enhanced, text }
    }
}

/// The first word, where it is such a one, and what follows.
fn split_word(text: &str, is_such: impl Fn(&str) -> bool) -> (Option<&str>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    if is_such(word) { (Some(word), rest.trim_ascii_start()) } else { (None, text) }
}

fn is_enhanced(word: &str) -> bool {
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit());
    let parts: Vec<&str> = word.split('.').collect();
    parts.len() == 3 && matches!(parts[0], "2" | "4" | "5") && parts.iter().all(|part| is_number(part))
}

/// Type and address of an ORCPT.
fn split_orcpt(orcpt: &[u8]) -> Option<(&str, &[u8])> {
    let at = orcpt.iter().position(|octet| *octet == b';')?;
    let (kind, address) = orcpt.split_at_checked(at)?;
    let is_atom = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    let kind = std::str::from_utf8(kind).ok().filter(|_| !kind.is_empty() && kind.iter().all(is_atom))?;
    Some((kind, address.get(1..).unwrap_or_default()))
}

/// A name as it is, an address as a literal (RFC 5321 §4.1.3).
fn host(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("[{address}]"),
        Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Err(_) => clean(name.as_bytes(), SAID_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(action: Action, said: &str) -> Recipient<'_> {
        let (mailbox, orcpt) = (&b"a@x.test"[..], &b""[..]);
        Recipient { mailbox, orcpt, action, is_expired: false, is_tried: true, said, remote: None }
    }

    #[test]
    fn the_status_is_that_of_the_reply_or_follows_from_what_became_of_it() {
        for (action, said, expected) in [
            (Action::Failed, "550 5.1.1 \"no\"", "5.1.1"),
            (Action::Failed, "550 no", "5.0.0"),
            (Action::Failed, "550 2.1.1 no", "5.0.0"),
            (Action::Failed, "550 5.1.1.1 no", "5.0.0"),
            (Action::Failed, "5.6.3 8BITMIME is not offered", "5.6.3"),
            (Action::Failed, "", "5.0.0"),
            (Action::Delayed, "451 4.7.1 later", "4.7.1"),
            (Action::Delayed, "the connection was lost", "4.0.0"),
            (Action::Relayed, "250 2.6.0 ok", "2.6.0"),
            (Action::Delivered, "250 ok", "2.0.0"),
        ] {
            assert_eq!(recipient(action, said).status(), expected, "{said}");
        }
        let expired = Recipient { is_expired: true, ..recipient(Action::Failed, "451 4.2.2 full") };
        assert_eq!(expired.status(), "4.4.7");
    }

    #[test]
    fn what_was_said_is_told_without_quotes() {
        for (said, expected) in [
            ("550 5.1.1 \"No such user\"", "550 5.1.1 No such user"),
            ("550", "550"),
            ("it waited too long", "it waited too long"),
            ("550 \"a\\r\\nb\"", "550 a\\r\\nb"),
            ("550 a\r\nb\u{e9}", "550 a??b?"),
        ] {
            assert_eq!(recipient(Action::Failed, said).said(), expected);
        }
    }
}
