//! Charts of lines for a page. The lines are SVG that is stretched to its room; the text on the axes is that
//! of the page, placed in percent. So text has the same size on a phone as on a wide screen.

use std::fmt::Write as _;

use crate::units::trimmed;

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// The value at its start.
    pub from: f64,
    /// The value at its end. `from < to`
    pub to: f64,
    /// Each step is a multiple, not a sum. Then `0 < from`.
    pub logarithmic: bool,
    /// Values with a name, in ascending order. On a narrow screen every other one on the horizontal axis is
    /// hidden.
    pub ticks: Vec<(f64, String)>,
}

/// A line. Where a value is missing it has a gap.
#[derive(Debug, Clone)]
pub struct Curve {
    /// In the legend.
    pub name: &'static str,
    /// From left to right.
    pub points: Vec<(f64, Option<f64>)>,
}

/// Units of the drawing in both directions; the page stretches it.
const SIZE: f64 = 1000.0;

/// Values at the ends of an axis that has to hold these.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let each = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), each);
    (low <= high).then_some((low, high))
}

impl Axis {
    /// From 0 to a little above the highest value; `None` if no value is above 0.
    pub fn linear(values: impl Iterator<Item = f64>, label: &dyn Fn(f64) -> String) -> Option<Self> {
        let (_, high) = bounds(values).filter(|(_, high)| *high > 0.0)?;
        let step = step_of(high / 5.0);
        let to = (high / step).ceil() * step;
        let ticks = steps(step, to).map(|value| (value, label(value))).collect();
        Some(Self { from: 0.0, to, logarithmic: false, ticks })
    }

    /// From 0 to exactly there, with the unit after the last number.
    pub fn time(seconds: f64) -> Self {
        let seconds = seconds.max(1e-3);
        let step = step_of(seconds / 8.0);
        let ticks = steps(step, seconds).map(|value| (value, format!("{} s", trimmed(value)))).collect();
        Self { from: 0.0, to: seconds, logarithmic: false, ticks }
    }

    /// Each decade is as long as any other; `None` if there is no value.
    pub fn logarithmic(values: impl Iterator<Item = f64>, label: &dyn Fn(f64) -> String) -> Option<Self> {
        let (low, high) = bounds(values.map(|value| value.max(1.0)))?;
        // A flat line stands in the middle of something.
        let (from, to) = (round_down(low * 0.999), round_up(high * 1.001));
        let wide = (to / from).log10() > 3.0;
        let mut ticks = Vec::new();
        let mut decade = 10f64.powf(from.log10().floor());
        while decade <= to {
            for factor in if wide { &[1.0][..] } else { &[1.0, 2.0, 5.0] } {
                let value = decade * factor;
                if (from * 0.999..=to * 1.001).contains(&value) {
                    ticks.push((value, label(value)));
                }
            }
            decade *= 10.0;
        }
        Some(Self { from, to, logarithmic: true, ticks })
    }

    /// Where a value stands, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten; at least `least`.
fn step_of(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * decade)
        .find(|step| *step >= least * 0.999)
        .unwrap_or(decade)
}

/// The highest of 1, 2, 5 and so on that is not above.
fn round_down(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|factor| factor * decade).find(|step| *step <= value).unwrap_or(decade)
}

fn round_up(value: f64) -> f64 {
    step_of(value / 0.999)
}

fn steps(step: f64, to: f64) -> impl Iterator<Item = f64> {
    (0..=100u32).map(move |index| f64::from(index) * step).take_while(move |value| *value <= to * 1.001)
}

/// The chart as HTML. `title` says what is seen to those who do not see it.
pub fn draw(title: &str, x: &Axis, y: &Axis, lines: &[Curve]) -> String {
    let mut svg = String::new();
    for (value, _) in &y.ticks {
        let at = SIZE * (1.0 - y.place(*value));
        let _ = write!(svg, "<path class=g d='M0 {at:.1}H{SIZE}'/>");
    }
    for (index, line) in lines.iter().enumerate() {
        if let (0, [(first, _), .., (last, _)]) = (index, &line.points[..]) {
            let ends = [first, last].map(|value| SIZE * x.place(*value));
            let path = path(line, x, y);
            // A gap would join what does not belong together.
            if line.points.iter().all(|(_, value)| value.is_some()) {
                let _ =
                    write!(svg, "<path class=a d='{path}L{:.1} {SIZE}L{:.1} {SIZE}Z'/>", ends[1], ends[0]);
            }
        }
        let _ = write!(svg, "<path class=l{index} d='{}'/>", path(line, x, y));
    }
    let mut labels = String::new();
    for (value, name) in &y.ticks {
        let _ =
            write!(labels, "<span class=y style='top:{:.2}%'>{name}</span>", 100.0 * (1.0 - y.place(*value)));
    }
    for (index, (value, name)) in x.ticks.iter().enumerate() {
        let more = if index % 2 == 1 { " more" } else { "" };
        let at = 100.0 * x.place(*value);
        let _ = write!(labels, "<span class='x{more}' style='left:{at:.2}%'>{name}</span>");
    }
    format!(
        "{}<div class=chart role=img aria-label='{title}'><div class=plot><svg viewBox='0 0 {SIZE} {SIZE}' \
         preserveAspectRatio=none aria-hidden=true>{svg}</svg>{labels}</div></div>",
        legend(lines)
    )
}

fn path(line: &Curve, x: &Axis, y: &Axis) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (at, value) in &line.points {
        if let Some(value) = value {
            let command = if drawing { 'L' } else { 'M' };
            let (left, top) = (SIZE * x.place(*at), SIZE * (1.0 - y.place(*value)));
            let _ = write!(path, "{command}{left:.1} {top:.1}");
            // A point between two gaps is seen as a dot, because the ends of lines are round.
            if !drawing {
                path.push_str("h0");
            }
        }
        drawing = value.is_some();
    }
    path
}

/// Names of the lines, in the order of their colours; nothing for a chart of one line.
fn legend(lines: &[Curve]) -> String {
    if lines.len() < 2 {
        return String::new();
    }
    let item = |(index, line): (usize, &Curve)| format!("<span class=k{index}>{}</span>", line.name);
    format!("<p class=legend>{}</p>", lines.iter().enumerate().map(item).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn a_logarithmic_axis_holds_its_values_and_has_few_names() {
        let label = |value: f64| trimmed(value);
        for (low, high) in [
            (1.0, 1.0),
            (150.0, 150.0),
            (0.0, 7.0),
            (80.0, 25_100.0),
            (3.0, 3.6e9),
            (199.0, 201.0),
            (500.0, 500.0),
        ] {
            let axis = Axis::logarithmic([low, high].into_iter(), &label).expect("values");
            assert!(axis.from <= low.max(1.0) && axis.to >= high && axis.from < axis.to, "{axis:?}");
            assert!((2..=11).contains(&axis.ticks.len()), "{axis:?}");
            assert!((axis.place(axis.from), axis.place(axis.to)) == (0.0, 1.0));
        }
        let axis = Axis::logarithmic([100.0, 10_000.0].into_iter(), &label).expect("values");
        assert!((axis.place(1_000.0) - 0.5).abs() < 0.2);
        assert_eq!(
            names(&Axis::logarithmic([120.0, 900.0].into_iter(), &label).expect("values")),
            ["100", "200", "500", "1000"]
        );
        assert!(Axis::logarithmic(std::iter::empty(), &label).is_none());
    }

    #[test]
    fn a_linear_axis_begins_at_nothing_and_has_round_names() {
        let axis = Axis::linear([3.0, 21_300.0].into_iter(), &|value| trimmed(value)).expect("values");
        assert_eq!(names(&axis), ["0", "5000", "10000", "15000", "20000", "25000"]);
        assert_eq!(names(&Axis::time(0.5)), ["0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s", "0.5 s"]);
        assert_eq!(names(&Axis::time(10.02)), ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]);
        assert!(Axis::linear([0.0].into_iter(), &|value| trimmed(value)).is_none());
    }

    #[test]
    fn a_line_has_a_gap_where_nothing_is_known() {
        let y = Axis::linear([10.0].into_iter(), &|value| trimmed(value)).expect("values");
        let points = [(0.0, Some(0.0)), (1.0, Some(10.0)), (2.0, None), (3.0, Some(5.0)), (4.0, None)];
        let line = Curve { name: "x", points: points.to_vec() };
        assert_eq!(path(&line, &Axis::time(4.0), &y), "M0.0 1000.0h0L250.0 0.0M750.0 500.0h0");
    }
}
