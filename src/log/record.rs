//! One line of the log: its time, what it is about, its fields, as text or as JSON.

use std::fmt::{self, Display, Write as _};
use std::time::SystemTime;

use crate::config::LogFormat;
use crate::escape::{Json, Quoted};
use crate::timestamp::Rfc3339;

/// A line over this is cut.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024;

/// One record under construction.
#[must_use = "a record is written by `end`"]
#[derive(Debug)]
pub struct Record<'a> {
    format: LogFormat,
    chunk: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Record<'a> {
    /// Begins a record with its time and its word.
    pub(super) fn begin(
        format: LogFormat,
        chunk: &'a mut Vec<u8>,
        event: &'static str,
        at: SystemTime,
    ) -> Self {
        let record = Record { format, start: chunk.len(), chunk };
        if format == LogFormat::Json {
            record.chunk.extend_from_slice(b"{\"time\":\"");
            push_time(record.chunk, at);
            record.chunk.push(b'"');
            return record.text("event", event.as_bytes());
        }
        push_time(record.chunk, at);
        record.chunk.push(b' ');
        record.chunk.extend_from_slice(event.as_bytes());
        record
    }

    /// A field that shows itself without spaces, quotes and controls: addresses, ids, words. A string in
    /// JSON.
    pub fn plain(mut self, name: &str, value: impl Display) -> Self {
        self.key(name);
        let json = self.format == LogFormat::Json;
        if json {
            self.chunk.push(b'"');
        }
        // Writing to a Vec cannot fail.
        let _ = write!(Octets(&mut *self.chunk), "{value}");
        if json {
            self.chunk.push(b'"');
        }
        self
    }

    /// A number.
    pub fn number(mut self, name: &str, value: u64) -> Self {
        self.key(name);
        let _ = write!(Octets(&mut *self.chunk), "{value}");
        self
    }

    /// Numbers: a list in JSON, else with commas between them.
    pub fn numbers(mut self, name: &str, values: impl Iterator<Item = u64>) -> Self {
        self.key(name);
        let json = self.format == LogFormat::Json;
        let chunk = &mut *self.chunk;
        if json {
            chunk.push(b'[');
        }
        for (index, value) in values.enumerate() {
            let before = if index > 0 { "," } else { "" };
            let _ = write!(Octets(chunk), "{before}{value}");
        }
        if json {
            chunk.push(b']');
        }
        self
    }

    /// Yes or no: `true` or `false`, in JSON without quotes.
    pub fn boolean(mut self, name: &str, value: bool) -> Self {
        self.key(name);
        self.chunk.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// Text from anybody: escaped, so that a record stays one line and a terminal stays sane.
    pub fn text(mut self, name: &str, value: &[u8]) -> Self {
        self.key(name);
        if self.format == LogFormat::Json {
            let _ = write!(Octets(&mut *self.chunk), "{}", Json(value));
        } else {
            let _ = write!(Octets(&mut *self.chunk), "{}", Quoted(value));
        }
        self
    }

    /// A list of texts.
    pub fn texts<'t>(mut self, name: &str, values: impl Iterator<Item = &'t [u8]>) -> Self {
        self.key(name);
        let json = self.format == LogFormat::Json;
        let chunk = &mut *self.chunk;
        if json {
            chunk.push(b'[');
        }
        for (index, value) in values.enumerate() {
            if index > 0 {
                chunk.push(b',');
            }
            if json {
                let _ = write!(Octets(chunk), "{}", Json(value));
            } else {
                let _ = write!(Octets(chunk), "{}", Quoted(value));
            }
        }
        if json {
            chunk.push(b']');
        }
        self
    }

    /// Ends the record. One that grew too long is cut and says so.
    pub fn end(self) {
        let json = self.format == LogFormat::Json;
        let chunk = &mut *self.chunk;
        if chunk.len() - self.start > LINE_BYTES_MAX {
            if json {
                chunk.truncate(self.start);
                chunk.extend_from_slice(b"{\"event\":\"cut\",\"text\":\"a record was too long\"");
            } else {
                chunk.truncate(self.start + LINE_BYTES_MAX);
                chunk.extend_from_slice(b"...cut");
            }
        }
        chunk.extend_from_slice(if json { b"}\n" } else { b"\n" });
    }

    fn key(&mut self, name: &str) {
        let json = self.format == LogFormat::Json;
        let (before, after): (&[u8], &[u8]) = if json { (b",\"", b"\":") } else { (b" ", b"=") };
        for part in [before, name.as_bytes(), after] {
            self.chunk.extend_from_slice(part);
        }
    }
}

/// `fmt::Write` on octets.
struct Octets<'a>(&'a mut Vec<u8>);

impl fmt::Write for Octets<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn push_time(chunk: &mut Vec<u8>, at: SystemTime) {
    let _ = write!(Octets(chunk), "{}", Rfc3339(at));
}
