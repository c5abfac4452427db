//! One line of the log: its time, what it is about, its fields, as text or as JSON.

use std::fmt::{self, Display, Write as _};
use std::time::SystemTime;

use super::events::{self, Event, Kind};
use super::lane::Chunk;
use super::level::{Form, Level};
use super::recent::{RecentEvent, TEXT_BYTES_MAX};
use crate::config::LogFormat;
use crate::escape::{Json, Quoted};
use crate::timestamp::Rfc3339;

/// A line over this is cut.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024;

/// What one field may add to a line before that is looked at again.
pub(super) const FIELD_BYTES_MAX: usize = ESCAPED * LIST_ENDS_AT + 64;

const _: () = assert!(VALUE_BYTES_MAX <= LIST_ENDS_AT);

/// Octets that one octet may take when it is escaped (`\\u0000`).
const ESCAPED: usize = 6;

/// A text over this is cut before it is escaped.
const VALUE_BYTES_MAX: usize = 2048;

/// A list that has made its line so long gets no more entries.
const LIST_ENDS_AT: usize = LINE_BYTES_MAX / 2;

/// What an entry of a list takes besides its text.
const ENTRY_BYTES: usize = b"\"\",".len();

/// One record under construction.
#[must_use = "a record is written by `end`"]
#[derive(Debug)]
pub struct Record<'a> {
    event: &'static Event,
    at: SystemTime,
    format: LogFormat,
    chunk: &'a mut Chunk,
    start: usize,
    /// Where its last field ended that was within `LINE_BYTES_MAX`.
    whole: usize,
    /// Something is missing.
    is_cut: bool,
    is_ended: bool,
    /// The fields once more, as text, where it is notable.
    notable: Option<Vec<u8>>,
}

impl<'a> Record<'a> {
    /// Begins a record with its time and its word.
    pub(super) fn begin(form: Form, chunk: &'a mut Chunk, event: &'static Event, at: SystemTime) -> Self {
        let octets = &mut chunk.octets;
        let start = octets.len();
        if form.has_priority {
            octets.extend_from_slice(event.level.priority().as_bytes());
        }
        if form.format == LogFormat::Json {
            octets.extend_from_slice(b"{\"time\":\"");
            push(octets, Rfc3339(at));
            octets.extend_from_slice(b"\",\"level\":\"");
            octets.extend_from_slice(event.level.name().as_bytes());
            octets.extend_from_slice(b"\",\"event\":\"");
            octets.extend_from_slice(event.name.as_bytes());
            octets.push(b'"');
        } else {
            push(octets, Rfc3339(at));
            octets.push(b' ');
            octets.extend_from_slice(event.name.as_bytes());
        }
        let whole = octets.len();
        let notable = (event.level < Level::Info && chunk.has_room_for_notable()).then(Vec::new);
        Record {
            event,
            at,
            format: form.format,
            chunk,
            start,
            whole,
            is_cut: false,
            is_ended: false,
            notable,
        }
    }

    /// A field that shows itself without spaces, quotes and controls: addresses, ids, words. A string in
    /// JSON.
    pub fn plain(self, name: &'static str, value: impl Display) -> Self {
        self.field(name, Kind::Text, |format, octets| {
            if format == LogFormat::Json {
                octets.push(b'"');
                push(octets, &value);
                octets.push(b'"');
            } else {
                push(octets, &value);
            }
        })
    }

    /// A number.
    pub fn number(self, name: &'static str, value: u64) -> Self {
        self.field(name, Kind::Number, |_, octets| push(octets, value))
    }

    /// A number, where it is not 0.
    pub fn number_if_any(self, name: &'static str, value: u64) -> Self {
        if value == 0 { self } else { self.number(name, value) }
    }

    /// Numbers: a list in JSON, else with commas between them.
    pub fn numbers(self, name: &'static str, values: impl Iterator<Item = u64> + Clone) -> Self {
        self.field(name, Kind::Numbers, |format, octets| {
            list(format, octets, values.clone(), push);
        })
    }

    /// Yes or no: `true` or `false`, in JSON without quotes.
    pub fn boolean(self, name: &'static str, value: bool) -> Self {
        self.field(name, Kind::Boolean, |_, octets| push(octets, value))
    }

    /// Text from anybody: escaped, so that a record stays one line and a terminal stays sane.
    pub fn text(mut self, name: &'static str, value: &[u8]) -> Self {
        let shown = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
        self.is_cut |= shown.len() < value.len();
        self.field(name, Kind::Text, |format, octets| push_text(format, octets, shown))
    }

    /// A list of texts, of an event that is not notable. It ends early where it makes the line too long.
    pub fn texts<'t>(mut self, name: &'static str, values: impl Iterator<Item = &'t [u8]>) -> Self {
        debug_assert!(self.event.level == Level::Info, "a list is not among the recent events");
        let begun = self.chunk.octets.len() - self.start;
        let mut room = LIST_ENDS_AT.saturating_sub(begun);
        let mut is_cut = false;
        let mut values = values.take_while(|value| {
            let fits = value.len() < room;
            room = room.saturating_sub(value.len() + ENTRY_BYTES);
            is_cut |= !fits;
            fits
        });
        self = self.field(name, Kind::Texts, |format, octets| {
            list(format, octets, values.by_ref(), |octets, value| push_text(format, octets, value));
        });
        self.is_cut |= is_cut;
        self
    }

    /// Ends the record. One that grew too long is cut at the end of a field and says so.
    pub fn end(mut self) {
        if self.chunk.octets.len() - self.start > LINE_BYTES_MAX {
            self.chunk.octets.truncate(self.whole);
            self.is_cut = true;
        }
        if self.is_cut {
            self = self.boolean(events::CUT.name, true);
        }
        self.chunk.octets.extend_from_slice(if self.format == LogFormat::Json { b"}\n" } else { b"\n" });
        self.is_ended = true;
        if let Some(mut text) = self.notable.take() {
            text.truncate(TEXT_BYTES_MAX);
            let text = String::from_utf8_lossy(&text).trim_start().to_owned();
            let Event { level, name, .. } = *self.event;
            self.chunk.notable.push(RecentEvent { at: self.at, level, event: name, text });
        }
    }

    fn field(
        mut self,
        name: &'static str,
        kind: Kind,
        mut value: impl FnMut(LogFormat, &mut Vec<u8>),
    ) -> Self {
        debug_assert!(
            self.event.has(name, kind),
            "{name}, {kind:?}, is not in the table for {}",
            self.event.name
        );
        let octets = &mut self.chunk.octets;
        if octets.len() - self.start > LINE_BYTES_MAX && name != events::CUT.name {
            // The rest goes in any case.
            return self;
        }
        let (before, after): (&[u8], &[u8]) =
            if self.format == LogFormat::Json { (b",\"", b"\":") } else { (b" ", b"=") };
        for part in [before, name.as_bytes(), after] {
            octets.extend_from_slice(part);
        }
        value(self.format, octets);
        if octets.len() - self.start <= LINE_BYTES_MAX {
            self.whole = octets.len();
        }
        if let Some(text) = &mut self.notable {
            for part in [b" ", name.as_bytes(), b"="] {
                text.extend_from_slice(part);
            }
            value(LogFormat::Text, text);
        }
        self
    }
}

impl Drop for Record<'_> {
    /// What a panic has left of a record is no line.
    fn drop(&mut self) {
        if !self.is_ended {
            self.chunk.octets.truncate(self.start);
        }
    }
}

fn list<T>(
    format: LogFormat,
    octets: &mut Vec<u8>,
    values: impl Iterator<Item = T>,
    mut one: impl FnMut(&mut Vec<u8>, T),
) {
    if format == LogFormat::Json {
        octets.push(b'[');
    }
    for (index, value) in values.enumerate() {
        if index > 0 {
            octets.push(b',');
        }
        one(octets, value);
    }
    if format == LogFormat::Json {
        octets.push(b']');
    }
}

fn push_text(format: LogFormat, octets: &mut Vec<u8>, text: &[u8]) {
    match format {
        LogFormat::Json => push(octets, Json(text)),
        LogFormat::Text => push(octets, Quoted(text)),
    }
}

fn push(octets: &mut Vec<u8>, value: impl Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(Octets(octets), "{value}");
}

/// `fmt::Write` on octets.
struct Octets<'a>(&'a mut Vec<u8>);

impl fmt::Write for Octets<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
