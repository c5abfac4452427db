//! Points in time as text and as numbers, in UTC.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970; times before are 1970, times after the year 500,000 saturate.
pub fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Whole seconds since 1970; times before are 1970.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time so many microseconds after 1970, where it can be told.
pub fn from_micros(micros: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(UNIX_EPOCH)
}

/// A civil time in UTC.
struct Civil {
    year: u64,
    /// 1 to 12
    month: usize,
    day: u64,
    /// 0 is Sunday.
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
    micros: u64,
}

impl Civil {
    /// Days to date after Howard Hinnant, "chrono-compatible low-level date algorithms".
    fn new(time: SystemTime) -> Self {
        let micros = micros(time);
        let seconds = micros / 1_000_000;
        let days = seconds / 86_400;
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month: usize::try_from(month).unwrap_or_default(),
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            weekday: usize::try_from((days + 4) % 7).unwrap_or_default(),
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: micros % 1_000_000,
        }
    }
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Shows a time as in RFC 3339, with microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(pub SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        let Civil { year, month, day, hour, minute, second, micros, .. } = Civil::new(time);
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Shows a time as in the header fields of a message (RFC 5322 §3.3).
#[derive(Debug, Clone, Copy)]
pub struct Rfc5322(pub SystemTime);

impl fmt::Display for Rfc5322 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        let Civil { year, month, day, weekday, hour, minute, second, .. } = Civil::new(time);
        let (weekday, month) = (DAYS[weekday], MONTHS[month - 1]);
        write!(out, "{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
    }
}

/// Shows a time as in the `From ` line of an mbox (RFC 4155).
#[derive(Debug, Clone, Copy)]
pub struct Asctime(pub SystemTime);

impl fmt::Display for Asctime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        let Civil { year, month, day, weekday, hour, minute, second, .. } = Civil::new(time);
        let (weekday, month) = (DAYS[weekday], MONTHS[month - 1]);
        write!(out, "{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (seconds, day, mbox, header) in [
            (0, "1970-01-01T00:00:00.000000Z", "Thu Jan  1 00:00:00 1970", "Thu, 1 Jan 1970 00:00:00 +0000"),
            (
                951_782_400,
                "2000-02-29T00:00:00.000000Z",
                "Tue Feb 29 00:00:00 2000",
                "Tue, 29 Feb 2000 00:00:00 +0000",
            ),
            (
                1_709_251_199,
                "2024-02-29T23:59:59.000000Z",
                "Thu Feb 29 23:59:59 2024",
                "Thu, 29 Feb 2024 23:59:59 +0000",
            ),
            (
                4_107_542_400,
                "2100-03-01T00:00:00.000000Z",
                "Mon Mar  1 00:00:00 2100",
                "Mon, 1 Mar 2100 00:00:00 +0000",
            ),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Rfc3339(time).to_string(), day);
            assert_eq!(Asctime(time).to_string(), mbox);
            assert_eq!(Rfc5322(time).to_string(), header);
        }
        assert_eq!(Rfc3339(from_micros(1_000_001)).to_string(), "1970-01-01T00:00:01.000001Z");
        assert_eq!(micros(from_micros(u64::MAX)), u64::MAX);
    }
}
