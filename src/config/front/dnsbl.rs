//! `[[dnsbl]]` and `[score]`: lists of clients in the DNS, and what their weights come to.

use super::super::document::Fallback;
use super::super::section::Section;
use crate::dns::Name;
use crate::front::dnsbl::{AnswerRange, Families, List};
use crate::front::score::Thresholds;

/// Weights and thresholds are at most this.
const WEIGHT_MAX: u32 = 1000;

/// Lists that are asked for one client.
const LISTS_MAX: usize = 32;

/// Reads the lists.
pub(super) fn read_lists(root: &mut Section<'_>) -> Vec<List> {
    let sections = root.tables(
        "dnsbl",
        "A list of clients in the DNS (RFC 5782), of bad ones or, with a negative weight, of good ones. It is asked when a client connects.",
    );
    let mut lists = Vec::new();
    for mut section in sections {
        if lists.len() == LISTS_MAX {
            section.problem("zone", format!("more than {LISTS_MAX} lists are asked for no client"));
        }
        lists.extend(read_list(section));
    }
    lists
}

fn read_list(mut section: Section<'_>) -> Option<List> {
    section.reloads_but(&[]);
    let zone = section.text(
        "zone",
        "domain name",
        Fallback::Required { example: "\"zen.spamhaus.org\"" },
        "Where the list is asked.",
        |text| {
            Name::new(text.as_bytes())
                .filter(|_| text.is_ascii())
                .ok_or_else(|| format!("{text:?} is no domain name"))
        },
    );
    let answers = section.texts(
        "answers",
        "ranges such as \"127.0.0.2-11\" or \"127.0.0-255.1-3\"",
        Fallback::Value("[\"127.0.0.2-127.0.0.254\"]".to_owned()),
        "Which answers count.",
        AnswerRange::parse,
    );
    let bound = i32::try_from(WEIGHT_MAX).unwrap_or(i32::MAX);
    let weight = section.signed(
        "weight",
        1,
        -bound..=bound,
        "What a listing adds to the score; negative for a list of good clients.",
    );
    let zone_text = zone.as_ref().map(Name::to_string).unwrap_or_default();
    let name = section.text(
        "name",
        "printable ASCII of at most 60 octets",
        Fallback::Computed { example: "\"Spamhaus ZEN\"", default: "the zone" },
        "What replies and logs show. Name it where the zone holds a key of yours.",
        |text| {
            let fits =
                (1..=60).contains(&text.len()) && text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
            if fits {
                Ok(text.to_owned())
            } else {
                Err("a name has 1 to 60 octets of printable ASCII".to_owned())
            }
        },
    );
    let families = section.choice(
        "families",
        &[("both", Families::Both), ("ipv4", Families::V4), ("ipv6", Families::V6)],
        "Which clients the list knows.",
    );
    section.finish();
    Some(List {
        zone: zone?,
        answers: answers.map_or_else(
            || vec![AnswerRange::DEFAULT],
            |answers| answers.into_iter().map(|(_, range)| range).collect(),
        ),
        weight,
        name: name.unwrap_or(zone_text).into(),
        families,
    })
}

/// The score of a client that is on every list that knows it and speaks against it.
pub(super) fn worst_score(lists: &[List]) -> i32 {
    let sum = |other: Families| {
        let known = lists.iter().filter(|list| list.families != other);
        known.map(|list| list.weight.max(0)).sum::<i32>()
    };
    sum(Families::V4).max(sum(Families::V6))
}

/// What a score means.
pub(super) struct Score {
    pub(super) thresholds: Thresholds,
    /// It refuses nobody.
    pub(super) warns: bool,
}

/// Reads what a score means.
pub(super) fn read_score(root: &mut Section<'_>, lists: &[List]) -> Score {
    let mut section = root.table("score", "What the weights of a client's listings come to.");
    section.reloads_but(&[]);
    let mut threshold = |key, example, doc| {
        let default = Fallback::Computed { example, default: "never" };
        let value: Option<u32> = section.optional_integer(key, 1..=WEIGHT_MAX, default, doc);
        value.and_then(|value| i32::try_from(value).ok())
    };
    let refuse = threshold("refuse", "3", "From here on recipients are refused: `550 5.7.1`.");
    let drop = threshold("drop", "8", "From here on there is no greeting: `554`.");
    if let (Some(refuse), Some(drop)) = (refuse, drop)
        && drop < refuse
    {
        section.problem(
            "drop",
            format!("{drop} is less than `refuse`, {refuse}: recipients would never be asked for"),
        );
    }
    let warns = section.choice(
        "action",
        &[("refuse", false), ("warn", true)],
        "`warn`: nobody is refused, and the log says who would be.",
    );
    let most = worst_score(lists);
    if lists.is_empty() && (refuse.is_some() || drop.is_some()) {
        section.warn(
            "refuse",
            "no [[dnsbl]] is given, so every score is 0 and nobody is refused by it".to_owned(),
        );
    } else {
        for (key, threshold) in [("refuse", refuse), ("drop", drop)] {
            if let Some(threshold) = threshold.filter(|threshold| *threshold > most) {
                let text = format!(
                    "{threshold} is never reached: a client that is on every list has a score of {most}; lower it, or raise weights"
                );
                section.warn(key, text);
            }
        }
    }
    section.finish();
    Score { thresholds: Thresholds { refuse, drop }, warns }
}
