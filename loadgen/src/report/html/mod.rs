//! The report as one HTML page without any outside resource: where it comes from, numbers, the latency curve,
//! how it went over time, and what was asked for.

mod chart;

use std::fmt::Write as _;

use super::Report;
use super::judgement::{self, Standing};
use crate::latency::{Percentiles, Phase};
use crate::tally::failures::SHOWN_MAX;
use crate::tally::interval::Slice;
use crate::units::{counted, thousands, time, time_chosen};
use chart::{Axis, Curve};

const STYLE: &str = "
:root{--page:#fbfbfa;--card:#fff;--ink:#1c1e21;--soft:#5f646b;--grid:#e4e5e7;--edge:#e4e5e7;--c0:#0b66c3;--c1:#12805c;--c2:#b06000;--c3:#c9304a}
@media(prefers-color-scheme:dark){:root{--page:#15171a;--card:#1d2024;--ink:#e8e9eb;--soft:#a3aab2;--grid:#33373d;--edge:#2c3036;--c0:#5aa9ff;--c1:#3ecf9a;--c2:#f2b45c;--c3:#ff8080}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 24px}
h1{font-size:30px;line-height:1.25;margin:0 0 4px;font-weight:650;overflow-wrap:anywhere}h2{font-size:18px;margin:0 0 12px;font-weight:600}
p{margin:0 0 16px;color:var(--soft)}
.from{font-size:14px;margin:0 0 20px;color:var(--soft)}
.from code{display:block;margin:6px 0 0;padding:8px 12px;background:var(--card);border:1px solid var(--edge);border-radius:8px;color:var(--ink);overflow-wrap:anywhere}
.from code span{display:inline-block;max-width:100%}
section{background:var(--card);border:1px solid var(--edge);border-radius:12px;padding:22px 24px;margin:0 0 20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(135px,1fr));gap:14px;margin:0 0 20px}
.tile{background:var(--card);border:1px solid var(--edge);border-radius:12px;padding:16px 18px}
.tile b{display:block;font-size:24px;white-space:nowrap;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:14px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:15px}
th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--edge);white-space:nowrap}
tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:500}th:first-child,td:first-child{text-align:left}
table.plain td{vertical-align:top}
table.plain td:last-child{text-align:left;white-space:normal;width:100%;overflow-wrap:anywhere}
ul{margin:0;padding:0 0 0 20px;overflow-wrap:anywhere}
.chart{position:relative;height:320px}
.plot{position:absolute;left:58px;right:20px;top:10px;bottom:30px}
.plot svg{position:absolute;width:100%;height:100%;overflow:visible}
.plot span{position:absolute;font-size:13px;line-height:1;color:var(--soft);white-space:nowrap;font-variant-numeric:tabular-nums}
.plot .y{right:100%;margin-right:8px;transform:translateY(-50%)}
.plot .x{top:100%;margin-top:10px;transform:translateX(-50%)}
path{fill:none;vector-effect:non-scaling-stroke;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.g{stroke:var(--grid);stroke-width:1}.a{fill:var(--c0);opacity:.1}
.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}
.legend{margin:-6px 0 10px;font-size:14px}
.legend span{display:inline-block;margin-right:18px}
.legend span::before{content:'';display:inline-block;width:16px;height:3px;margin:0 7px 4px 0;background:var(--c0)}
.legend .k1::before{background:var(--c1)}.legend .k2::before{background:var(--c2)}.legend .k3::before{background:var(--c3)}
.bad{border-color:var(--c3)}.failed b{color:var(--c3)}
@media(max-width:600px){main{padding:24px 12px}section{padding:16px 14px}h1{font-size:22px}.chart{height:260px}.plot{right:24px}th,td{padding:6px}.plot .more{display:none}}";

/// The whole page.
pub fn page(report: &Report<'_>) -> String {
    let mut body = head(report);
    if report.has_result() {
        body.push_str(&tiles(report));
    } else {
        body.push_str(&failures(report));
    }
    body.push_str(&judgements(report));
    let by_percentile = if report.subject() == Phase::Session {
        "Latency of a session, by percentile"
    } else {
        "Latency of a message, by percentile"
    };
    let slices = report.over_time();
    for (title, chart) in [
        ("Messages accepted per second, over time", rate_over_time(report, &slices)),
        ("Latency of a message, over time", latency_over_time(&slices)),
        (by_percentile, latency_curve(report)),
    ] {
        if let Some(chart) = chart {
            let _ = write!(body, "<section><h2>{title}</h2>{chart}</section>");
        }
    }
    body.push_str(&phases("Latency by phase", report));
    body.push_str(&configuration("Configuration and counts", report));
    if let Some(beside) = report.beside() {
        body.push_str(&phases("Beside it: latency by phase", &beside));
        body.push_str(&configuration("Beside it: configuration and counts", &beside));
    }
    let title = escape(&report.plan.target);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta name=color-scheme content='light dark'><title>loadgen: {title}</title><style>{STYLE}</style>\
         <main>{body}</main></html>\n"
    )
}

/// What was done to whom; when, where, and by what command.
fn head(report: &Report<'_>) -> String {
    let from = report.provenance;
    // Lines end between words, not after the dashes of an option.
    let word = |word: &String| format!("<span>{}</span>", escape(word));
    let command: Vec<String> = from.command.iter().map(word).collect();
    format!(
        "<h1>{}</h1><p>{}, {} on {}, {}</p><div class=from>{} UTC on {} ({}), by loadgen {}<code>{}</code></div>",
        escape(&report.plan.target),
        escape(&report.arrival()),
        counted(report.plan.connections() as u64, "connection"),
        counted(report.plan.threads.len() as u64, "thread"),
        escape(&report.plan.mix.to_string()),
        escape(from.date.trim_end_matches('Z')).replace('T', " "),
        escape(&from.host),
        escape(&from.system),
        from.version,
        command.join(" "),
    )
}

fn failures(report: &Report<'_>) -> String {
    let failures = &report.outcome.tally.failures;
    let kinds = failures.kinds();
    let shown = &kinds[..kinds.len().min(SHOWN_MAX)];
    let mut items = String::new();
    for kind in shown {
        let alike = if kind.varies { " (or with other numbers)" } else { "" };
        let _ = write!(items, "<li>{} × {}{alike}</li>", thousands(kind.count as f64), escape(&kind.words));
    }
    let more = failures.count - shown.iter().map(|kind| kind.count).sum::<u64>();
    if more > 0 {
        let _ = write!(items, "<li>and {} more, of other kinds</li>", thousands(more as f64));
    }
    let why = escape(&report.why_no_result());
    format!("<section class=bad><h2>No result: {why}</h2><ul>{items}</ul></section>")
}

fn judgements(report: &Report<'_>) -> String {
    let judgements = judgement::judgements(report);
    if judgements.is_empty() {
        return String::new();
    }
    let mut items = String::new();
    for judgement in &judgements {
        let class = if judgement.standing == Standing::Failed { " class=failed" } else { "" };
        let name = judgement.standing.name();
        let _ = write!(items, "<li{class}><b>{name}</b>: {}</li>", escape(&judgement.words));
    }
    let bad = judgements.iter().any(|judgement| judgement.standing == Standing::Failed);
    let class = if bad { " class=bad" } else { "" };
    format!("<section{class}><h2>Thresholds</h2><ul>{items}</ul></section>")
}

fn tiles(report: &Report<'_>) -> String {
    let latency = report.latency(report.subject());
    let mut tiles = if report.subject() == Phase::Session {
        vec![
            (thousands(report.refusals_rate()), "refusals/s".to_owned()),
            (thousands(report.sessions_rate()), "sessions/s".to_owned()),
        ]
    } else {
        vec![
            (thousands(report.rate()), "messages/s".to_owned()),
            (format!("{:.1}", report.megabytes_rate()), "MB/s".to_owned()),
        ]
    };
    for (value, name) in
        [(latency.p50, "p50"), (latency.p99, "p99"), (latency.p999, "p99.9"), (latency.max, "longest")]
    {
        tiles.push((time(value as f64), format!("latency, {name}")));
    }
    if report.plan.tls.is_some() {
        tiles.insert(2, (thousands(report.handshakes_rate()), "TLS handshakes/s".to_owned()));
    }
    if report.plan.rate.is_some() {
        tiles.push((thousands(report.outcome.tally.unsent as f64), "due and not sent".to_owned()));
    }
    let tile =
        |(value, name): (String, String)| format!("<div class=tile><b>{value}</b><span>{name}</span></div>");
    format!("<div class=tiles>{}</div>", tiles.into_iter().map(tile).collect::<String>())
}

fn phases(title: &str, report: &Report<'_>) -> String {
    let mut rows = String::new();
    for phase in Phase::ALL {
        let Percentiles { count, p50, p90, p99, p999, p9999, max } = report.latency(phase);
        if count > 0 {
            let mut cells = String::new();
            for value in [p50, p90, p99, p999, p9999, max] {
                let _ = write!(cells, "<td>{}</td>", time(value as f64));
            }
            let _ =
                write!(rows, "<tr><td>{}</td><td>{}</td>{cells}</tr>", phase.name(), thousands(count as f64));
        }
    }
    let left_out = report.left_out().map_or(String::new(), |words| format!("<p>{}</p>", escape(&words)));
    format!(
        "<section><h2>{title}</h2><div class=wide><table><tr><th>phase<th>count<th>p50<th>p90<th>p99<th>p99.9\
         <th>p99.99<th>longest</tr>{rows}</table></div>{left_out}</section>"
    )
}

fn configuration(title: &str, report: &Report<'_>) -> String {
    let tally = &report.outcome.tally;
    let replies: Vec<String> =
        tally.replies.by_code().iter().map(|(code, count)| format!("{count} × {code}")).collect();
    let cores: Vec<String> = report.cores().iter().map(usize::to_string).collect();
    let mut rows = vec![
        ("receiver", report.receiver()),
        ("arrival", report.arrival()),
        ("session", report.session()),
        (
            "message",
            format!("{}, {}", report.plan.message, counted(report.plan.recipients as u64, "recipient")),
        ),
        (
            "load",
            format!(
                "{}, pinned to core {}",
                counted(report.plan.connections() as u64, "connection"),
                cores.join(", ")
            ),
        ),
        (
            "messages",
            format!(
                "{} begun, {} accepted, {} refused, {} broken off",
                tally.started, tally.accepted, tally.refused, tally.aborted
            ),
        ),
        ("in time", format!("{} late by more than 1 ms, {} due and not sent", tally.late, tally.unsent)),
        ("replies", replies.join(", ")),
        ("elapsed", format!("{:.3} s", report.outcome.elapsed.as_secs_f64())),
        ("own CPU", report.own_cpu()),
    ];
    if report.plan.rate.is_none() {
        rows.retain(|(name, _)| *name != "in time");
    }
    if report.plan.bots.is_some() {
        rows.retain(|(name, _)| !matches!(*name, "message" | "messages"));
        rows.insert(3, ("sessions", report.bot_sessions()));
        rows.extend(report.bots());
    } else if let Some(tls) = report.tls() {
        rows.insert(3, ("TLS", tls));
    }
    rows.extend(report.plan.source.map(|source| ("source", source.to_string())));
    rows.extend(report.notes().into_iter().map(|note| ("note", note)));
    let row = |(name, value): &(&str, String)| format!("<tr><td>{name}</td><td>{}</td></tr>", escape(value));
    let rows: String = rows.iter().map(row).collect();
    format!("<section><h2>{title}</h2><table class=plain>{rows}</table></section>")
}

/// Latency over "nines": the axis of HdrHistogram's plots, where each step is a tenth of the messages before.
fn latency_curve(report: &Report<'_>) -> Option<String> {
    let count = report.latency(report.subject()).count.max(1) as f64;
    let nines = |quantile: f64| -(1.0 - quantile).max(0.5 / count).log10();
    let curve = report.outcome.tally.latencies.curve(report.subject());
    let points: Vec<(f64, Option<f64>)> =
        curve.iter().map(|(quantile, value, _)| (nines(*quantile), Some(*value as f64))).collect();
    let name = |nines: u32| match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    };
    let to = points.last()?.0.max(1.0);
    let ticks =
        (0..10).take_while(|nines| f64::from(*nines) <= to).map(|nines| (f64::from(nines), name(nines)));
    let x = Axis { from: 0.0, to, logarithmic: false, ticks: ticks.collect() };
    lines_on_time_axis("Latency by percentile", &x, &[Curve { name: "latency", points }])
}

fn latency_over_time(slices: &[Slice]) -> Option<String> {
    type Value = fn(&Percentiles) -> u64;
    let line = |(name, value): (&'static str, Value)| {
        let of = |slice: &Slice| (slice.latency.count > 0).then(|| value(&slice.latency) as f64);
        Curve { name, points: slices.iter().map(|slice| (middle(slice), of(slice))).collect() }
    };
    let lines: [(_, Value); 4] = [
        ("p50", |latency| latency.p50),
        ("p99", |latency| latency.p99),
        ("p99.9", |latency| latency.p999),
        ("longest", |latency| latency.max),
    ];
    let end = slices.last()?.to.as_secs_f64();
    lines_on_time_axis("Percentiles of latency over time", &Axis::time(end), &lines.map(line))
}

/// Times, on a logarithmic axis.
fn lines_on_time_axis(title: &str, x: &Axis, lines: &[Curve]) -> Option<String> {
    let values = lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
    let y = Axis::logarithmic(values, &time_chosen)?;
    (lines.iter().any(|line| line.points.len() > 1)).then(|| chart::draw(title, x, &y, lines))
}

fn rate_over_time(report: &Report<'_>, slices: &[Slice]) -> Option<String> {
    let end = slices.last()?.to.as_secs_f64();
    let points = slices.iter().map(|slice| (middle(slice), Some(slice.rate())));
    let mut lines = vec![Curve { name: "accepted", points: points.collect() }];
    if let Some(rate) = report.plan.rate {
        let ramp = report.plan.duration.as_secs_f64();
        let intended = |at: f64| rate.first + (rate.last - rate.first) * (at / ramp).min(1.0);
        let points = [0.0, ramp.min(end), end].map(|at| (at, Some(intended(at))));
        lines.push(Curve { name: "intended", points: points.to_vec() });
    }
    let values = lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
    let y = Axis::linear(values, &thousands)?;
    (slices.len() > 1).then(|| chart::draw("Messages a second over time", &Axis::time(end), &y, &lines))
}

fn middle(slice: &Slice) -> f64 {
    f64::midpoint(slice.from.as_secs_f64(), slice.to.as_secs_f64())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<b>&\"x"), "&lt;b&gt;&amp;&quot;x");
    }
}
