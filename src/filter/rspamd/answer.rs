//! What the body of a response says of a message.
//!
//! The actions mean what they mean to a milter client of rspamd (`rspamd_milter_send_task_results` of its
//! `src/libserver/milter.c`), but that no octet of a message is changed: nothing is removed, and no subject
//! is rewritten.

use std::fmt;

use serde_json::{Map, Value};

use super::super::field::Fields;
use super::super::ruling::{Action, Ruling};
use super::fields::{add, add_all};
use crate::mail::foreign_reply::ForeignReply;
use crate::mail::harmless_line::harmless_line;

/// Names of symbols that are told.
const SYMBOLS_MAX: usize = 32;

/// Octets of such a name.
const SYMBOL_BYTES_MAX: usize = 64;

/// Octets that are told of what is wrong.
const WRONG_BYTES_MAX: usize = 200;

/// No score is beyond this, so its text is short.
const SCORE_MAX: f64 = 1e6;

/// What rspamd's milter says where the answer has no text.
const REJECTED: &str = "Spam message rejected";
const REJECTED_SOFTLY: &str = "Try again later";

/// Why an answer says nothing of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// It is not JSON, or no object.
    NoJson(String),
    /// rspamd could not look at the message, in its words: printable ASCII.
    Failed(String),
    /// It names no action.
    NoAction,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJson(why) => write!(f, "its answer is no JSON object: {why}"),
            Self::Failed(why) => write!(f, "it could not look at the message: {why}"),
            Self::NoAction => f.write_str("its answer names no action"),
        }
    }
}

/// What an answer says.
///
/// An action that rspamd does not have by itself is one of its configuration, and passes: what it means is
/// up to whoever made it, who can have fields added with it.
pub fn ruling(body: &[u8]) -> Result<Ruling, Unanswered> {
    // What somebody wrote into a message may be quoted in any octets.
    let text = String::from_utf8_lossy(body);
    let answer: Value =
        serde_json::from_str(&text).map_err(|error| Unanswered::NoJson(printable(&error.to_string())))?;
    let Value::Object(answer) = answer else {
        return Err(Unanswered::NoJson("it is another value".to_owned()));
    };
    let Some(action) = text_of(&answer, "action").filter(|action| !action.trim().is_empty()) else {
        let error = text_of(&answer, "error");
        return Err(error.map_or(Unanswered::NoAction, |why| Unanswered::Failed(printable(why))));
    };
    let milter = answer.get("milter").and_then(Value::as_object);
    let message = answer.get("messages").and_then(Value::as_object);
    let message = message.and_then(|messages| text_of(messages, "smtp_message"));
    let only_noted = milter.and_then(|milter| milter.get("no_action")).and_then(Value::as_bool);
    let mut fields = Fields::default();
    // What matters most comes first: there is room for it.
    let action = if only_noted == Some(true) {
        add("X-Rspamd-Action", action, &mut fields);
        Action::Pass
    } else {
        action_of(action, message, milter)
    };
    if action == Action::Mark {
        mark(&mut fields, milter);
    }
    if let Some(given) = milter.and_then(|milter| milter.get("add_headers")).and_then(Value::as_object) {
        add_all(given, &mut fields);
    }
    let goes_on = matches!(action, Action::Pass | Action::Mark | Action::Greylist);
    let fields = if goes_on { fields.take() } else { Vec::new() };
    Ok(Ruling { action, fields, score: score(&answer), symbols: symbols(&answer) })
}

/// The action of this name. It may be written with any separator.
fn action_of(name: &str, message: Option<&str>, milter: Option<&Map<String, Value>>) -> Action {
    let words = |default: &'static str| {
        let text = message.unwrap_or_default();
        if text.trim().is_empty() { default.as_bytes() } else { text.as_bytes() }
    };
    match &*name.to_ascii_lowercase().replace(['_', '-'], " ") {
        "reject" => match milter.and_then(|milter| text_of(milter, "reject")) {
            Some("discard") => Action::Discard,
            // There is no place for what is held back, so it goes on with a mark.
            Some("quarantine") => Action::Mark,
            Some(_) | None => Action::Refuse(ForeignReply::refused(words(REJECTED))),
        },
        "soft reject" => Action::Refuse(ForeignReply::put_off(words(REJECTED_SOFTLY))),
        "greylist" => Action::Greylist,
        "add header" | "rewrite subject" | "quarantine" => Action::Mark,
        "discard" => Action::Discard,
        _ => Action::Pass,
    }
}

/// The fields of a message that is suspicious: those of `spam_header`, or `X-Spam: Yes`, which rspamd's
/// milter has where nothing else is configured. Whatever is configured, there is one.
fn mark(fields: &mut Fields, milter: Option<&Map<String, Value>>) {
    match milter.and_then(|milter| milter.get("spam_header")) {
        Some(Value::Object(given)) => add_all(given, fields),
        Some(Value::String(value)) if !value.trim().is_empty() => add("X-Spam", value, fields),
        Some(_) | None => {}
    }
    if fields.is_empty() {
        add("X-Spam", "Yes", fields);
    }
}

/// The score and what is needed for `reject`, as in `12.30/15.00`.
fn score(answer: &Map<String, Value>) -> String {
    let number = |key: &str| answer.get(key).and_then(Value::as_f64).filter(|score| score.abs() < SCORE_MAX);
    match (number("score"), number("required_score")) {
        (Some(score), Some(required)) => format!("{score:.2}/{required:.2}"),
        (Some(score), None) => format!("{score:.2}"),
        (None, _) => String::new(),
    }
}

/// The weightiest first, whether they speak for or against the message.
fn symbols(answer: &Map<String, Value>) -> Vec<String> {
    let Some(all) = answer.get("symbols").and_then(Value::as_object) else { return Vec::new() };
    let is_told = |name: &str| {
        (1..=SYMBOL_BYTES_MAX).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic())
    };
    let weight = |symbol: &Value| symbol.get("score").and_then(Value::as_f64).unwrap_or_default().abs();
    let named = all.iter().filter(|(name, _)| is_told(name));
    let mut weighed: Vec<(f64, &String)> = named.map(|(name, symbol)| (weight(symbol), name)).collect();
    weighed
        .sort_by(|(one, name), (other, other_name)| other.total_cmp(one).then_with(|| name.cmp(other_name)));
    weighed.into_iter().take(SYMBOLS_MAX).map(|(_, name)| name.clone()).collect()
}

fn text_of<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn printable(text: &str) -> String {
    harmless_line(text.as_bytes(), WRONG_BYTES_MAX)
}

#[cfg(test)]
mod tests;
