//! The EHLO reply: what a listener offers (RFC 5321 §4.1.1.1).

use super::reply::ReplyBuffer;
use crate::config::Limits;
use crate::config::extension::KEYWORDS;
pub use crate::config::extension::{Extension, ExtensionSet};

/// Appends the reply to EHLO: our name, and a line for each extension offered; last a keyword of our own.
pub(super) fn push_ehlo_reply(
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
