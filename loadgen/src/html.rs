//! The report as one HTML page without any outside resource: numbers, the latency curve, how it went over time, and what was
//! asked for. Charts are SVG; their colours are few fixed ones that the style sheet maps to those of a light or a dark page.

use std::fmt::Write as _;
use std::ops::Range;

use plotters::prelude::*;

use crate::histogram::{Percentiles, Phase};
use crate::progress::Sample;
use crate::report::{Report, counted};

/// Colours of the charts; each has a rule in [`STYLE`].
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const FIRST: RGBColor = RGBColor(3, 3, 3);
const SECOND: RGBColor = RGBColor(4, 4, 4);

const STYLE: &str = "
:root{--page:#fbfbfa;--card:#fff;--ink:#1c1e21;--soft:#676c73;--grid:#e4e5e7;--first:#0b66c3;--second:#d1495b;--edge:#e4e5e7}
@media(prefers-color-scheme:dark){:root{--page:#15171a;--card:#1d2024;--ink:#e8e9eb;--soft:#9aa1a9;--grid:#33373d;--first:#5aa9ff;--second:#ff8080;--edge:#2c3036}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 24px}
h1{font-size:30px;margin:0 0 4px;font-weight:650}h2{font-size:18px;margin:0 0 12px;font-weight:600}
p{margin:0 0 24px;color:var(--soft)}
section{background:var(--card);border:1px solid var(--edge);border-radius:12px;padding:22px 24px;margin:0 0 20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px;margin:0 0 20px}
.tile{background:var(--card);border:1px solid var(--edge);border-radius:12px;padding:16px 18px}
.tile b{display:block;font-size:24px;white-space:nowrap;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:14px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:15px}
th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--edge);white-space:nowrap}
tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:500}th:first-child,td:first-child{text-align:left}
table.plain td:last-child{text-align:left;white-space:normal;width:100%}
svg{width:100%;height:auto;display:block}
svg text{font-family:system-ui,sans-serif;fill:var(--soft)}
svg [stroke='#020202']{stroke:var(--grid)}svg [stroke='#010101']{stroke:var(--soft)}
svg [stroke='#030303']{stroke:var(--first)}svg [fill='#030303']{fill:var(--first)}
svg [stroke='#040404']{stroke:var(--second)}svg [fill='#040404']{fill:var(--second)}
h2+.legend{margin:-6px 0 8px}
.legend span{font-size:14px;margin-right:20px}
.legend span::before{content:'';display:inline-block;width:18px;height:3px;margin:0 8px 4px 0;background:var(--first)}
.legend span+span::before{background:var(--second)}
.bad{border-color:var(--second)}";

/// The whole page.
pub fn page(report: &Report<'_>) -> String {
    let tally = &report.outcome.tally;
    let mut body = format!(
        "<h1>{}</h1><p>{}, {} on {}, {}</p>",
        escape(&report.plan.target),
        escape(&report.arrival()),
        counted(report.plan.connections() as u64, "connection"),
        counted(report.plan.threads.len() as u64, "thread"),
        escape(&report.plan.mix.to_string())
    );
    if report.has_result() {
        body.push_str(&tiles(report));
    } else {
        let item = |words: &String| format!("<li>{}</li>", escape(words));
        let failures: String = tally.failures.first.iter().map(item).collect();
        let why = escape(&report.why_no_result());
        let _ = write!(body, "<section class=bad><h2>No result: {why}</h2><ul>{failures}</ul></section>");
    }
    let rate_names: &[&str] = if report.plan.rate.is_some() { &["accepted", "intended"] } else { &[] };
    for (title, names, chart) in [
        ("Latency of a message by percentile", &[][..], latency_curve(report)),
        ("Messages accepted per second, over time", rate_names, rate_over_time(report)),
        ("Longest and mean latency, over time", &["mean", "longest"], latency_over_time(report)),
    ] {
        if let Some(svg) = chart {
            let _ = write!(body, "<section><h2>{title}</h2>{}{svg}</section>", legend(names));
        }
    }
    body.push_str(&phases(report));
    body.push_str(&configuration(report));
    let title = escape(&report.plan.target);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <meta name=color-scheme content='light dark'><title>loadgen: {title}</title><style>{STYLE}</style>\
         <main>{body}</main></html>\n"
    )
}

/// Names of a chart's lines, in the order of their colours; nothing for a chart of one line.
fn legend(names: &[&str]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let item = |name: &&str| format!("<span>{name}</span>");
    let names: String = names.iter().map(item).collect();
    format!("<p class=legend>{names}</p>")
}

fn tiles(report: &Report<'_>) -> String {
    let latency = report.latency(Phase::Transaction);
    let mut tiles = vec![
        (thousands(report.rate()), "messages/s".to_owned()),
        (format!("{:.1}", report.megabytes_rate()), "MB/s".to_owned()),
    ];
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

fn phases(report: &Report<'_>) -> String {
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
    format!(
        "<section><h2>Latency by phase</h2><div class=wide><table><tr><th>phase<th>count<th>p50<th>p90<th>p99<th>p99.9\
         <th>p99.99<th>longest</tr>{rows}</table></div></section>"
    )
}

fn configuration(report: &Report<'_>) -> String {
    let tally = &report.outcome.tally;
    let replies: Vec<String> =
        tally.replies.by_code().iter().map(|(code, count)| format!("{count} × {code}")).collect();
    let cores: Vec<String> = report.cores().iter().map(usize::to_string).collect();
    let mut rows = vec![
        ("receiver", format!("{} ({})", report.plan.target, report.plan.address)),
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
        ("loadgen's own CPU", report.own_cpu()),
        ("made by", format!("loadgen {}", env!("CARGO_PKG_VERSION"))),
    ];
    if report.plan.rate.is_none() {
        rows.retain(|(name, _)| *name != "in time");
    }
    if let Some(tls) = report.tls() {
        rows.insert(3, ("TLS", tls));
    }
    rows.extend(report.notes().into_iter().map(|note| ("note", note)));
    let row = |(name, value): &(&str, String)| format!("<tr><td>{name}</td><td>{}</td></tr>", escape(value));
    let rows: String = rows.iter().map(row).collect();
    format!("<section><h2>Configuration and counts</h2><table class=plain>{rows}</table></section>")
}

/// Size of a chart in units of its own; the page scales it.
const CHART: (u32, u32) = (1000, 330);

type Points = Vec<(f64, f64)>;

/// Latency over "nines": the axis of HdrHistogram's plots, where each step is a tenth of the messages before.
fn latency_curve(report: &Report<'_>) -> Option<String> {
    let count = report.latency(Phase::Transaction).count.max(1) as f64;
    let nines = |quantile: f64| -(1.0 - quantile).max(0.5 / count).log10();
    let curve = report.outcome.tally.latencies.curve(Phase::Transaction);
    let points: Points = curve.iter().map(|(quantile, value, _)| (nines(*quantile), *value as f64)).collect();
    let label = |nines: &f64| match *nines {
        at if at < 0.1 => "0 %".to_owned(),
        at if at < 1.1 => "90 %".to_owned(),
        at if at < 2.1 => "99 %".to_owned(),
        at => format!(
            "99.{} %",
            "9".repeat((at + 0.1).floor().clamp(3.0, 9.0).to_string().parse::<usize>().unwrap_or(3) - 2)
        ),
    };
    let right = points.last()?.0.ceil().max(1.0);
    draw(0.0..right, &label, &|value| time(*value), &[(FIRST, points)], true)
}

fn rate_over_time(report: &Report<'_>) -> Option<String> {
    let points = steps(report, |before, after| {
        (after.accepted - before.accepted) as f64 / after.at.saturating_sub(before.at).as_secs_f64().max(1e-3)
    });
    let mut lines = vec![(FIRST, points)];
    if let Some(rate) = report.plan.rate {
        let end = report.plan.duration.as_secs_f64();
        let wanted = |at: f64| rate.first + (rate.last - rate.first) * (at / end).min(1.0);
        let times = lines[0].1.iter().map(|(at, _)| (*at, wanted(*at))).collect();
        lines.push((SECOND, times));
    }
    over_time(&lines, &|value| thousands(*value))
}

fn latency_over_time(report: &Report<'_>) -> Option<String> {
    let mean = steps(report, |before, after| {
        (after.latency_sum - before.latency_sum) as f64 / (after.accepted - before.accepted).max(1) as f64
    });
    let longest = steps(report, |_, after| after.latency_max as f64);
    over_time(&[(FIRST, mean), (SECOND, longest)], &|value| time(*value))
}

fn steps(report: &Report<'_>, value: impl Fn(&Sample, &Sample) -> f64) -> Points {
    let samples = &report.outcome.series.samples;
    // The last sample may follow the one before at once.
    let pairs = samples.windows(2).filter(|pair| pair[1].at.saturating_sub(pair[0].at).as_secs_f64() > 0.02);
    pairs.map(|pair| (pair[1].at.as_secs_f64(), value(&pair[0], &pair[1]))).collect()
}

fn over_time(lines: &[(RGBColor, Points)], label: &dyn Fn(&f64) -> String) -> Option<String> {
    let right = lines[0].1.last()?.0;
    draw(0.0..right, &|at| format!("{at:.1} s"), label, lines, false)
}

/// A chart of lines; none when there is nothing to draw. The first one is filled.
fn draw(
    x: Range<f64>,
    x_label: &dyn Fn(&f64) -> String,
    y_label: &dyn Fn(&f64) -> String,
    lines: &[(RGBColor, Points)],
    tenths: bool,
) -> Option<String> {
    let top = lines.iter().flat_map(|(_, points)| points).map(|(_, value)| *value).fold(0.0, f64::max);
    if top <= 0.0 || lines.iter().all(|(_, points)| points.len() < 2) {
        return None;
    }
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, CHART).into_drawing_area();
        let labels = if tenths { format!("{:.0}", x.end + 1.0).parse().unwrap_or(5) } else { 10 };
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .margin_right(30)
            .x_label_area_size(30)
            .y_label_area_size(76)
            .build_cartesian_2d(x, 0.0..top * 1.08)
            .ok()?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GRID)
            .x_labels(labels)
            .y_labels(6)
            .x_label_formatter(&x_label)
            .y_label_formatter(&y_label)
            .label_style(("sans-serif", 15).into_font().color(&INK))
            .draw()
            .ok()?;
        for (index, (colour, points)) in lines.iter().enumerate() {
            if index == 0 {
                chart.draw_series(AreaSeries::new(points.iter().copied(), 0.0, colour.mix(0.12))).ok()?;
            }
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2))).ok()?;
        }
        root.present().ok()?;
    }
    Some(svg)
}

/// A time in microseconds, in the unit that reads best.
fn time(microseconds: f64) -> String {
    match microseconds {
        value if value < 1e3 => format!("{value:.0} µs"),
        value if value < 1e4 => format!("{:.2} ms", value / 1e3),
        value if value < 1e6 => format!("{:.1} ms", value / 1e3),
        value => format!("{:.2} s", value / 1e6),
    }
}

/// A whole number with its thousands apart.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_and_text_is_escaped() {
        assert_eq!([999.0, 1_500.0, 45_300.0, 2e6].map(time), ["999 µs", "1.50 ms", "45.3 ms", "2.00 s"]);
        assert_eq!(thousands(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(escape("<b>&\"x"), "&lt;b&gt;&amp;&quot;x");
    }
}
