//! What the connections of a listener are checked by.

use std::sync::Arc;
use std::time::Instant;

use crate::front::checks::{CheckRules, Checks, News, Refusal};
use crate::front::greylist::Greylist;
use crate::smtp::denial::{Denial, Words};

/// The checks, and the tables that they look into. Each shard has its own for each listener, so that shards
/// share no count while clients come and go.
#[derive(Debug)]
pub struct FrontLine {
    /// What is checked.
    pub checks: Arc<Checks>,
    /// Who came before; none where nobody is greylisted.
    pub greylist: Option<Arc<Greylist>>,
}

/// Nothing is checked.
impl Default for FrontLine {
    fn default() -> Self {
        Self { checks: Arc::new(Checks::new(CheckRules::default(), Instant::now())), greylist: None }
    }
}

/// What a refused recipient is told.
pub fn denial(refusal: Refusal) -> Denial {
    match refusal {
        Refusal::Rule(place) => Denial::BY_RULE.in_words(place.and_then(Words::number)),
        Refusal::Listed(place) => Denial::LISTED.in_words(place.and_then(Words::number)),
        Refusal::NoReverseName => Denial::NO_REVERSE_NAME,
        Refusal::ReverseNameUnknown => Denial::REVERSE_NAME_UNKNOWN,
        Refusal::NoSenderDomain => Denial::NO_SENDER_DOMAIN,
        Refusal::SenderTakesNoMail => Denial::SENDER_TAKES_NO_MAIL,
        Refusal::Greylisted => Denial::GREYLISTED,
    }
}

/// What a client is told that is not greeted.
pub fn denial_of_client(refusal: Refusal) -> Denial {
    match refusal {
        Refusal::Rule(place) => Denial::CLIENT.in_words(place.and_then(Words::number)),
        Refusal::Listed(place) => Denial::LISTED_CLIENT.in_words(place.and_then(Words::number)),
        Refusal::NoReverseName
        | Refusal::ReverseNameUnknown
        | Refusal::NoSenderDomain
        | Refusal::SenderTakesNoMail
        | Refusal::Greylisted => denial(refusal),
    }
}

/// What a list's change means to the operator.
pub(super) fn news_text(news: &News) -> String {
    match &news.fault {
        Some(fault) => format!("{fault}; it counts nothing until its test entries are right"),
        None => "it answers as it should again".to_owned(),
    }
}
