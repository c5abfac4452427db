//! What holds for every response: claims that the fuzz target (`tests/fuzz`) and the property tests share.

use super::{BODY_BYTES_MAX, ResponseError, ResponseReader, ruling};
use crate::filter::milter::fuzzing::naive_fields;
use crate::filter::{Action, FIELDS_BYTES_MAX};

/// Octets of the text of an error.
const ERROR_BYTES_MAX: usize = 400;

/// A response. Octet 0 has the settings (1: what follows is the body alone), octet 1 the size of the pieces
/// (0: any). How it is split changes nothing; a body is no longer than what came, and a connection is kept
/// only where a naive reader sees its end; whatever it says becomes whole header fields, one line of a reply,
/// and names.
pub fn check_rspamd(input: &[u8]) {
    let Some(([bits, size], octets)) = input.split_first_chunk::<2>() else { return };
    if bits & 1 != 0 {
        return check_ruling(octets);
    }
    let size = if *size == 0 { usize::MAX } else { usize::from(*size) };
    let whole = read(octets, usize::MAX);
    assert_eq!(whole, read(octets, size), "pieces change nothing");
    assert_eq!(whole, read(octets, 1), "octets change nothing");
    match whole {
        Ok((body, keeps)) => {
            assert!(body.len() <= octets.len().min(BODY_BYTES_MAX));
            assert!(has(octets, b"HTTP/1.") && has(octets, b" 200"), "it says that all is well");
            assert!(!keeps || naive_end(octets, &body), "nothing came after the end");
            check_ruling(&body);
        }
        Err(why) => check_text(&why.to_string()),
    }
}

/// What is read of it in pieces of this size, until the connection is closed.
fn read(octets: &[u8], size: usize) -> Result<(Vec<u8>, bool), ResponseError> {
    let mut reader = ResponseReader::default();
    let mut is_whole = false;
    for piece in octets.chunks(size) {
        let now = reader.feed(piece)?;
        assert!(now || !is_whole, "what is whole stays whole");
        is_whole = now;
    }
    assert!(is_whole || !reader.is_reusable());
    let keeps = reader.is_reusable();
    reader.close()?;
    Ok((reader.body().to_vec(), keeps))
}

fn has(octets: &[u8], wanted: &[u8]) -> bool {
    octets.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether octets end where a response with this body may end: with the body, or with the last chunk.
fn naive_end(octets: &[u8], body: &[u8]) -> bool {
    let chunked = octets.to_ascii_lowercase();
    if has(&chunked, b"chunked") && octets.ends_with(b"\r\n") {
        return true;
    }
    octets.ends_with(body) && (!body.is_empty() || octets.ends_with(b"\n"))
}

fn check_ruling(body: &[u8]) {
    let ruling = match ruling(body) {
        Ok(ruling) => ruling,
        Err(why) => return check_text(&why.to_string()),
    };
    assert!(ruling.fields.len() <= FIELDS_BYTES_MAX && ruling.fields.is_ascii());
    let fields = naive_fields(&ruling.fields);
    assert!(fields <= 64);
    assert!(ruling.score.len() <= 32 && ruling.score.bytes().all(|octet| octet.is_ascii_graphic()));
    assert!(ruling.symbols.len() <= 32);
    let is_name = |name: &String| name.len() <= 64 && name.bytes().all(|octet| octet.is_ascii_graphic());
    assert!(ruling.symbols.iter().all(is_name));
    match &ruling.action {
        Action::Pass | Action::Greylist => {}
        Action::Mark => assert!(fields > 0, "whoever reads it can see that"),
        Action::Discard => assert_eq!(fields, 0),
        Action::Refuse(reply) => {
            assert_eq!(fields, 0);
            let text = reply.to_string();
            assert!(text.starts_with("550 5.7.1 ") || text.starts_with("451 4.7.1 "), "{text}");
            assert!(text.bytes().all(|octet| matches!(octet, b' '..=b'~')), "one line of printable ASCII");
        }
    }
}

fn check_text(text: &str) {
    assert!(
        text.len() <= ERROR_BYTES_MAX && text.bytes().all(|octet| matches!(octet, b' '..=b'~')),
        "{text:?}"
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Octets that a response may have, and some that none has.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        const KNOWN: [&str; 11] = [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "Content-Length: 22\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n",
            "\r\n",
            "0\r\n\r\n",
            "16\r\n",
            "{\"action\":\"no action\"}",
            "\n",
        ];
        prop_oneof![
            8 => prop::sample::select(&KNOWN[..]).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    /// A value as `add_headers` may have it.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let text = "[a-zA-Z:\\r\\n\\t \u{e4}\0]{0,30}";
        prop_oneof![
            text.prop_map(serde_json::Value::from),
            (text, any::<i8>())
                .prop_map(|(value, order)| serde_json::json!({ "value": value, "order": order })),
            prop::collection::vec(text, 0..5).prop_map(serde_json::Value::from),
        ]
    }

    /// A value as `spam_header` may have it.
    fn mark() -> impl Strategy<Value = serde_json::Value> {
        let named = ("[A-Za-z: ]{0,6}", value()).prop_map(|(name, value)| serde_json::json!({ name: value }));
        prop_oneof![value(), named]
    }

    proptest! {
        #[test]
        fn what_is_claimed_holds_for_any_response(parts in prop::collection::vec(part(), 0..12), size in 0_u8..40) {
            check_rspamd(&[&[0, size][..], &parts.concat()].concat());
        }

        #[test]
        fn what_is_claimed_holds_for_any_answer(
            action in "(no action|add header|rewrite_subject|soft reject|reject|greylist|discard|quarantine|other)",
            text in prop::option::of("[a-z\\r\\n\u{e4}]{0,40}"),
            name in "[A-Za-z: \\r\\n-]{0,12}",
            value in value(),
            header in mark(),
            // Around as many as are taken.
            more in prop_oneof![4 => Just(0_usize), 1 => 62..70_usize],
        ) {
            let more: Vec<String> = (0..more).map(|number| number.to_string()).collect();
            let answer = serde_json::json!({
                "action": action,
                "score": 1.5,
                "symbols": { "A": { "score": -3 }, &name: {} },
                "messages": { "smtp_message": text },
                "milter": { "add_headers": { "X-More": more, name: value }, "spam_header": header },
            });
            check_rspamd(&[&[1, 0][..], answer.to_string().as_bytes()].concat());
        }
    }
}
