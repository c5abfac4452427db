//! Times with units.

use std::time::Duration;

/// A time.
pub fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// A time above zero.
pub fn positive_time(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time.is_zero() { Err("must be longer than nothing".into()) } else { Ok(time) }
}
