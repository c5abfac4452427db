//! Figures as people read them: few digits, a unit, the same width of meaning everywhere.
//!
//! The page and `ringmx status` both write by these, so that a figure looks the same in both.

/// A count with its thousands apart: `1 234 567`, by a no-break space.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// A rate: a tenth below ten, whole from ten on.
pub fn rate(value: f64) -> String {
    if !value.is_finite() || value <= 0.0 {
        "0".to_owned()
    } else if value < 0.05 {
        "< 0.1".to_owned()
    } else if value < 9.95 {
        format!("{value:.1}")
    } else {
        count(whole(value))
    }
}

/// Octets in binary units, three digits: `1.23 GiB`.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1000 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    format!("{} {unit}", three_digits(scaled))
}

/// A short time: `640 µs`, `12.3 ms`, `4.10 s`, from two minutes on as [`seconds`].
pub fn micros(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} µs"),
        1_000..1_000_000 => format!("{} ms", three_digits(value as f64 / 1e3)),
        1_000_000..120_000_000 => format!("{} s", three_digits(value as f64 / 1e6)),
        _ => seconds(value / 1_000_000),
    }
}

/// A long time in its two largest units: `45 s`, `3 min 5 s`, `2 h 10 min`, `12 d 4 h`; years alone.
pub fn seconds(value: u64) -> String {
    let (minutes, hours, days) = (value / 60, value / 3_600, value / 86_400);
    match value {
        0..60 => format!("{value} s"),
        60..3_600 => format!("{minutes} min {} s", value % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        86_400..31_536_000 => format!("{days} d {} h", hours % 24),
        _ => format!("{} years", count(days / 365)),
    }
}

/// A wait of so many seconds, which may be a small part of one.
pub fn wait(value: f64) -> String {
    if value.is_finite() && value > 0.0 { micros(whole(value * 1e6)) } else { "0 s".to_owned() }
}

/// A share from 0 to 1 in per cent.
pub fn share(value: f64) -> String {
    let percent = value.clamp(0.0, 1.0) * 100.0;
    if percent > 0.0 && percent < 0.5 { "< 1 %".to_owned() } else { format!("{percent:.0} %") }
}

/// The whole number nearest to one that is not negative.
pub fn whole(value: f64) -> u64 {
    // `as` saturates, and is 0 for what is no number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = value.round() as u64;
    whole
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_thousands_apart() {
        let written = [0, 999, 1_000, 12_345, 1_234_567].map(count);
        assert_eq!(written, ["0", "999", "1\u{a0}000", "12\u{a0}345", "1\u{a0}234\u{a0}567"]);
        assert_eq!(count(u64::MAX).chars().filter(char::is_ascii_digit).count(), 20);
    }

    #[test]
    fn rates_are_short_and_never_odd() {
        let written = [0.0, 0.01, 0.3, 9.94, 9.96, 1234.5, f64::NAN, f64::INFINITY, -3.0].map(rate);
        assert_eq!(written, ["0", "< 0.1", "0.3", "9.9", "10", "1\u{a0}235", "0", "0", "0"]);
    }

    #[test]
    fn octets_and_times_have_three_digits_and_a_unit() {
        let written = [0, 999, 1_000, 1_048_575, 1 << 30, 1_700_000_000, u64::MAX].map(bytes);
        assert_eq!(written, ["0 B", "999 B", "0.98 KiB", "1.00 MiB", "1.00 GiB", "1.58 GiB", "16.0 EiB"]);
        let written = [0, 640, 1_000, 12_345, 999_999, 4_100_000, 300_000_000].map(micros);
        assert_eq!(written, ["0 µs", "640 µs", "1.00 ms", "12.3 ms", "1000 ms", "4.10 s", "5 min 0 s"]);
        let written = [0, 59, 185, 7_800, 1_050_000, 40_000_000_000].map(seconds);
        assert_eq!(written, ["0 s", "59 s", "3 min 5 s", "2 h 10 min", "12 d 3 h", "1\u{a0}268 years"]);
        assert_eq!([0.0, 0.000_2, 61.5, f64::NAN].map(wait), ["0 s", "200 µs", "61.5 s", "0 s"]);
    }

    #[test]
    fn shares_stay_between_nothing_and_all() {
        assert_eq!(
            [-1.0, 0.0, 0.001, 0.314, 1.0, 7.0].map(share),
            ["0 %", "0 %", "< 1 %", "31 %", "100 %", "100 %"]
        );
    }
}
