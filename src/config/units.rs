//! Sizes and times as operators write them: `50MiB`, `300s`. Pure functions, there and back.

use std::time::Duration;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

const SIZES: [(&str, u64); 3] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
/// In milliseconds. The unit of a value is matched whole, so `ms` is never taken for `m` and `s`.
const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

pub(super) const SIZE_UNITS: &str = "KiB, MiB, GiB or plain octets";
pub(super) const TIME_UNITS: &str = "ms, s, min, h or d";

/// `"16KiB"` or `"16384"` in octets.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text, "a size such as \"50MiB\"")?;
    let factor = match SIZES.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(unknown_unit(text, unit, SIZE_UNITS)),
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too large"))
}

/// `"300s"`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text, "a time such as \"300s\"")?;
    let Some((_, factor)) = TIMES.iter().find(|(name, _)| *name == unit) else {
        return Err(if unit.is_empty() { without_unit(text) } else { unknown_unit(text, unit, TIME_UNITS) });
    };
    number.checked_mul(*factor).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too large"))
}

/// What to say about a bare number where a time is wanted.
pub(super) fn without_unit(number: &str) -> String {
    format!("{number} has no unit; write {TIME_UNITS} behind it, for instance \"300s\"")
}

/// The largest unit that gives a whole number.
pub(super) fn size_text(octets: u64) -> String {
    SIZES
        .iter()
        .find(|(_, factor)| octets > 0 && octets.is_multiple_of(*factor))
        .map_or_else(|| octets.to_string(), |(unit, factor)| format!("{}{unit}", octets / factor))
}

/// Hours, seconds or milliseconds, whatever gives a whole number. Not minutes: RFC 5321's times are compared
/// in seconds.
pub(super) fn duration_text(time: Duration) -> String {
    let milliseconds = time.as_millis();
    match milliseconds {
        0 => "0s".to_owned(),
        _ if milliseconds.is_multiple_of(3_600_000) => format!("{}h", milliseconds / 3_600_000),
        _ if milliseconds.is_multiple_of(1000) => format!("{}s", milliseconds / 1000),
        _ => format!("{milliseconds}ms"),
    }
}

fn split<'a>(text: &'a str, wanted: &str) -> Result<(u64, &'a str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || unit.starts_with(['.', ',']) {
        return Err(format!("{text:?} is not {wanted}: a whole number and its unit"));
    }
    let number = number.parse().map_err(|_| format!("{text:?} is too large"))?;
    Ok((number, unit.trim_start()))
}

fn unknown_unit(text: &str, unit: &str, allowed: &str) -> String {
    format!("{text:?}: the unit {unit:?} is unknown, write {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_there_and_back() {
        for (text, octets) in
            [("16KiB", 16 * KIB), ("50MiB", 50 * MIB), ("2GiB", 2 * GIB), ("1000", 1000), ("0", 0)]
        {
            assert_eq!(size(text), Ok(octets));
            assert_eq!(size_text(octets), text);
        }
        assert_eq!(size("1 MiB"), Ok(MIB));
        for text in ["", "MiB", "-1", "1.5MiB", "50MB", "50mib", "99999999999GiB", "99999999999999999999999"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_there_and_back() {
        for (text, ms) in [("250ms", 250), ("300s", 300_000), ("1h", 3_600_000), ("61s", 61_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
            assert_eq!(duration_text(Duration::from_millis(ms)), text);
        }
        assert_eq!(duration("5min"), Ok(Duration::from_mins(5)));
        for text in
            ["", "300", "5m", "5 minutes", "1.5h", "-1s", "99999999999999999999h", "9999999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
