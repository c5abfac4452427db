//! What the stream says of a message that was published.

use serde_json::Value;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A quorum has it, under this number of the stream; it may have had it before.
    Stored(u64),
    /// There is no room for it: bounds of the stream or of the account are reached, or a disk is full.
    Full(String),
    /// It is larger than this stream takes.
    TooLarge(String),
    /// The stream is not as it has to be: it is gone, or another one has the subject.
    Unfit(String),
    /// Nothing is known of it, or what stands in its way passes.
    Unknown(String),
}

/// Codes of JetStream's errors (`err_code`, `server/errors.json` of nats-server).
mod code {
    pub(super) const ACCOUNT_RESOURCES: u64 = 10002;
    pub(super) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(super) const MEMORY_RESOURCES: u64 = 10028;
    pub(super) const NO_ACCOUNT: u64 = 10035;
    pub(super) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub(super) const STORAGE_RESOURCES: u64 = 10047;
    pub(super) const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10054;
    pub(super) const STREAM_NOT_FOUND: u64 = 10059;
    pub(super) const STREAM_NOT_MATCH: u64 = 10060;
    pub(super) const NOT_ENABLED: u64 = 10076;
    pub(super) const STORE_FAILED: u64 = 10077;
    pub(super) const HEADER_EXCEEDS_MAXIMUM: u64 = 10097;
    pub(super) const SEALED: u64 = 10109;
}

/// An error of JetStream, by code and description; none where the answer is no error.
pub(super) fn error_of(answer: &Value) -> Option<(u64, String)> {
    let error = answer.get("error").filter(|error| !error.is_null())?;
    let code = error.get("err_code").and_then(Value::as_u64).unwrap_or(0);
    let text = error.get("description").and_then(Value::as_str).unwrap_or("an error without a description");
    Some((code, text.to_owned()))
}

impl Answer {
    /// What it says.
    pub(super) fn why(self) -> String {
        match self {
            Self::Stored(sequence) => format!("stored as {sequence}"),
            Self::Full(why) | Self::TooLarge(why) | Self::Unfit(why) | Self::Unknown(why) => why,
        }
    }

    /// Reads what came for a message that was published to this stream. Only what names the stream, and a
    /// number in it, says that it is there.
    pub(super) fn read(payload: &[u8], stream: &str) -> Self {
        let Ok(answer) = serde_json::from_slice::<Value>(payload) else {
            return Self::Unknown("an answer that is no JSON".to_owned());
        };
        if let Some((code, text)) = error_of(&answer) {
            return Self::of_error(code, text);
        }
        let named = answer.get("stream").and_then(Value::as_str);
        let sequence = answer.get("seq").and_then(Value::as_u64).unwrap_or(0);
        match named {
            Some(named) if named == stream && sequence > 0 => Self::Stored(sequence),
            Some(named) if named != stream => {
                Self::Unfit(format!("the stream {named} has taken it instead of {stream}"))
            }
            Some(_) | None => Self::Unknown("an acknowledgement that names no message".to_owned()),
        }
    }

    fn of_error(code: u64, text: String) -> Self {
        match code {
            code::ACCOUNT_RESOURCES
            | code::INSUFFICIENT_RESOURCES
            | code::MEMORY_RESOURCES
            | code::STORAGE_RESOURCES => Self::Full(text),
            // One code for bounds of the stream that are reached, and for a disk that fails.
            code::STORE_FAILED if text.contains("maximum") || text.contains("no space") => Self::Full(text),
            code::MESSAGE_EXCEEDS_MAXIMUM | code::HEADER_EXCEEDS_MAXIMUM => Self::TooLarge(text),
            code::NO_ACCOUNT
            | code::NOT_ENABLED_FOR_ACCOUNT
            | code::STREAM_NOT_FOUND
            | code::STREAM_NOT_MATCH
            | code::NOT_ENABLED
            | code::SEALED => Self::Unfit(text),
            // Also a message with this id that is on its way (10158), and whatever nobody knows yet.
            _ => Self::Unknown(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Answer {
        Answer::read(text.as_bytes(), "MAIL")
    }

    fn error(code: u64, description: &str) -> Answer {
        read(&format!(
            r#"{{"type":"x","error":{{"code":503,"err_code":{code},"description":"{description}"}},"stream":"MAIL","seq":0}}"#
        ))
    }

    #[test]
    fn only_what_names_our_stream_and_a_message_of_it_is_an_acknowledgement() {
        assert_eq!(read(r#"{"stream":"MAIL","seq":7}"#), Answer::Stored(7));
        assert_eq!(read(r#"{"stream":"MAIL","domain":"d","seq":7,"duplicate":true}"#), Answer::Stored(7));
        assert!(matches!(read(r#"{"stream":"OTHER","seq":7}"#), Answer::Unfit(_)));
        for odd in [
            "",
            "+OK",
            "{}",
            "[]",
            "7",
            r#"{"stream":"MAIL"}"#,
            r#"{"stream":"MAIL","seq":0}"#,
            r#"{"stream":"MAIL","seq":-1}"#,
            r#"{"stream":"MAIL","seq":"7"}"#,
            r#"{"seq":7}"#,
            r#"{"stream":7,"seq":7}"#,
            r#"{"stream":"MAIL","seq":7"#,
            r#"{"stream":"MAIL","seq":7,"error":{}}"#,
        ] {
            assert!(matches!(read(odd), Answer::Unknown(_)), "{odd}");
        }
    }

    #[test]
    fn errors_are_told_apart_by_their_codes_and_what_is_not_known_is_no_refusal() {
        assert_eq!(error(10077, "maximum bytes exceeded"), Answer::Full("maximum bytes exceeded".to_owned()));
        assert!(matches!(error(10077, "maximum messages exceeded"), Answer::Full(_)));
        assert!(matches!(error(10077, "write error"), Answer::Unknown(_)));
        for full in [10002, 10023, 10028, 10047] {
            assert!(matches!(error(full, "x"), Answer::Full(_)), "{full}");
        }
        for unfit in [10035, 10039, 10059, 10060, 10076, 10109] {
            assert!(matches!(error(unfit, "x"), Answer::Unfit(_)), "{unfit}");
        }
        assert!(matches!(error(10054, "x"), Answer::TooLarge(_)));
        for unknown in [0, 10008, 10009, 10158, 99999] {
            assert!(matches!(error(unknown, "x"), Answer::Unknown(_)), "{unknown}");
        }
    }
}
