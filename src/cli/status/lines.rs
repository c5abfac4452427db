//! Lines of text for a status, at any width.
//!
//! Blocks of figures stand beside each other where there is room, each as wide as the others. The order says
//! what matters: whether mail moves, what is wrong, then the figures, then the events.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::admin::status::figures::micros;
use crate::admin::status::{Event, Latency, Problem, Severity};
use crate::escape::is_seen;
use crate::timestamp::Rfc3339;

/// A block is readable from this width on.
const BLOCK_COLUMNS_MIN: usize = 36;
/// Figures further away from their names are hard to follow.
const BLOCK_COLUMNS_MAX: usize = 56;
/// Between blocks.
const GAP: usize = 3;

/// What a line is, for a terminal that has colours. The words say it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
    Soft,
}

/// A line, of parts in tones of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line(Vec<(Tone, String)>);

impl Line {
    pub(super) fn new(tone: Tone, text: String) -> Self {
        Self(vec![(tone, text)])
    }

    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    /// The text with its line end.
    pub(super) fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        format!("{}\n", text.trim_end())
    }

    /// The text without a line end, in colours or only in bold.
    pub(super) fn write(&self, has_colour: bool, out: &mut String) {
        for (tone, text) in &self.0 {
            let code = match (tone, has_colour) {
                (Tone::Plain, _) | (Tone::Soft, false) => "",
                (Tone::Heading, _) | (Tone::Good | Tone::Warning | Tone::Bad, false) => "\x1b[1m",
                (Tone::Good, true) => "\x1b[1;32m",
                (Tone::Warning, true) => "\x1b[1;33m",
                (Tone::Bad, true) => "\x1b[1;31m",
                (Tone::Soft, true) => "\x1b[2m",
            };
            out.push_str(code);
            out.push_str(text);
            if !code.is_empty() {
                out.push_str("\x1b[0m");
            }
        }
    }

    pub(super) fn columns(&self) -> usize {
        self.0.iter().map(|(_, text)| columns(text)).sum()
    }
}

/// What stands first.
pub(super) struct Head<'a> {
    /// Whose status it is.
    pub(super) name: String,
    /// More about that, in parts.
    pub(super) about: Vec<String>,
    /// Whether mail moves, in a word or two.
    pub(super) word: &'static str,
    /// It does not.
    pub(super) is_bad: bool,
    /// The process is stopping.
    pub(super) is_ending: bool,
    /// What is wrong.
    pub(super) problems: &'a [Problem],
    /// When that was so.
    pub(super) at_unix_ms: u64,
}

impl Head<'_> {
    /// Its lines, and an empty one.
    pub(super) fn lines(&self, width: usize) -> Vec<Line> {
        // A line ends between them, never within one.
        let about: Vec<String> = self.about.iter().map(|part| part.replace(' ', "\u{a0}")).collect();
        let tone = if self.is_bad || self.problems.iter().any(|problem| problem.severity == Severity::Error) {
            Tone::Bad
        } else if self.is_ending || !self.problems.is_empty() {
            Tone::Warning
        } else {
            Tone::Good
        };
        let state = match self.problems.len() {
            0 => format!("{}: nothing is wrong", self.word),
            1 => format!("{}: 1 problem", self.word),
            number => format!("{}: {number} problems", self.word),
        };
        let mut all = apart(Tone::Heading, &self.name, &about.join(", "), width);
        all.extend(apart(tone, &state, &clock(self.at_unix_ms), width));
        for problem in self.problems {
            let (tone, word) = match problem.severity {
                Severity::Error => (Tone::Bad, "Error"),
                Severity::Warning => (Tone::Warning, "Warning"),
            };
            all.extend(wrapped(tone, &format!("{word}: {}.", shown(&problem.what)), width, 2));
            all.extend(wrapped(Tone::Plain, &shown(&problem.cure), width, 4));
        }
        all.push(Line::empty());
        all
    }
}

/// Blocks of the width that they get, beside each other where there is room. One that has only a heading is
/// left out.
pub(super) fn in_columns(blocks: impl FnOnce(usize) -> Vec<Vec<Line>>, width: usize) -> Vec<Line> {
    let beside = ((width + GAP) / (BLOCK_COLUMNS_MIN + GAP)).clamp(1, 4);
    let block = ((width + GAP) / beside).saturating_sub(GAP).min(BLOCK_COLUMNS_MAX);
    let mut all = blocks(block);
    all.retain(|block| block.len() > 1);
    beside_each_other(all, beside, block)
}

/// Two texts at the ends of a line, or below each other where they do not fit one.
fn apart(tone: Tone, left: &str, right: &str, width: usize) -> Vec<Line> {
    let room = width.saturating_sub(columns(left) + columns(right));
    if room < 2 {
        let mut all = vec![Line::new(tone, fit(left, width))];
        all.extend(wrapped(Tone::Soft, right, width, 0));
        return all;
    }
    vec![Line(vec![(tone, left.to_owned()), (Tone::Soft, " ".repeat(room) + right)])]
}

pub(super) fn titled(heading: String, rows: Vec<String>) -> Vec<Line> {
    let rows = rows.into_iter().map(|text| Line::new(Tone::Plain, text));
    std::iter::once(Line::new(Tone::Heading, heading)).chain(rows).collect()
}

/// How many a second up to now, a column for as many seconds as fit into 15 minutes.
pub(super) fn sparkline(by_second: &[u64], width: usize) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = by_second.iter().copied().max().unwrap_or_default();
    if most == 0 || width < 10 {
        return String::new();
    }
    // A server of another version may keep more.
    let step = by_second.len().max(900).div_ceil(width);
    let columns = by_second.rchunks(step).rev();
    let highest = columns.map(|seconds| seconds.iter().copied().max().unwrap_or_default());
    highest
        .map(|value| {
            if value == 0 {
                return ' ';
            }
            let place = (u128::from(value) * 8).div_ceil(u128::from(most)).saturating_sub(1);
            usize::try_from(place).ok().and_then(|place| STEPS.get(place)).copied().unwrap_or('█')
        })
        .collect()
}

/// The events with their heading, newest first.
pub(super) fn events(events: &[Event], width: usize) -> Vec<Line> {
    let mut all = vec![Line::new(Tone::Heading, fit("Events, newest first", width))];
    for event in events {
        let tone = match event.level.as_str() {
            "error" => Tone::Bad,
            "warning" => Tone::Warning,
            _ => Tone::Plain,
        };
        let time = clock(event.at_unix_ms);
        let text = format!("{} {} {}", shown(&event.level), shown(&event.event), shown(&event.text));
        let room = width.saturating_sub(columns(&time) + 1);
        if room < 20 {
            all.push(Line::new(tone, fit(&text, width)));
        } else {
            all.push(Line(vec![(Tone::Soft, time + " "), (tone, fit(&text, room))]));
        }
    }
    if events.is_empty() {
        all.push(Line::new(Tone::Plain, fit("nothing notable happened", width)));
    }
    all
}

/// How long something took, by part.
pub(super) fn latency(name: &str, of: &[Latency], part: fn(&str) -> String, width: usize) -> Vec<Line> {
    let rows = of.iter().map(|phase| {
        let figures = [phase.p50_us, phase.p90_us, phase.p99_us].map(|figure| or_dash(figure.map(micros)));
        table_row(&shown(&part(&phase.phase)), &figures, width)
    });
    let heading = ["half", "90 %", "99 %"].map(str::to_owned);
    titled(table_row(name, &heading, width), rows.collect())
}

/// Blocks in so many columns, each put where there is the most room.
fn beside_each_other(blocks: Vec<Vec<Line>>, number: usize, width: usize) -> Vec<Line> {
    let mut stacks: Vec<Vec<Line>> = vec![Vec::new(); number];
    for block in blocks {
        if let Some(stack) = stacks.iter_mut().min_by_key(|stack| stack.len()) {
            if !stack.is_empty() {
                stack.push(Line::empty());
            }
            stack.extend(block);
        }
    }
    let rows = stacks.iter().map(Vec::len).max().unwrap_or_default();
    let row = |row: usize| {
        let mut parts = Vec::new();
        let mut wanted = 0_usize;
        let mut there = 0;
        for stack in &stacks {
            if let Some(line) = stack.get(row).filter(|line| !line.0.is_empty()) {
                parts.push((Tone::Plain, " ".repeat(wanted.saturating_sub(there))));
                parts.extend(line.0.iter().cloned());
                there = wanted + line.columns();
            }
            wanted += width + GAP;
        }
        Line(parts)
    };
    (0..rows).map(row).collect()
}

/// A name at the left and its figure at the right. A figure is never cut before its name is.
pub(super) fn row(name: &str, figure: &str, width: usize) -> String {
    let room = width.saturating_sub(columns(figure) + 1);
    let name = fit(name, room);
    let space = width.saturating_sub(columns(&name) + columns(figure));
    fit(&format!("{name}{}{figure}", " ".repeat(space)), width)
}

/// A name and figures below each other with those of the other rows.
pub(super) fn table_row(name: &str, figures: &[String], width: usize) -> String {
    const FIGURE: usize = 8;
    let mut right = String::new();
    for figure in figures {
        let space = (FIGURE + 1).saturating_sub(columns(figure)).max(1);
        right += &" ".repeat(space);
        right += figure;
    }
    row(name, right.trim_start(), width)
}

/// Text in lines of at most so many columns, which all begin with so many spaces.
pub(super) fn wrapped(tone: Tone, text: &str, width: usize, indent: usize) -> Vec<Line> {
    let mut all = Vec::new();
    let mut line = String::new();
    let indent = " ".repeat(indent.min(width / 4));
    for word in text.split(' ') {
        if !line.is_empty() && columns(&indent) + columns(&line) + 1 + columns(word) > width {
            all.push(fit(&(indent.clone() + &line), width));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    all.push(fit(&(indent + &line), width));
    all.into_iter().map(|text| Line::new(tone, text)).collect()
}

/// Text cut to so many columns; what is cut ends in `…`.
pub(super) fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += column(character);
        if used > width {
            break;
        }
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// Text from anybody without anything that a terminal would act on.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' '..='~' | '\u{a0}' => out.push(character),
            _ if !character.is_ascii() && is_seen(character) => out.push(character),
            _ => {
                // A string takes all.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
        }
    }
    out
}

fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

/// The columns of a character: two where it may be a wide one.
fn column(character: char) -> usize {
    match character {
        '\0'..'\u{1100}' | '\u{2000}'..'\u{2e80}' => 1,
        _ => 2,
    }
}

/// A point in time in UTC, to the second.
pub(super) fn clock(unix_ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH);
    let text = Rfc3339(at).to_string();
    let second = text.split('.').next().unwrap_or_default();
    second.replacen('T', " ", 1) + "Z"
}

pub(super) fn or_dash(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests;
