//! Times and counts as people read them: three significant digits, and the unit that suits.

/// A time in microseconds.
pub fn time(microseconds: f64) -> String {
    let (value, unit) = in_unit(microseconds);
    let decimals = match (unit, value) {
        ("µs", _) => 0,
        (_, value) if value < 9.995 => 2,
        (_, value) if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// A time in microseconds that somebody chose: exact, and without zeros at the end.
pub fn time_chosen(microseconds: f64) -> String {
    let (value, unit) = in_unit(microseconds);
    format!("{} {unit}", trimmed(value))
}

/// A number with at most three decimals, without zeros at the end.
pub fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn in_unit(microseconds: f64) -> (f64, &'static str) {
    match microseconds {
        value if value < 999.5 => (value, "µs"),
        value if value < 999_500.0 => (value / 1e3, "ms"),
        value => (value / 1e6, "s"),
    }
}

/// A whole number with its thousands apart.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_in_the_unit_that_suits() {
        let told = [0.0, 999.0, 999.6, 1_500.0, 9_996.0, 45_300.0, 123_400.0, 999_700.0, 2e6, 3.6e9];
        let read = [
            "0 µs", "999 µs", "1.00 ms", "1.50 ms", "10.0 ms", "45.3 ms", "123 ms", "1.00 s", "2.00 s",
            "3600 s",
        ];
        assert_eq!(told.map(time), read);
        assert_eq!([1e3, 1_500.0, 2e6, 250.0].map(time_chosen), ["1 ms", "1.5 ms", "2 s", "250 µs"]);
        assert_eq!(thousands(1_234_567.0), "1\u{202f}234\u{202f}567");
    }
}
