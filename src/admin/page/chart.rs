//! Small curves and bars as inline SVG: no style, no script, and a text for whoever does not see them.

use std::fmt::Write;

use super::super::status::Bucket;
use super::super::status::figures;
use super::markup::Text;

/// How many points a curve of 15 minutes has: more than a screen shows apart are not sent.
const POINTS: usize = 180;
/// How long the curve is.
const SECONDS: usize = 900;
/// The height of a curve in its own units.
const HEIGHT: f64 = 100.0;

/// The curve of the last 15 minutes: what is done as an area, what is not as a dashed line, each with its
/// word and its seconds; of what is done also the rate now.
pub(super) fn throughput(
    (done, done_by_second, now): (&str, &[u64], f64),
    (refused, refused_by_second): (&str, &[u64]),
    out: &mut String,
) {
    let messages = points(done_by_second);
    let refusals = points(refused_by_second);
    let largest = messages.iter().chain(&refusals).copied().fold(0.0, f64::max);
    let top = round_up(largest);
    let _ = write!(
        out,
        "<p class=\"scale\">up to {}/s<span class=\"key\"></span>{done}<span class=\"key dashed\"></span>{refused}</p>\
         <svg class=\"chart\" viewBox=\"0 0 {POINTS} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{} a second in the last 15 minutes: at most {}, now {}\">\
         <path class=\"rule\" d=\"M0 0H{POINTS}M0 50H{POINTS}M0 100H{POINTS}\"/>",
        figures::count(figures::whole(top)),
        capital(done),
        figures::rate(messages.iter().copied().fold(0.0, f64::max)),
        figures::rate(now),
    );
    if messages.len() > 1 {
        let line = line_of(&messages, top);
        let first = POINTS - messages.len();
        let _ = write!(
            out,
            "<path class=\"area\" d=\"{line}V{HEIGHT}H{first}Z\"/><path class=\"line\" d=\"{line}\"/>"
        );
    }
    if refusals.len() > 1 && refusals.iter().any(|value| *value > 0.0) {
        let _ = write!(out, "<path class=\"refused\" d=\"{}\"/>", line_of(&refusals, top));
    }
    out.push_str("</svg><p class=\"axis\"><span>15 min ago</span><span>10 min</span><span>5 min</span><span>now</span></p>");
}

/// A word as it begins a sentence.
fn capital(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}

/// The largest of each five seconds, so that a short peak is seen; the newest last.
fn points(by_second: &[u64]) -> Vec<f64> {
    let step = SECONDS / POINTS;
    let newest = by_second.iter().rev().take(SECONDS).copied().collect::<Vec<_>>();
    let mut points: Vec<f64> =
        newest.chunks(step).map(|few| few.iter().copied().max().unwrap_or_default() as f64).collect();
    points.reverse();
    points
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn round_up(value: f64) -> f64 {
    let mut top = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if top >= value || top >= 1e12 {
            break;
        }
        top *= factor;
    }
    top
}

/// The path through these points, which ends at the right edge.
fn line_of(points: &[f64], top: f64) -> String {
    let first = POINTS.saturating_sub(points.len());
    let mut path = String::with_capacity(points.len() * 10);
    for (place, value) in points.iter().enumerate() {
        let y = HEIGHT - (value / top).clamp(0.0, 1.0) * HEIGHT;
        let command = if place == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {y:.1}", first + place);
    }
    path
}

/// The decades of time that a curve of latency shows: 10 µs to 100 s.
const DECADES: std::ops::RangeInclusive<f64> = 1.0..=8.0;
/// The width of a decade in a curve's own units.
const DECADE: f64 = 20.0;

/// The histogram of a phase over the logarithm of time, as tall as its largest bucket.
pub(super) fn latency(phase: &str, curve: &[Bucket], out: &mut String) {
    let width = (DECADES.end() - DECADES.start()) * DECADE;
    let _ = write!(
        out,
        "<svg class=\"spark\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Histogram of {}\"><path class=\"rule\" d=\"M0 100H{width}\"/>",
        Text(phase)
    );
    let most = curve.iter().map(|bucket| bucket.count).max().unwrap_or_default() as f64;
    let mut path = String::new();
    for bucket in curve.iter().filter(|bucket| bucket.count > 0) {
        let place = |micros: f64| {
            (micros.max(1.0).log10().clamp(*DECADES.start(), *DECADES.end()) - DECADES.start()) * DECADE
        };
        let right = place(bucket.up_to_us as f64);
        // A bucket is a fourth to a fifth of its edge wide; a sliver is widened so that it is seen.
        let left = place(bucket.up_to_us as f64 * 0.8).min(right - 1.2);
        let height = (bucket.count as f64 / most * HEIGHT).max(4.0);
        let _ = write!(path, "M{left:.1} 100V{:.1}H{right:.1}V100Z", HEIGHT - height);
    }
    if !path.is_empty() {
        let _ = write!(out, "<path class=\"area\" d=\"{path}\"/><path class=\"line\" d=\"{path}\"/>");
    }
    out.push_str("</svg>");
}

/// A bar that is filled up to a share. What it shows stands beside it as a figure.
pub(super) fn bar(share: f64, out: &mut String) {
    let part = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    let _ = write!(
        out,
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"all\" width=\"100\" height=\"10\"/><rect class=\"part\" width=\"{part:.1}\" height=\"10\"/></svg>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_second_is_at_the_right_and_a_peak_of_a_second_is_seen() {
        let mut seconds = vec![1; 900];
        seconds[450] = 77;
        seconds[899] = 5;
        let points = points(&seconds);
        assert_eq!(points.len(), POINTS);
        assert_eq!((points[179], points.iter().copied().fold(0.0, f64::max)), (5.0, 77.0));
        assert!(line_of(&points, 100.0).contains("L179 95.0"));
        assert_eq!(line_of(&[0.0, 9.0], 10.0), "M178 100.0L179 10.0", "a young server has a short curve");
    }

    #[test]
    fn the_scale_is_a_round_number_that_holds_all() {
        let tops = [0.0, 1.0, 1.1, 3.0, 6.0, 11.0, 4_321.0].map(|value| figures::whole(round_up(value)));
        assert_eq!(tops, [1, 1, 2, 5, 10, 20, 5_000]);
        assert!(round_up(f64::INFINITY).is_finite());
    }

    #[test]
    fn every_curve_holds_numbers_only() {
        let mut out = String::new();
        let odd = [Bucket { up_to_us: 0, count: 1 }, Bucket { up_to_us: u64::MAX, count: u64::MAX }];
        latency("store", &odd, &mut out);
        latency("store", &[], &mut out);
        bar(f64::NAN, &mut out);
        bar(9.0, &mut out);
        throughput(("messages", &[u64::MAX; 1000], f64::NAN), ("refused", &[]), &mut out);
        throughput(("messages", &[], 0.0), ("refused", &[]), &mut out);
        assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
    }
}
