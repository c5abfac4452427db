//! The status page: one embedded file, filled with the figures of a [`Status`]; and that of a forwarder,
//! which has the same head and foot, and panels of its own ([`forward`]).
//!
//! The server writes every figure into the HTML, so the page is whole without its script. The script asks for
//! the page again each second and puts what differs into the one that is seen. It does not write figures from
//! `/status.json` by itself: then each figure, unit and escape would exist twice, in two languages, and only
//! one of the two would be what a test sees.
//!
//! Whatever came from outside (events, names in certificates) goes through `markup::Text`.

mod chart;
pub mod forward;
mod markup;
mod panels;
mod policy;

use super::status::Status;
use super::status::words::{phase_name, state_word};

pub use self::policy::content_security_policy;

/// The file. What stands in it as `<!--{name}-->` is filled by [`fill`].
const PAGE: &str =
    concat!(include_str!("head.html"), include_str!("receiver.html"), include_str!("foot.html"));

/// The page with these figures.
pub fn page(status: &Status) -> String {
    filled(PAGE, |name, out| fill(name, status, out))
}

/// A file with what stands at each place, which `fill` writes; false if there is no such place.
fn filled(file: &str, fill: impl Fn(&str, &mut String) -> bool) -> String {
    let mut out = String::with_capacity(file.len() + 32 * 1024);
    let mut rest = file;
    while let Some((before, after)) = rest.split_once("<!--{") {
        let Some((name, behind)) = after.split_once("}-->") else { break };
        out.push_str(before);
        fill(name, &mut out);
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Writes what stands at a place of the page. False if there is no such place.
fn fill(name: &str, status: &Status, out: &mut String) -> bool {
    match name {
        "title" => panels::title(state_word(status.state), &status.hostname, out),
        "name" => panels::name(&status.hostname, out),
        "about" => panels::about(status, out),
        "pulse" => panels::pulse(status.at_unix_ms, out),
        "verdict" => panels::verdict(status, out),
        "big" => panels::big(status, out),
        "throughput" => panels::throughput(status, out),
        "chart" => {
            let of = &status.throughput;
            let now = of.now.messages_per_second;
            chart::throughput(
                ("messages", &of.messages_by_second, now),
                ("refused", &of.refusals_by_second),
                out,
            );
        }
        "latency" => panels::latency(&status.latency, phase_name, out),
        "sinks" => panels::store(status, out),
        "shards" => panels::shards(status, out),
        "memory" => panels::memory(status, out),
        "refusals" => panels::refusals(status, out),
        "certificates" => panels::certificates(status, out),
        "events" => panels::events(&status.events, out),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests;
