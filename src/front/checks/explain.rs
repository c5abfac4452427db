//! What each check says by itself, in words: for an operator who asks why.

use std::time::Instant;

use super::{
    Checks, Greylisting, News, ReverseDns, SenderDomain, Subject, origin, reverse_dns, sender_domain,
};
use super::{Origin, Refusal, Ruling};
use crate::dns::Asking;
use crate::front::score::{Meaning, Score};

/// A check, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The check, or the public name of a list.
    pub check: String,
    /// What it says.
    pub text: String,
}

impl Checks {
    /// What each check says of a transaction, in their order. None as long as an answer is missing.
    pub fn explain(
        &self,
        subject: &Subject<'_>,
        asking: &mut Asking<'_>,
        now: Instant,
        news: &mut Vec<News>,
    ) -> Option<Vec<Explained>> {
        let mut explained = Vec::new();
        let mut say = |check: &str, text: String| explained.push(Explained { check: check.to_owned(), text });
        if !self.access.is_empty() {
            say("access", self.explain_access(subject));
        }
        let mut score = Some(Score::default());
        for list in &self.lists {
            let listed = list.look(subject.asked_as, asking, now, news);
            let weight = list.list().weight;
            let text = match (list.is_off(), listed) {
                (true, _) => "does not answer its test entries as it should, so it counts nothing".to_owned(),
                (false, Some(true)) => format!("lists the client, weight {weight}"),
                (false, Some(false)) => "does not list the client".to_owned(),
                (false, None) => String::new(),
            };
            match (listed, &mut score) {
                (Some(true), Some(score)) => score.add(&list.list().name, weight),
                (None, _) => score = None,
                (Some(_), _) => {}
            }
            say(&list.list().name, text);
        }
        let name = self.uses_reverse_names().then(|| reverse_dns::look(subject.client, asking));
        let domain = self.sender_domain(subject).map(|domain| sender_domain::look(&domain, asking));
        let score = score?;
        if !self.lists.is_empty() {
            say("score", self.explain_score(&score));
        }
        if let Some(name) = name {
            let text = match name? {
                ReverseDns::Confirmed(name) => format!("{name}, which leads back to the client"),
                ReverseDns::None => "the client has no name that leads back to it".to_owned(),
                ReverseDns::Failed => "could not be found out".to_owned(),
            };
            say("reverse DNS", text);
        }
        if let Some(domain) = domain {
            let text = match domain? {
                SenderDomain::Fine => "nothing speaks against it",
                SenderDomain::Unknown => "does not exist",
                SenderDomain::TakesNoMail => "takes no mail (null MX)",
                SenderDomain::Failed => "could not be found out",
            };
            say("sender's domain", text.to_owned());
        }
        if self.rules.greylisting != Greylisting::Off {
            let text = if self.greylists(subject, &score) {
                let under = match origin(subject, asking)? {
                    Origin::Domain(domain) => {
                        format!("{} (SPF passes)", String::from_utf8_lossy(&domain))
                    }
                    Origin::Client(_) => "its network".to_owned(),
                };
                let warns = if self.rules.greylist_warns { " (only a warning)" } else { "" };
                let when = if subject.reverse_path.is_empty() { " after the mail data" } else { "" };
                format!("asked to come back the first time{when}{warns}, under {under}")
            } else {
                "does not apply".to_owned()
            };
            say("greylisting", text);
        }
        Some(explained)
    }

    fn explain_access(&self, subject: &Subject<'_>) -> String {
        let mut ruling = Ruling::default();
        let decides = self.judge_access(subject, &mut ruling);
        let words = |refusal: &Refusal| match refusal {
            Refusal::Rule(Some(place)) => self.words().get(*place).map(|text| format!(": {text}")),
            Refusal::Rule(None)
            | Refusal::Listed(_)
            | Refusal::NoReverseName
            | Refusal::ReverseNameUnknown
            | Refusal::NoSenderDomain
            | Refusal::SenderTakesNoMail
            | Refusal::SpfFail
            | Refusal::SpfError
            | Refusal::SpfUnknown
            | Refusal::Greylisted => None,
        };
        let warned = if ruling.warnings.is_empty() {
            String::new()
        } else {
            format!("; {} rules that only warn match", ruling.warnings.len())
        };
        let text = match (&ruling.refusal, decides) {
            (Some(refusal), _) => format!("a rule refuses{}", words(refusal).unwrap_or_default()),
            (None, true) => "a rule trusts: no limits and no checks".to_owned(),
            (None, false) => "no rule matches".to_owned(),
        };
        text + &warned
    }

    fn explain_score(&self, score: &Score) -> String {
        let thresholds = self.rules.thresholds;
        let from = |what: &str, threshold: Option<i32>| match threshold {
            Some(threshold) => format!(", {what} from {threshold} on"),
            None => String::new(),
        };
        let meaning = match score.meaning(thresholds) {
            Meaning::Fine => "fine",
            Meaning::Refuse => "recipients are refused",
            Meaning::Drop => "not greeted",
        };
        let warns = if self.rules.score_warns { " (only a warning)" } else { "" };
        format!(
            "{}: {meaning}{warns}{}{}",
            score.total(),
            from("refused", thresholds.refuse),
            from("dropped", thresholds.drop)
        )
    }
}
