//! Header fields that rspamd gives (`add_headers` and `spam_header` of its `milter` block).

use serde_json::{Map, Value};

use super::super::field::{Fields, Place};

/// Adds what such an object gives: for each name a text, an object with a `value`, or a list of those. As in
/// the milter protocol, one with an `order` stands before those that were there, one without after them: so a
/// seal stands before what it seals.
pub(super) fn add_all(given: &Map<String, Value>, fields: &mut Fields) {
    for (name, value) in given {
        match value {
            Value::Array(values) => values.iter().for_each(|value| add_given(name, value, fields)),
            value => add_given(name, value, fields),
        }
    }
}

fn add_given(name: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::String(text) => add(name, text, fields),
        Value::Object(object) => {
            let order = object.get("order").or_else(|| object.get("index")).and_then(Value::as_i64);
            let place = if order.is_some_and(|order| order >= 0) { Place::Top } else { Place::Below };
            if let Some(text) = object.get("value").and_then(Value::as_str) {
                add_at(place, name, text, fields);
            }
        }
        // rspamd's own milter takes nothing else.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
}

/// Adds one field, below the others.
pub(super) fn add(name: &str, value: &str, fields: &mut Fields) {
    add_at(Place::Below, name, value, fields);
}

/// One that can be no field, or that goes beyond the bounds, is left out: the ruling is worth more than it.
fn add_at(place: Place, name: &str, value: &str, fields: &mut Fields) {
    let _ = fields.add(place, name.as_bytes(), value.as_bytes(), false);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::filter::FIELDS_BYTES_MAX;

    fn added(given: &Value) -> String {
        let mut fields = Fields::default();
        add_all(given.as_object().expect("an object"), &mut fields);
        String::from_utf8(fields.take()).expect("ASCII")
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
        assert_eq!(added(&given), "C: 4\r\nB: 2\r\nA: 1\r\nC: 3\r\nC: 5\r\nD: 8\r\n");
    }

    #[test]
    fn what_goes_beyond_the_bounds_or_is_no_field_is_left_out() {
        let many: Vec<Value> = (0..1000).map(|number| json!(number.to_string())).collect();
        assert_eq!(added(&json!({ "A": many })).lines().count(), 64);
        let long = format!("{} ", "x".repeat(500)).repeat(15);
        let octets = added(&json!({ "A": [long, long, long], "B": "1" }));
        assert!(octets.len() <= FIELDS_BYTES_MAX);
        assert!(octets.matches("A:").count() == 2 && octets.ends_with("B: 1\r\n"));
        assert_eq!(added(&json!({ "A B": "1", "C": "x".repeat(1000), "D": "2" })), "D: 2\r\n");
    }
}
