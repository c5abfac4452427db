//! What both tables of metrics are made with: a row, its values as text, edges of histograms.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use crate::metrics::Spread;

/// What a table shows.
pub(super) trait Scrape {
    /// Its values at a moment.
    type Of<'a>;
}

/// Appends all metrics of a table.
pub(super) fn write_all<S: Scrape>(table: &[Metric<S>], scrape: &S::Of<'_>, text: &mut String) {
    for metric in table {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.word());
        (metric.samples)(scrape, &mut Samples { name: metric.name, text });
    }
}

/// A table as it stands in `docs/metrics.md`.
pub(super) fn reference_of<S: Scrape>(table: &[Metric<S>]) -> String {
    let mut text = "| metric | kind | labels | what it says |\n| --- | --- | --- | --- |\n".to_owned();
    for Metric { name, kind, labels, help, .. } in table {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(text, "| `{name}` | {} | {} | {help} |", kind.word(), labels.join(" "));
    }
    text
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A row of a table; its values are those of a scrape `S`.
pub(super) struct Metric<S: Scrape> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    pub(super) samples: fn(&S::Of<'_>, &mut Samples<'_>),
}

/// Where the values of one metric go.
pub(super) struct Samples<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Samples<'_> {
    /// A value with its labels, which are no text of a client.
    pub(super) fn add(&mut self, labels: &[(&str, &dyn fmt::Display)], value: impl fmt::Display) {
        self.line("", labels, value);
    }

    /// A value for each content of a label.
    pub(super) fn each<L: fmt::Display, V: fmt::Display>(
        &mut self,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        for (content, value) in values {
            self.add(&[(label, &content)], value);
        }
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &dyn fmt::Display)], value: impl fmt::Display) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (number, (label, content)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if number == 0 { '{' } else { ',' });
            let _ = write!(Quoted(self.text), "{content}");
            self.text.push('"');
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(super) fn histogram(&mut self, labels: &[(&str, &dyn fmt::Display)], edges: &Edges, spread: &Spread) {
        let with = |edge: &dyn fmt::Display, samples: &mut Self, count| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", edge)]).collect();
            samples.line("_bucket", &labels, count);
        };
        for exponent in edges.exponents.clone() {
            with(&edges.unit.of(1 << exponent), self, spread.count_to(exponent));
        }
        let count = spread.count();
        with(&"+Inf", self, count);
        self.line("_sum", labels, edges.unit.of(spread.sum));
        self.line("_count", labels, count);
    }
}

/// Escapes what stands in a label.
struct Quoted<'a>(&'a mut String);

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

/// Which edges of a histogram are shown: powers of two of its unit.
pub(super) struct Edges {
    pub(super) exponents: std::ops::Range<u32>,
    pub(super) unit: Unit,
}

/// What a number of a histogram is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    /// A microsecond, shown in seconds.
    Microsecond,
    /// One, shown as it is.
    One,
}

impl Unit {
    pub(super) fn of(self, value: u64) -> Shown {
        match self {
            Self::Microsecond => Shown { whole: value / 1_000_000, millionths: value % 1_000_000 },
            Self::One => Shown { whole: value, millionths: 0 },
        }
    }
}

/// A number with at most six places, exactly and without zeros at its end.
pub(super) struct Shown {
    whole: u64,
    millionths: u64,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millionths == 0 {
            return self.whole.fmt(f);
        }
        let places = format!("{:06}", self.millionths);
        write!(f, "{}.{}", self.whole, places.trim_end_matches('0'))
    }
}

/// From 64 µs to 134 s.
pub(super) const PHASES: Edges = Edges { exponents: 6..28, unit: Unit::Microsecond };
/// From 8 µs to 17 s.
pub(super) const TURNS: Edges = Edges { exponents: 3..25, unit: Unit::Microsecond };
/// From 256 octets to 512 MiB.
pub(super) const SIZES: Edges = Edges { exponents: 8..30, unit: Unit::One };
/// From 1 to 1,024.
pub(super) const BATCHES: Edges = Edges { exponents: 0..11, unit: Unit::One };

pub(super) fn seconds(duration: Duration) -> Shown {
    Unit::Microsecond.of(crate::metrics::micros(duration))
}

pub(super) fn seconds_since_1970(at: SystemTime) -> Shown {
    seconds(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

macro_rules! metrics {
    ($of:ty: $($name:literal $kind:ident [$($label:literal)*] $help:literal, |$scrape:pat_param, $samples:ident| $body:expr;)+) => {
        const METRICS: &[Metric<$of>] = &[
            $(Metric {
                name: concat!("ringmx_", $name),
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
                samples: |$scrape, $samples| { $body; },
            },)+
        ];
    };
}
