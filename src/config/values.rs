//! Values of TOML in the words of what is said of them.

use std::ops::RangeInclusive;

use toml::de::DeValue;

/// In place of the value of a key that is not there.
pub(super) fn not_given() -> String {
    "not given".to_owned()
}

/// A value as it would be written; of what no key takes, its type.
pub(super) fn value_text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Array(array) => {
            let elements: Vec<String> = array.iter().map(|element| value_text(element.get_ref())).collect();
            format!("[{}]", elements.join(", "))
        }
        other => other.type_str().to_owned(),
    }
}

/// A number that is whole and not below zero.
pub(super) fn whole(integer: &toml::de::DeInteger<'_>) -> Result<u64, String> {
    let side = if integer.as_str().starts_with('-') { "little" } else { "much" };
    let number = u64::from_str_radix(integer.as_str(), integer.radix());
    number.map_err(|_| format!("{integer} is too {side}"))
}

/// That a value is not what is wanted.
pub(super) fn wrong_type(wanted: &str, found: &DeValue<'_>) -> String {
    let article = if matches!(found.type_str(), "integer" | "array") { "an" } else { "a" };
    format!("expected {wanted}; this is {article} {}", found.type_str())
}

/// A range in words.
pub(super) fn span_text<T: Copy>(range: &RangeInclusive<T>, text: impl Fn(T) -> String) -> String {
    format!("{} to {}", text(*range.start()), text(*range.end()))
}
