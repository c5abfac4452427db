//! One line of the log for each message that was checked, with all that a report to its author's domain has
//! to tell (RFC 9990). ringmx sends no reports; who does needs only the log.

use crate::auth::author::Author;
use crate::auth::dmarc::Published;
use crate::auth::message::Found;
use crate::auth::sender::domain_of;
use crate::auth::verdict::{Because, Verdict};
use crate::handoff::message::Message;
use crate::log::{Record, events};
use crate::mail::session_id::SessionId;
use crate::shard::context::Context;
use crate::smtp::session::Session;

impl<R> Context<R> {
    /// Tells what was found of a message, and what becomes of it.
    pub(super) fn log_verdict(
        &mut self,
        session: &Session,
        (name, message): (SessionId, &Message),
        found: &Found,
        verdict: Verdict,
    ) {
        if !self.lines.has_messages() {
            return;
        }
        let record = self.log.record(&events::AUTHENTICATED, self.turn.wall_clock);
        let record = record.plain("session", name).plain("id", message.id).plain("client", session.client());
        let author = found.author.as_ref();
        let domains = author.map_or(&[][..], |author| &author.domains);
        let record = record.texts("author", domains.iter().map(crate::dns::Name::octets));
        let record = match author.and_then(|author| author.problem) {
            Some(problem) => record.text("author_problem", problem.to_string().as_bytes()),
            None => record,
        };
        let record = tell_spf(record, session, message, found);
        let record = match &found.dkim {
            Some(signatures) => {
                let mut told: Vec<String> = signatures.iter().map(ToString::to_string).collect();
                if told.is_empty() {
                    told.push("none".to_owned());
                }
                record.texts("dkim", told.iter().map(String::as_bytes))
            }
            None => record,
        };
        let record = tell_dmarc(record, found, author);
        let record = record.plain("applied", verdict.applied.word());
        match verdict.because.map(Because::word) {
            Some(because) => record.plain("because", because).end(),
            None => record.end(),
        }
    }
}

fn tell_spf<'a>(record: Record<'a>, session: &Session, message: &Message, found: &Found) -> Record<'a> {
    let record = match &found.spf_path {
        Some(outcome) => record
            .plain("spf", outcome.result.word())
            .text("spf_domain", domain_of(message.envelope.reverse_path())),
        None => record,
    };
    match &found.spf_helo {
        Some(outcome) => record.plain("spf_helo", outcome.result.word()).text("ehlo", session.ehlo_name()),
        None => record,
    }
}

fn tell_dmarc<'a>(record: Record<'a>, found: &Found, author: Option<&Author>) -> Record<'a> {
    let record = match found.dmarc_word() {
        Some(result) => record.plain("dmarc", result),
        None => record,
    };
    let Some(outcome) = found.dmarc.as_ref().filter(|_| author.is_some()) else { return record };
    let aligned = outcome.aligned.iter().map(|aligned| aligned.word().as_bytes());
    let record = if outcome.aligned.is_empty() { record } else { record.texts("aligned", aligned) };
    let record = match &outcome.policy_domain {
        Some(domain) => record.text("policy_domain", domain.octets()),
        None => record,
    };
    let Some(Published { policy, subdomains, missing_subdomains }) = outcome.published else { return record };
    let record = record.plain("p", policy.word());
    let record = match subdomains {
        Some(policy) => record.plain("sp", policy.word()),
        None => record,
    };
    let record = match missing_subdomains {
        Some(policy) => record.plain("np", policy.word()),
        None => record,
    };
    record.boolean("tests", outcome.is_test)
}
