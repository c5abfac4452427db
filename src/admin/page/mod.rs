//! The status page: one embedded file, filled with the figures of a [`Status`].
//!
//! The server writes every figure into the HTML, so the page is whole without its script. The script asks for
//! the page again each second and puts what differs into the one that is seen. It does not write figures from
//! `/status.json` by itself: then each figure, unit and escape would exist twice, in two languages, and only
//! one of the two would be what a test sees.
//!
//! Whatever came from outside (events, names in certificates) goes through `markup::Text`.

mod chart;
mod markup;
mod panels;
mod policy;

use super::status::Status;

pub use self::policy::content_security_policy;

/// The file. What stands in it as `<!--{name}-->` is filled by [`fill`].
const PAGE: &str = include_str!("page.html");

/// The page with these figures.
pub fn page(status: &Status) -> String {
    let mut out = String::with_capacity(PAGE.len() + 32 * 1024);
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("<!--{") {
        let Some((name, behind)) = after.split_once("}-->") else { break };
        out.push_str(before);
        fill(name, status, &mut out);
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Writes what stands at a place of the page. False if there is no such place.
fn fill(name: &str, status: &Status, out: &mut String) -> bool {
    match name {
        "title" => panels::title(status, out),
        "name" => panels::name(status, out),
        "about" => panels::about(status, out),
        "pulse" => panels::pulse(status, out),
        "verdict" => panels::verdict(status, out),
        "big" => panels::big(status, out),
        "throughput" => panels::throughput(status, out),
        "chart" => chart::throughput(&status.throughput, out),
        "latency" => panels::latency(status, out),
        "sinks" => panels::store(status, out),
        "shards" => panels::shards(status, out),
        "memory" => panels::memory(status, out),
        "refusals" => panels::refusals(status, out),
        "certificates" => panels::certificates(status, out),
        "events" => panels::events(status, out),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests;
