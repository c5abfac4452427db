//! What the connections of a listener are checked by.

use std::sync::Arc;
use std::time::Instant;

use crate::auth::rules::AuthRules;
use crate::auth::verdict;
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
    /// How messages are checked; none where they are not.
    pub auth: Option<Authentication>,
}

/// How messages are checked.
#[derive(Debug)]
pub struct Authentication {
    /// Those of clients that are checked.
    pub rules: AuthRules,
    /// Those of others.
    pub for_trusted: AuthRules,
}

impl Authentication {
    /// By these rules.
    pub fn new(rules: AuthRules) -> Self {
        Self { for_trusted: rules.for_trusted(), rules }
    }
}

/// Nothing is checked.
impl Default for FrontLine {
    fn default() -> Self {
        Self {
            checks: Arc::new(Checks::new(CheckRules::default(), Instant::now())),
            greylist: None,
            auth: None,
        }
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
        Refusal::SpfFail => Denial::SPF_FAIL,
        Refusal::SpfError => Denial::SPF_ERROR,
        Refusal::SpfUnknown => Denial::SPF_UNKNOWN,
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
        | Refusal::SpfFail
        | Refusal::SpfError
        | Refusal::SpfUnknown
        | Refusal::Greylisted => denial(refusal),
    }
}

/// What the end of a message is told that is refused by what was found of it.
pub fn denial_of_message(refusal: verdict::Refusal) -> Denial {
    match refusal {
        verdict::Refusal::From => Denial::BAD_FROM,
        verdict::Refusal::Dmarc => Denial::BY_DMARC,
        verdict::Refusal::Temporary => Denial::DMARC_UNKNOWN,
    }
}

/// What a list's change means to the operator.
pub(super) fn news_text(news: &News) -> String {
    match &news.fault {
        Some(fault) => format!("{fault}; it counts nothing until its test entries are right"),
        None => "it answers as it should again".to_owned(),
    }
}
