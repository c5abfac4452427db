//! The panels of the page, each written into its place. What a panel says is also its table: a curve or a bar
//! only shows a figure that stands beside it.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::chart;
use super::markup::Text;
use crate::admin::status::figures::{self, bytes, count, micros, rate, seconds, share, wait};
use crate::admin::status::words::{day_count, state_word};
use crate::admin::status::{Event, Latency, Problem, Rates, Severity, State, Status};
use crate::timestamp::Rfc3339;

pub(super) fn title(state: &str, hostname: &str, out: &mut String) {
    let _ = write!(out, "{state} \u{b7} {} \u{b7} ringmx", Text(hostname));
}

pub(super) fn name(hostname: &str, out: &mut String) {
    let _ = write!(out, "ringmx <small>{}</small>", Text(hostname));
}

pub(super) fn about(status: &Status, out: &mut String) {
    let _ = write!(
        out,
        "version {} \u{b7} process {} \u{b7} generation {} \u{b7} up {}",
        Text(&status.version),
        status.pid,
        count(status.generation),
        seconds(status.uptime_seconds)
    );
}

/// What stands there until the script says "Live".
pub(super) fn pulse(at_unix_ms: u64, out: &mut String) {
    let _ = write!(out, "As of {}", time(at_unix_ms));
}

/// The first thing that is read: is it receiving, is anything wrong, what to do.
pub(super) fn verdict(status: &Status, out: &mut String) {
    let said = Said {
        word: state_word(status.state),
        sentence: state_sentence(status.state),
        is_bad: status.state == State::NotReady,
        is_ending: status.state == State::Draining,
        problems: &status.problems,
    };
    said.write(out);
}

/// What the first panel says.
pub(super) struct Said<'a> {
    /// The state in a word or two.
    pub(super) word: &'a str,
    /// The state in a sentence.
    pub(super) sentence: &'a str,
    /// It does not do its work.
    pub(super) is_bad: bool,
    /// It stops.
    pub(super) is_ending: bool,
    /// What is wrong, worst first.
    pub(super) problems: &'a [Problem],
}

impl Said<'_> {
    pub(super) fn write(&self, out: &mut String) {
        let errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let (tone, icon) = if self.is_bad || errors > 0 {
            ("bad", "<path d=\"M5 5l14 14M19 5L5 19\"/>")
        } else if self.is_ending || !self.problems.is_empty() {
            ("warn", "<path d=\"M12 3L22 20H2ZM12 9v6M12 17v1\"/>")
        } else {
            ("good", "<circle cx=\"12\" cy=\"12\" r=\"10\"/><path d=\"M7 12l4 4 7-8\"/>")
        };
        let _ = write!(
            out,
            "<div class=\"panel verdict {tone}\"><h2 class=\"say\" id=\"verdict-title\"><svg viewBox=\"0 0 24 24\" fill=\"none\" \
             stroke=\"currentColor\" stroke-width=\"2.4\" stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">{icon}</svg>\
             <strong role=\"status\">{}</strong></h2><p class=\"also\">{} {}</p>",
            verdict_words(self.word, self.problems.len()),
            self.sentence,
            if self.problems.is_empty() { "Nothing is wrong." } else { "What is wrong, worst first:" }
        );
        if !self.problems.is_empty() {
            out.push_str("<ul class=\"problems\">");
            for problem in self.problems {
                let (tone, word) = match problem.severity {
                    Severity::Error => ("bad", "Error"),
                    Severity::Warning => ("warn", "Warning"),
                };
                let _ = write!(
                    out,
                    "<li class=\"{tone}\"><strong>{word}.</strong> {}. <span class=\"cure\">{}</span></li>",
                    Text(&problem.what),
                    with_code(&problem.cure)
                );
            }
            out.push_str("</ul>");
        }
        out.push_str("</div>");
    }
}

/// A cure, whose commands stand between backticks.
fn with_code(cure: &str) -> String {
    let parts = cure.split('`').enumerate();
    parts
        .map(|(place, part)| match place % 2 {
            1 => format!("<code>{}</code>", Text(part)),
            _ => Text(part).to_string(),
        })
        .collect()
}

fn verdict_words(word: &str, problems: usize) -> String {
    match problems {
        0 => word.to_owned(),
        1 => format!("{word}, 1 problem"),
        _ => format!("{word}, {problems} problems"),
    }
}

fn state_sentence(state: State) -> &'static str {
    match state {
        State::Receiving => "Mail is taken, and came in the last minute.",
        State::Idle => "Mail would be taken; none came in the last minute.",
        State::NotReady => "New mail is not taken; senders are told to try again.",
        State::Draining => "No new connections are taken; what is under way is finished.",
    }
}

pub(super) fn big(status: &Status, out: &mut String) {
    let now = rate(status.throughput.now.messages_per_second);
    let _ = write!(out, "<b>{now}</b> <span>messages a second, now</span>");
}

pub(super) fn throughput(status: &Status, out: &mut String) {
    let of = &status.throughput;
    type Figure = fn(&Rates) -> String;
    let rows: [(&str, Figure); 4] = [
        ("Messages", |rates| rate(rates.messages_per_second)),
        ("Mail data", |rates| bytes(figures::whole(rates.bytes_per_second))),
        ("Connections", |rates| rate(rates.connections_per_second)),
        ("Refused", |rates| rate(rates.refusals_per_second)),
    ];
    for (name, figure) in rows {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{name}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            figure(&of.now),
            figure(&of.minute),
            figure(&of.quarter_hour)
        );
    }
    let total = [
        ("Connections open", count(of.connections_open)),
        ("Messages since the start", count(of.messages_total)),
        ("Mail data since the start", bytes(of.message_bytes_total)),
    ];
    for (name, figure) in total {
        total_row(out, name, &figure);
    }
}

/// A row of the throughput with one figure.
pub(super) fn total_row(out: &mut String, name: &str, figure: &str) {
    let _ = write!(
        out,
        "<tr><th scope=\"row\" colspan=\"2\">{name}</th><td class=\"n\" colspan=\"2\">{figure}</td></tr>"
    );
}

pub(super) fn latency(latency: &[Latency], name_of: impl Fn(&str) -> String, out: &mut String) {
    for phase in latency {
        let name = name_of(&phase.phase);
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{} <small>{}</small></th><td class=\"curve\">",
            Text(&name),
            if phase.count == 1 { "once".to_owned() } else { format!("{} times", count(phase.count)) }
        );
        chart::latency(&name, &phase.curve, out);
        out.push_str("</td>");
        for figure in [phase.p50_us, phase.p90_us, phase.p99_us] {
            let _ = write!(out, "<td class=\"n\">{}</td>", or_dash(figure.map(micros)));
        }
        out.push_str("</tr>");
    }
    if latency.is_empty() {
        out.push_str("<tr><td colspan=\"5\">Nothing was measured.</td></tr>");
    }
}

/// Content filters, the stream of a cluster, the sinks, the room on their disk, and the spool.
pub(super) fn store(status: &Status, out: &mut String) {
    for filter in &status.filters {
        table_head(out, &format!("filter {}", filter.filter), if filter.up { "up" } else { "down" });
        row(out, "Messages that it looks at", &count(filter.in_flight));
        row(out, "Answered since the start", &count(filter.answered_total));
        row(out, "Refused of those", &count(filter.refused_total));
        row(out, "Without an answer", &count(filter.unanswered_total));
        row(out, "Time with it, half", &or_dash(filter.p50_us.map(micros)));
        row(out, "Time with it, 99 %", &or_dash(filter.p99_us.map(micros)));
        out.push_str("</tbody></table>");
    }
    if let Some(cluster) = &status.cluster {
        table_head(out, "stream of the cluster", if cluster.up { "up" } else { "down" });
        row(out, "Messages that wait for it", &count(cluster.in_flight));
        row(out, "Acknowledged since the start", &count(cluster.acknowledged_total));
        row(out, "Not taken: no room, or too large", &count(cluster.refused_total));
        row(out, "Without an acknowledgement", &count(cluster.unanswered_total));
        row(out, "Time with it, half", &or_dash(cluster.p50_us.map(micros)));
        row(out, "Time with it, 99 %", &or_dash(cluster.p99_us.map(micros)));
        out.push_str("</tbody></table>");
    }
    for sink in &status.sinks {
        table_head(out, &format!("sink {}", sink.sink), "");
        row(out, "Messages that wait", &count(sink.queue_messages));
        row(out, "Oldest wait", &wait(sink.oldest_wait_seconds));
        row(out, "Messages a batch, last minute", &or_dash(sink.batch_messages.map(rate)));
        row(out, "Time per sync, half", &or_dash(sink.sync_p50_us.map(micros)));
        row(out, "Time per sync, 99 %", &or_dash(sink.sync_p99_us.map(micros)));
        row(out, "Failures since the start", &count(sink.failures_total));
        out.push_str("</tbody></table>");
    }
    if let Some(room) = &status.room {
        table_head(out, "disk", "");
        row(out, "Room for mail", &bytes(room.free_bytes));
        row(out, "Full in", &room.full_in_seconds.map_or_else(|| "not foreseen".to_owned(), seconds));
        out.push_str("</tbody></table>");
    }
    if let Some(spool) = &status.spool {
        table_head(out, "spool", "");
        row(out, "Segments", &count(spool.segments));
        row(out, "Takes on the disk", &bytes(spool.bytes));
        row(out, "Not yet consumed", &bytes(spool.unconsumed_bytes));
        row(out, "Consumer stands still for", &wait(spool.consumer_lag_seconds));
        out.push_str("</tbody></table>");
    }
    if status.sinks.is_empty() && status.cluster.is_none() {
        out.push_str("<p class=\"none\">This sink keeps nothing and waits for nothing.</p>");
    }
}

fn table_head(out: &mut String, name: &str, figure: &str) {
    let _ = write!(
        out,
        "<table><thead><tr><th scope=\"col\">{}</th><td class=\"n\">{figure}</td></tr></thead><tbody>",
        Text(name)
    );
}

pub(super) fn row(out: &mut String, name: &str, figure: &str) {
    let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td class=\"n\">{figure}</td></tr>");
}

pub(super) fn shards(status: &Status, out: &mut String) {
    for shard in &status.shards {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th><td class=\"meter\">", shard.shard);
        if let Some(busy) = shard.busy {
            chart::bar(busy, out);
        }
        let _ = write!(
            out,
            "</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            or_dash(shard.busy.map(share)),
            rate(shard.messages_per_second),
            count(shard.connections_open),
            micros(shard.turn_max_us)
        );
    }
}

pub(super) fn memory(status: &Status, out: &mut String) {
    let memory = &status.memory;
    let pinned = format!("{} of {}", count(memory.buffers_pinned), count(memory.buffers));
    row(out, "Receive buffers", &pinned);
    row(out, "Blocks of mail data", &bytes(memory.blocks_used_bytes));
    row(out, "Spill files", &count(memory.spill_files));
    row(out, "In spill files", &bytes(memory.spill_bytes));
    row(out, "Clients held back, since the start", &wait(memory.back_pressure_seconds));
}

pub(super) fn refusals(status: &Status, out: &mut String) {
    if status.refusals.is_empty() {
        out.push_str("<p class=\"none\">Nothing was refused since the start.</p>");
        return;
    }
    out.push_str(
        "<table><thead><tr><th scope=\"col\">Reason</th><th scope=\"col\" class=\"meter\">last minute</th>\
         <th scope=\"col\" class=\"n\"><small>count</small></th><th scope=\"col\" class=\"n\">since the start</th></tr></thead><tbody>",
    );
    let most = status.refusals.iter().map(|refusal| refusal.minute).max().unwrap_or_default();
    for refusal in &status.refusals {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{} <small>{}</small></th><td class=\"meter\">",
            Text(&refusal.reason.replace('-', " ")),
            Text(&refusal.what)
        );
        chart::bar(refusal.minute as f64 / most.max(1) as f64, out);
        let (minute, total) = (count(refusal.minute), count(refusal.total));
        let _ = write!(out, "</td><td class=\"n\">{minute}</td><td class=\"n\">{total}</td></tr>");
    }
    out.push_str("</tbody></table>");
}

pub(super) fn certificates(status: &Status, out: &mut String) {
    if status.certificates.is_empty() {
        out.push_str("<p class=\"none\">There is no certificate: clients are not offered TLS.</p>");
        return;
    }
    out.push_str(
        "<table><thead><tr><th scope=\"col\">Name</th><th scope=\"col\" class=\"n\">ends</th><th scope=\"col\" class=\"n\">left</th></tr></thead><tbody>",
    );
    for certificate in &status.certificates {
        let end = u64::try_from(certificate.expires_unix).unwrap_or_default().saturating_mul(1000);
        let date = rfc3339(end);
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Text(&certificate.name),
            date.split('T').next().unwrap_or_default(),
            day_count(certificate.days_left)
        );
    }
    out.push_str("</tbody></table>");
}

pub(super) fn events(events: &[Event], out: &mut String) {
    if events.is_empty() {
        out.push_str("<p class=\"none\">Nothing notable happened.</p>");
        return;
    }
    out.push_str("<ol class=\"events\">");
    for event in events {
        let tone = match event.level.as_str() {
            "error" => " bad",
            "warning" => " warn",
            _ => "",
        };
        let _ = write!(
            out,
            "<li>{}<span class=\"word{tone}\">{}</span><code>{} <bdi>{}</bdi></code></li>",
            time(event.at_unix_ms),
            Text(&event.level),
            Text(&event.event),
            Text(&event.text)
        );
    }
    out.push_str("</ol>");
}

/// A point in time, in UTC to the second.
fn time(unix_ms: u64) -> String {
    let full = rfc3339(unix_ms);
    let (date, clock) = full.split_once('T').unwrap_or_default();
    let clock = clock.split('.').next().unwrap_or_default();
    format!("<time datetime=\"{full}\">{date} {clock}</time>")
}

fn rfc3339(unix_ms: u64) -> String {
    // Times that no clock shows are shown as 1970.
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH);
    Rfc3339(SystemTime::min(at, UNIX_EPOCH + Duration::from_secs(253_402_300_799))).to_string()
}

pub(super) fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "\u{2013}".to_owned())
}
