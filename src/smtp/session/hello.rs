//! EHLO and HELO in a session, and the EHLO reply: what is offered (RFC 5321 §4.1.1.1).

use super::Session;
use super::handled::Handled;
use super::state::Hello;
use crate::limits::EHLO_NAME_BYTES_MAX;
use crate::smtp::command::Verb;
use crate::smtp::extension::{Extension, ExtensionSet, KEYWORDS};
use crate::smtp::reply::{self, ReplyBuffer};
use crate::smtp::settings::Limits;
use crate::smtp::xclient;

impl Session {
    /// EHLO and HELO (RFC 5321 §4.1.1.1): a new beginning; the name is never judged (§4.1.4).
    pub(super) fn handle_hello(
        &mut self,
        verb: Verb,
        argument: &[u8],
        pending: bool,
        replies: &mut ReplyBuffer,
    ) -> Handled {
        if argument.is_empty() {
            return Handled::Reply(reply::EHLO_NAME_MISSING);
        }
        if let Some(refusal) = self.begin_first_hello(pending) {
            return refusal;
        }
        self.abandon_transaction();
        let name = argument.get(..EHLO_NAME_BYTES_MAX).unwrap_or(argument).into();
        let hostname = &self.settings.hostname;
        if verb == Verb::Helo {
            replies.push_parts(250, true, &[hostname]);
            self.note_said(reply::HELLO);
            self.hello = Hello::Helo(name);
            return Handled::Replied;
        }
        let xclient = self.offers_xclient().then_some(xclient::KEYWORD);
        push_ehlo_reply(replies, hostname, self.offered(), &self.settings.limits, xclient);
        self.note_said(reply::HELLO);
        self.hello = Hello::Ehlo(name);
        Handled::Replied
    }
}

/// Appends the reply to EHLO: our name, and a line for each extension offered; last a keyword of our own.
fn push_ehlo_reply(
    replies: &mut ReplyBuffer,
    hostname: &str,
    offered: ExtensionSet,
    limits: &Limits,
    besides: Option<&str>,
) {
    let mut lines = KEYWORDS.iter().filter(|(extension, _)| offered.offers(*extension)).peekable();
    replies.push_parts(250, lines.peek().is_none() && besides.is_none(), &[hostname]);
    while let Some((extension, keyword)) = lines.next() {
        let last = lines.peek().is_none() && besides.is_none();
        match extension {
            Extension::Size => {
                replies.push_parts(250, last, &[keyword, " ", &limits.message_size_max.to_string()]);
            }
            // RFC 9422 §4: what is enforced and nothing else. Messages of a session are not limited.
            Extension::Limits => {
                replies.push_parts(250, last, &[keyword, " RCPTMAX=", &limits.recipients_max.to_string()]);
            }
            Extension::Pipelining
            | Extension::EightBitMime
            | Extension::EnhancedStatusCodes
            | Extension::SmtpUtf8
            | Extension::Chunking
            | Extension::BinaryMime
            | Extension::Dsn
            | Extension::StartTls
            | Extension::RequireTls
            | Extension::Help => replies.push_parts(250, last, &[keyword]),
        }
    }
    if let Some(keyword) = besides {
        replies.push_parts(250, true, &[keyword]);
    }
}
