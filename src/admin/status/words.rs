//! The words that the page and `ringmx status` share.

use super::forward::{Destination, ForwardState};
use super::{State, figures};

/// The state in a word or two.
pub fn state_word(state: State) -> &'static str {
    match state {
        State::Receiving => "Receiving",
        State::Idle => "Ready",
        State::NotReady => "Not receiving",
        State::Draining => "Stopping",
    }
}

/// The state of a forwarder in a word or two.
pub fn forward_state_word(state: ForwardState) -> &'static str {
    match state {
        ForwardState::Forwarding => "Forwarding",
        ForwardState::Idle => "Ready",
        ForwardState::NotReady => "Not forwarding",
        ForwardState::Draining => "Stopping",
    }
}

/// What waits for a destination, in words; what is none is left out.
pub fn waits_for(one: &Destination) -> String {
    let states = [
        ("fresh", one.fresh),
        ("due", one.due),
        ("waiting", one.waiting),
        ("busy", one.busy),
        ("moving", one.moving),
        ("held", one.held),
    ];
    let some: Vec<String> = states
        .iter()
        .filter(|(_, some)| *some > 0)
        .map(|(state, some)| format!("{} {state}", figures::count(*some)))
        .collect();
    let age = one.oldest_seconds;
    let age = age.map_or_else(String::new, |age| format!(", the oldest of {}", figures::seconds(age)));
    if some.is_empty() { "nothing waits".to_owned() } else { some.join(", ") + &age }
}

/// Whether a destination takes mail, in words.
pub fn takes(one: &Destination) -> String {
    match one.down_seconds {
        None => "takes mail".to_owned(),
        Some(down) => format!("takes no mail for {}", figures::seconds(down)),
    }
}

/// `tls_handshake` as people write it.
pub fn phase_name(phase: &str) -> String {
    match phase {
        "tls_handshake" => "TLS handshake".to_owned(),
        "handoff_wait" => "wait for the sink".to_owned(),
        "store" => "store and sync".to_owned(),
        "session" => "whole session".to_owned(),
        _ => phase.replace('_', " "),
    }
}

/// Days with their noun; from ten years on nobody counts days.
pub fn day_count(days: i64) -> String {
    if days > 10 * 365 {
        return format!("{} years", figures::count(days.unsigned_abs() / 365));
    }
    let sign = if days < 0 { "\u{2212}" } else { "" };
    let noun = if days.unsigned_abs() == 1 { "day" } else { "days" };
    format!("{sign}{} {noun}", figures::count(days.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_up_to_ten_years() {
        assert_eq!([-1, 0, 1, 44].map(day_count), ["\u{2212}1 day", "0 days", "1 day", "44 days"]);
        assert_eq!(day_count(755_719), "2\u{a0}070 years");
        assert!(day_count(i64::MIN).starts_with('\u{2212}'));
    }
}
