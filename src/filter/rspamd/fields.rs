//! Header fields that rspamd gives (`add_headers` and `spam_header` of its `milter` block), made so that
//! each is one whole field in front of the mail data.

use serde_json::{Map, Value};

/// Fields that are taken of one answer.
const FIELDS_MAX: usize = 64;

/// Octets of all of them.
const FIELDS_BYTES_MAX: usize = 64 * 1024;

/// Octets of the name of a field. With its colon it fits a line (RFC 5322 §2.1.1).
const NAME_BYTES_MAX: usize = 100;

/// Octets of a line without its end. RFC 5322 §2.1.1 allows 998.
const LINE_BYTES_MAX: usize = 900;

/// Header fields in the order in which they stand.
#[derive(Debug, Default)]
pub(super) struct Fields {
    octets: Vec<u8>,
    count: usize,
}

impl Fields {
    /// The fields, each with its CRLF.
    pub(super) fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    /// Takes what `add_headers` gives: for each name a text, an object with a `value`, or a list of those.
    /// As in the milter protocol, one with an `order` stands before those that were there, one without after
    /// them: so a seal stands before what it seals.
    pub(super) fn take_all(&mut self, given: &Map<String, Value>) {
        for (name, value) in given {
            match value {
                Value::Array(values) => values.iter().for_each(|value| self.take(name, value)),
                value => self.take(name, value),
            }
        }
    }

    fn take(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.add(name, text, false),
            Value::Object(object) => {
                let order = object.get("order").or_else(|| object.get("index")).and_then(Value::as_i64);
                if let Some(text) = object.get("value").and_then(Value::as_str) {
                    self.add(name, text, order.is_some_and(|order| order >= 0));
                }
            }
            // rspamd's own milter takes nothing else.
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
        }
    }

    /// Adds one field. One whose name can be none, that cannot be folded, or that goes beyond the bounds is
    /// left out.
    pub(super) fn add(&mut self, name: &str, value: &str, is_first: bool) {
        let Some(field) = whole_field(name, value) else { return };
        if self.count == FIELDS_MAX || self.octets.len() + field.len() > FIELDS_BYTES_MAX {
            return;
        }
        self.count += 1;
        let place = if is_first { 0 } else { self.octets.len() };
        self.octets.splice(place..place, field);
    }
}

/// A header field with its CRLF.
///
/// Its value may be folded already, with any line ends; each line after the first one begins with white
/// space, and blank ones are left out, so that neither a field nor the mail data begins inside of it (RFC
/// 5322 §2.2.3). Controls and what is no ASCII become `?`: the message may go on to a server that takes no
/// other (RFC 6532).
fn whole_field(name: &str, value: &str) -> Option<Vec<u8>> {
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':');
    if !is_name {
        return None;
    }
    let mut field = name.as_bytes().to_vec();
    field.push(b':');
    let mut line_start = 0;
    for (index, line) in value.split(['\r', '\n']).filter(|line| !line.trim().is_empty()).enumerate() {
        if index > 0 {
            field.extend_from_slice(b"\r\n");
            line_start = field.len();
        }
        for (index, word) in line.split([' ', '\t']).filter(|word| !word.is_empty()).enumerate() {
            let bytes = word.chars().count() + 1;
            if bytes > LINE_BYTES_MAX {
                return None;
            }
            if field.len() - line_start + bytes > LINE_BYTES_MAX {
                field.extend_from_slice(b"\r\n");
                line_start = field.len();
            }
            field.push(if index == 0 && line_start > 0 { b'\t' } else { b' ' });
            field.extend(word.chars().map(harmless));
        }
    }
    field.extend_from_slice(b"\r\n");
    Some(field)
}

fn harmless(c: char) -> u8 {
    match u8::try_from(c) {
        Ok(octet) if octet.is_ascii_graphic() => octet,
        Ok(_) | Err(_) => b'?',
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(name: &str, value: &str) -> Option<String> {
        whole_field(name, value).map(|field| String::from_utf8(field).expect("ASCII"))
    }

    #[test]
    fn a_value_stays_inside_its_field() {
        for (value, expected) in [
            ("Yes", "X: Yes\r\n"),
            ("", "X:\r\n"),
            (" a  b\t", "X: a b\r\n"),
            ("a\r\n b\r\n\tc", "X: a\r\n\tb\r\n\tc\r\n"),
            ("a\n\tb", "X: a\r\n\tb\r\n"),
            ("a\r\nSubject: b", "X: a\r\n\tSubject: b\r\n"),
            ("a\r\n\r\nbody", "X: a\r\n\tbody\r\n"),
            ("a\r\n \t\r\nb", "X: a\r\n\tb\r\n"),
            ("\r\na\r\n", "X: a\r\n"),
            ("a\0b\u{7f}\u{85}\u{2028}\u{e4}", "X: a?b????\r\n"),
        ] {
            assert_eq!(field("X", value).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn lines_are_folded_where_they_are_too_long() {
        let words = format!("{} ", "x".repeat(99)).repeat(30);
        let folded = field("X", &words).expect("a field");
        assert!(folded.lines().all(|line| line.len() <= LINE_BYTES_MAX) && folded.lines().count() > 3);
        assert!(folded.lines().skip(1).all(|line| line.starts_with(' ')));
        assert_eq!(folded.matches('x').count(), 30 * 99);
        assert_eq!(field("X", &"x".repeat(LINE_BYTES_MAX)), None);
        assert!(field(&"X".repeat(NAME_BYTES_MAX), &"x".repeat(LINE_BYTES_MAX - 1)).is_some());
    }

    #[test]
    fn a_name_is_that_of_a_field_or_the_field_is_left_out() {
        for name in ["", "X:", "X Y", "X\r\nY", "\u{e4}", &"X".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(field(name, "v"), None, "{name:?}");
        }
    }

    fn taken(given: &Value) -> String {
        let mut fields = Fields::default();
        fields.take_all(given.as_object().expect("an object"));
        String::from_utf8(fields.into_octets()).expect("ASCII")
    }

    #[test]
    fn all_forms_of_a_value_are_taken() {
        let given = json!({
            "A": "1",
            "B": { "value": "2", "order": 1 },
            "C": ["3", { "value": "4", "index": 0 }, { "value": "5" }, 6, null, ["7"]],
            "D": { "value": "8", "order": -1 },
            "E": 9,
            "F": { "order": 1 },
        });
        assert_eq!(taken(&given), "C: 4\r\nB: 2\r\nA: 1\r\nC: 3\r\nC: 5\r\nD: 8\r\n");
    }

    #[test]
    fn what_is_taken_is_bounded() {
        let many: Vec<Value> = (0..1000).map(|number| json!(number.to_string())).collect();
        assert_eq!(taken(&json!({ "A": many })).lines().count(), FIELDS_MAX);
        let long = format!("{} ", "x".repeat(500)).repeat(50);
        let octets = taken(&json!({ "A": [long, long, long], "B": "1" }));
        assert!(octets.len() <= FIELDS_BYTES_MAX);
        assert!(octets.matches("A:").count() == 2 && octets.ends_with("B: 1\r\n"));
    }
}
