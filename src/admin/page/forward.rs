//! The page of a forwarder: the head, the foot and the look of the receiver's, and panels of its own.

use std::fmt::Write;

use super::markup::Text;
use super::panels::{self, Said, or_dash, row, total_row};
use super::{chart, filled};
use crate::admin::status::figures::{bytes, count, micros, rate, seconds, wait};
use crate::admin::status::forward::{ForwardRates, ForwardState, ForwardStatus, Host};
use crate::admin::status::words::{forward_state_word, takes, waits_for};

const PAGE: &str =
    concat!(include_str!("head.html"), include_str!("forward.html"), include_str!("foot.html"));

/// The page with these figures.
pub fn page(status: &ForwardStatus) -> String {
    filled(PAGE, |name, out| fill(name, status, out))
}

/// Writes what stands at a place of the page. False if there is no such place.
fn fill(name: &str, status: &ForwardStatus, out: &mut String) -> bool {
    match name {
        "title" => panels::title(forward_state_word(status.state), &status.hostname, out),
        "name" => {
            let _ = write!(out, "ringmx forwarder <small>{}</small>", Text(&status.hostname));
        }
        "about" => {
            let (version, up) = (Text(&status.version), seconds(status.uptime_seconds));
            let _ = write!(out, "version {version} \u{b7} process {} \u{b7} up {up}", status.pid);
        }
        "pulse" => panels::pulse(status.at_unix_ms, out),
        "verdict" => {
            let said = Said {
                word: forward_state_word(status.state),
                sentence: sentence(status.state),
                is_bad: status.state == ForwardState::NotReady,
                is_ending: status.state == ForwardState::Draining,
                problems: &status.problems,
            };
            said.write(out);
        }
        "big" => {
            let now = rate(status.throughput.now.delivered_per_second);
            let _ = write!(out, "<b>{now}</b> <span>recipients a second, now</span>");
        }
        "throughput" => throughput(status, out),
        "chart" => {
            let of = &status.throughput;
            let done = ("delivered", &*of.delivered_by_second, of.now.delivered_per_second);
            chart::throughput(done, ("not delivered", &of.not_delivered_by_second), out);
        }
        "destinations" => destinations(status, out),
        "delays" => panels::latency(&status.delays, str::to_owned, out),
        "queue" => queue(status, out),
        "events" => panels::events(&status.events, out),
        _ => return false,
    }
    true
}

fn sentence(state: ForwardState) -> &'static str {
    match state {
        ForwardState::Forwarding => "Mail goes on, and did in the last minute.",
        ForwardState::Idle => "Mail would go on; none did in the last minute.",
        ForwardState::NotReady => "Mail does not go on; the spool keeps it.",
        ForwardState::Draining => "No delivery begins; what is under way is finished.",
    }
}

fn throughput(status: &ForwardStatus, out: &mut String) {
    let of = &status.throughput;
    type Figure = fn(&ForwardRates) -> f64;
    let rows: [(&str, Figure); 3] = [
        ("Delivered", |rates| rates.delivered_per_second),
        ("Put off", |rates| rates.deferred_per_second),
        ("Undeliverable", |rates| rates.undeliverable_per_second),
    ];
    for (name, figure) in rows {
        let _ = write!(out, "<tr><th scope=\"row\">{name}</th>");
        for rates in [&of.now, &of.minute, &of.quarter_hour] {
            let _ = write!(out, "<td class=\"n\">{}</td>", rate(figure(rates)));
        }
        out.push_str("</tr>");
    }
    let total = [
        ("Delivered since the start", of.delivered_total),
        ("Refused for good", of.undeliverable_total),
        ("Expired", of.expired_total),
    ];
    for (name, total) in total {
        total_row(out, name, &count(total));
    }
}

fn destinations(status: &ForwardStatus, out: &mut String) {
    if status.destinations.is_empty() {
        out.push_str("<p class=\"none\">There is no destination.</p>");
        return;
    }
    for one in &status.destinations {
        let state = takes(one);
        let tone = if one.up { "good" } else { "bad" };
        let _ = write!(
            out,
            "<table><caption><b>{}</b> <span class=\"state {tone}\">{state}</span> \u{b7} {} \u{b7} {} delivered</caption><thead><tr><th scope=\"col\">Next hop</th>\
             <th scope=\"col\">state</th><th scope=\"col\" class=\"n\">open</th><th scope=\"col\" class=\"n\">busy</th></tr></thead><tbody>",
            Text(&one.destination),
            waits_for(one),
            count(one.delivered_total)
        );
        one.hosts.iter().for_each(|next_hop| host(next_hop, out));
        out.push_str("</tbody></table>");
    }
}

fn host(host: &Host, out: &mut String) {
    let for_long = seconds(host.state_seconds);
    let probe =
        host.next_probe_in_seconds.map_or_else(String::new, |at| format!(", tried again in {}", seconds(at)));
    let (tone, state) = match host.state.as_str() {
        "up" => ("good", "up".to_owned()),
        state => ("bad", format!("{} for {for_long}{probe}", Text(state))),
    };
    // Why it failed last is history where it is up.
    let why = if host.state == "up" { "" } else { &host.why };
    let _ = write!(
        out,
        "<tr><th scope=\"row\">{}</th><td><span class=\"state {tone}\">{state}</span> <small>{}</small></td><td class=\"n\">{}</td><td class=\"n\">{} of {}</td></tr>",
        Text(&host.next_hop),
        Text(why),
        count(host.connections_open),
        count(host.busy),
        count(host.concurrency)
    );
}

fn queue(status: &ForwardStatus, out: &mut String) {
    let queue = &status.queue;
    row(out, "New mail in memory", &bytes(queue.window_bytes));
    row(out, "In <code>later</code>", &bytes(queue.later_bytes));
    row(out, "Dead messages", &count(queue.dead_messages));
    row(out, "In <code>dead</code>", &bytes(queue.dead_bytes));
    row(out, "Notices that nobody takes", &count(queue.notices_held));
    row(out, "Messages that cannot be read", &count(queue.unreadable_messages));
    row(out, "Behind the spool", &wait(queue.log_lag_seconds));
    row(out, "Time to note results, half", &or_dash(queue.journal_sync_p50_us.map(micros)));
    row(out, "Time to note results, 99 %", &or_dash(queue.journal_sync_p99_us.map(micros)));
    row(out, "Notes that failed, since the start", &count(queue.journal_failures_total));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HOSTILE, text_of, well_formed};
    use super::*;
    use crate::admin::status::Severity;
    use crate::admin::status::forward::Destination;
    use crate::admin::status::sample::full_of_forwarder;

    #[test]
    fn the_page_without_a_script_holds_each_figure() {
        let text = text_of(&page(&full_of_forwarder()));
        for figure in [
            "mx1.example.org",
            "0.1.0-a",
            "4711",
            "3 d 4 h",
            "2026-12-01 00:00:00",
            "Forwarding, 1 problem",
            "something slow",
            "See it.",
            "101",
            "102",
            "103",
            "111",
            "112",
            "113",
            "121",
            "122",
            "123",
            "131",
            "141",
            "151",
            "161",
            "171 µs",
            "1.81 ms",
            "19.1 ms",
            "smtp://a",
            "takes mail",
            "smtp://b",
            "takes no mail for 3 min 5 s",
            "smtp://one",
            "suspended for 3 min 21 s, tried again in 37 s",
            "Connection refused",
            "221",
            "231 of 211",
            "301 fresh",
            "311 due",
            "321 waiting",
            "331 busy",
            "341 moving",
            "351 held",
            "the oldest of 2 h 10 min",
            "371 delivered",
            "401 MiB",
            "411 MiB",
            "421 MiB",
            "431",
            "441 ms",
            "451 µs",
            "4.61 ms",
            "471",
            "481",
            "491",
            "warning",
            "next-hop-down",
            "an event",
        ] {
            assert!(text.contains(figure), "{figure:?} is not in the page");
        }
        assert_eq!(text.matches("Connection refused").count(), 1, "what is up has no reason");
    }

    #[test]
    fn every_place_of_the_page_is_filled_and_each_once() {
        let status = full_of_forwarder();
        let places: Vec<&str> =
            PAGE.split("<!--{").skip(1).map(|after| after.split_once("}-->").expect("an end").0).collect();
        for place in &places {
            assert!(fill(place, &status, &mut String::new()), "{place}");
            assert_eq!(places.iter().filter(|other| *other == place).count(), 1, "{place}");
            let is_live = !["title", "pulse"].contains(place);
            assert_eq!(PAGE.contains(&format!("id=\"{place}\" data-live")), is_live, "{place}");
        }
    }

    #[test]
    fn it_is_well_formed_and_nothing_from_outside_is_markup() {
        let hostile = || HOSTILE.to_owned();
        let mut status = full_of_forwarder();
        status.hostname = hostile();
        status.version = hostile();
        status.problems[0].what = hostile();
        status.problems[0].cure = hostile();
        status.delays[0].phase = hostile();
        status.destinations[1].destination = hostile();
        status.destinations[1].hosts[0] =
            Host { next_hop: hostile(), state: hostile(), why: hostile(), ..Host::default() };
        status.events[0].level = hostile();
        status.events[0].event = hostile();
        status.events[0].text = hostile();
        let (tame, wild) = (page(&full_of_forwarder()), page(&status));
        for tag in ["<script", "<img", "</main", "</code", "<!--"] {
            assert_eq!(wild.matches(tag).count(), tame.matches(tag).count(), "{tag}");
        }
        assert!(!wild.contains(['\u{202e}', '\u{1b}']));
        for page in [tame, wild, page(&ForwardStatus::default())] {
            assert_eq!(well_formed(&page), Ok(()));
        }
    }

    #[test]
    fn what_needs_a_look_is_said_in_words() {
        let mut status = full_of_forwarder();
        assert!(page(&status).contains("Warning.</strong> something slow"));
        status.problems[0].severity = Severity::Error;
        assert!(page(&status).contains("Error.</strong> something slow"));
        status.problems.clear();
        for (state, word) in [
            (ForwardState::Forwarding, "Forwarding"),
            (ForwardState::Idle, "Ready"),
            (ForwardState::NotReady, "Not forwarding"),
            (ForwardState::Draining, "Stopping"),
        ] {
            status.state = state;
            let page = page(&status);
            assert!(page.contains(&format!("role=\"status\">{word}<")), "{word}");
            assert!(page.contains(&format!("<title>{word} ")), "{word}");
        }
        let text = text_of(&page(&ForwardStatus::default()));
        assert!(text.contains("There is no destination."), "{text}");
        let idle = Destination { up: true, ..Destination::default() };
        let text = text_of(&page(&ForwardStatus { destinations: vec![idle], ..ForwardStatus::default() }));
        assert!(text.contains("nothing waits \u{b7} 0 delivered"), "{text}");
    }
}
