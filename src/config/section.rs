//! One table of the configuration file, read key by key.
//!
//! Each accessor takes the key, its default, its range and one line of doc. It gives a good value whatever
//! the file says: what is wrong becomes a problem of the document and the default goes on, so that one run
//! finds everything. [`Section::finish`] reports the keys that nobody asked for.

mod lists;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) use self::lists::NETWORKS;
use super::changes::Changes;
use super::document::{DescribedKey, Document, Fallback, TakenBy};
use super::fixed::Fixed;
use super::units::{self, SIZE_UNITS, TIME_UNITS};
use super::values::{not_given, span_text, value_text, whole, wrong_type};

/// A number of the configuration: it comes from TOML as `u64` and is used in its own width.
pub(super) trait Number: Copy + PartialOrd + TryFrom<u64> + TryInto<u64> {}

impl<T: Copy + PartialOrd + TryFrom<u64> + TryInto<u64>> Number for T {}

/// A table of the file, or the place where it would be.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    /// What stands before the dot in a problem; empty for the top of the file.
    name: &'static str,
    /// `None` when the file has no such table.
    table: Option<&'a DeTable<'a>>,
    /// The line of its header. `None` for the top of the file.
    line: Option<usize>,
    /// The table that defaults come from.
    inherits: Option<&'static str>,
    /// How changes are taken.
    changes: Changes,
    /// What tells this table from others of its name.
    place: Option<String>,
    asked: Vec<&'static str>,
    faulty: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The top of the file.
    pub(super) fn root(document: &'a Document<'a>) -> Self {
        document.describe_table("", String::new(), "");
        Self::new(document, "", document.root, None)
    }

    fn new(
        document: &'a Document<'a>,
        name: &'static str,
        table: Option<&'a DeTable<'a>>,
        line: Option<usize>,
    ) -> Self {
        Self {
            document,
            name,
            table,
            line,
            inherits: None,
            changes: Changes::Unsaid,
            place: None,
            asked: Vec::new(),
            faulty: Vec::new(),
        }
    }

    /// `[name]`: there is one, given or not.
    pub(super) fn table(&mut self, name: &'static str, doc: &'static str) -> Section<'a> {
        self.document.describe_table(name, format!("[{name}]"), doc);
        let Some(value) = self.ask(name) else { return Section::new(self.document, name, None, None) };
        let line = self.document.line_of(value.span().start);
        if let DeValue::Table(table) = value.get_ref() {
            return Section::new(self.document, name, Some(table), Some(line));
        }
        self.problem(name, format!("this is one table; write [{name}]"));
        Section::new(self.document, name, None, Some(line))
    }

    /// `[[name]]`: as many as are given. To describe, one. A table below another has both names:
    /// `tls.certificate`.
    pub(super) fn tables(&mut self, name: &'static str, doc: &'static str) -> Vec<Section<'a>> {
        self.document.describe_table(name, format!("[[{name}]]"), doc);
        if self.document.root.is_none() {
            return vec![Section::new(self.document, name, None, None)];
        }
        let key = name.rsplit('.').next().unwrap_or(name);
        let Some(value) = self.ask(key) else { return Vec::new() };
        let array = value.get_ref().as_array();
        let tables: Option<Vec<_>> = array.map_or_else(
            || None,
            |array| {
                let section = |element: &'a Spanned<DeValue<'a>>| {
                    let line = self.document.line_of(element.span().start);
                    let table = element.get_ref().as_table()?;
                    Some(Section::new(self.document, name, Some(table), Some(line)))
                };
                array.iter().map(section).collect()
            },
        );
        tables.unwrap_or_else(|| {
            self.problem(key, format!("there may be several of these tables; write [[{name}]]"));
            Vec::new()
        })
    }

    /// Says where the defaults of the following keys come from.
    pub(super) fn inherits(&mut self, table: &'static str) {
        self.inherits = Some(table);
    }

    /// A reload takes changes of the keys of this table, but for these. To be said before they are asked for;
    /// this or [`Section::needs_restart_but`] is said of every table.
    pub(super) fn reloads_but(&mut self, keys: &'static [&'static str]) {
        self.changes = Changes::ByReload { but: keys };
    }

    /// Only a restart takes changes of the keys of this table, but for these, which a reload takes.
    pub(super) fn needs_restart_but(&mut self, keys: &'static [&'static str]) {
        self.changes = Changes::ByRestart { but: keys };
    }

    /// Notes whether the file has this table: one that is there with defaults only means something, too.
    pub(super) fn fix_presence(&self) {
        let value = if self.table.is_some() { "given" } else { "not given" };
        let key = format!("[{}]", self.name);
        self.document.fix(Fixed { key, place: None, line: self.line, value: value.to_owned() });
    }

    /// Says what tells this table from others of its name, such as `core 1`.
    pub(super) fn is_for(&mut self, place: String) {
        self.place = Some(place);
    }

    /// Notes the value that a key has, if only a restart changes it: what is used, or what was given.
    fn fix(&self, key: &'static str, value: impl FnOnce() -> String) {
        // A default that another table gives is noted there.
        let is_own = self.inherits.is_none() || self.given(key);
        if self.changes.of(key) == Some(TakenBy::Restart) && is_own {
            let (line, place) = (self.line_of(key).or(self.line), self.place.clone());
            self.document.fix(Fixed { key: self.dotted(key), place, line, value: value() });
        }
    }

    /// Octets.
    pub(super) fn size<T: Number>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
        doc: &'static str,
    ) -> T {
        let range = octets(*range.start())..=octets(*range.end());
        let span = span_text(&range, units::size_text);
        let default_text = format!("\"{}\"", units::size_text(octets(default)));
        self.describe(key, doc, format!("size ({SIZE_UNITS}), {span}"), Fallback::Value(default_text));
        let value = self.size_in(key, &range).and_then(|octets| T::try_from(octets).ok()).unwrap_or(default);
        self.fix(key, || units::size_text(octets(value)));
        value
    }

    /// A number of octets that may be left out.
    pub(super) fn optional_size(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: Fallback,
        doc: &'static str,
    ) -> Option<u64> {
        let allowed = format!("size ({SIZE_UNITS}), {}", span_text(&range, units::size_text));
        self.describe(key, doc, allowed, default);
        let value = self.size_in(key, &range);
        self.fix(key, || value.map_or_else(not_given, units::size_text));
        value
    }

    fn size_in(&mut self, key: &'static str, range: &RangeInclusive<u64>) -> Option<u64> {
        let span = span_text(range, units::size_text);
        let read = |value: &DeValue<'_>| match value {
            DeValue::String(text) => units::size(text),
            DeValue::Integer(integer) => whole(integer),
            other => Err(wrong_type("a size such as \"50MiB\" or plain octets", other)),
        };
        let read = |value: &DeValue<'_>| read(value).map_err(|why| format!("{why}; allowed is {span}"));
        self.read(key, read).filter(|octets| self.in_range(key, *octets, range, units::size_text))
    }

    /// A time.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
        doc: &'static str,
    ) -> Duration {
        let span = span_text(&range, units::duration_text);
        let default_text = format!("\"{}\"", units::duration_text(default));
        self.describe(key, doc, format!("time ({TIME_UNITS}), {span}"), Fallback::Value(default_text));
        let read = |value: &DeValue<'_>| match value {
            DeValue::String(text) => units::duration(text),
            DeValue::Integer(integer) => Err(units::without_unit(&integer.to_string())),
            other => Err(wrong_type("a time such as \"300s\"", other)),
        };
        let read = |value: &DeValue<'_>| read(value).map_err(|why| format!("{why}; allowed is {span}"));
        let value = self
            .read(key, read)
            .filter(|time| self.in_range(key, *time, &range, units::duration_text))
            .unwrap_or(default);
        self.fix(key, || units::duration_text(value));
        value
    }

    /// A count.
    pub(super) fn integer<T: Number>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
        doc: &'static str,
    ) -> T {
        let range = octets(*range.start())..=octets(*range.end());
        let allowed = format!("integer, {}", span_text(&range, |number| number.to_string()));
        self.describe(key, doc, allowed, Fallback::Value(octets(default).to_string()));
        let value = self.whole_in(key, &range).and_then(|number| T::try_from(number).ok()).unwrap_or(default);
        self.fix(key, || octets(value).to_string());
        value
    }

    /// A number that may be negative, and is not 0.
    pub(super) fn signed(
        &mut self,
        key: &'static str,
        default: i32,
        range: RangeInclusive<i32>,
        doc: &'static str,
    ) -> i32 {
        let span = span_text(&range, |number| number.to_string());
        let allowed = format!("integer, {span}, not 0");
        self.describe(key, doc, allowed, Fallback::Value(default.to_string()));
        let read = |value: &DeValue<'_>| match value {
            DeValue::Integer(integer) => {
                let number = i32::from_str_radix(integer.as_str(), integer.radix()).ok();
                number
                    .filter(|number| range.contains(number) && *number != 0)
                    .ok_or_else(|| format!("{integer} is not allowed; allowed is {span}, but not 0"))
            }
            other => Err(format!("{}; allowed is {span}, but not 0", wrong_type("an integer", other))),
        };
        self.read(key, read).unwrap_or(default)
    }

    /// A count that is a power of two.
    pub(super) fn power_of_two<T: Number>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
        doc: &'static str,
    ) -> T {
        let range = octets(*range.start())..=octets(*range.end());
        let span = span_text(&range, |number| number.to_string());
        self.describe(
            key,
            doc,
            format!("power of two, {span}"),
            Fallback::Value(octets(default).to_string()),
        );
        let number = self.whole_in(key, &range).unwrap_or(octets(default));
        if !number.is_power_of_two() {
            let above = number.next_power_of_two();
            self.problem(
                key,
                format!("{number} is not a power of two; near it are {} and {above}", above / 2),
            );
            return default;
        }
        self.fix(key, || number.to_string());
        T::try_from(number).unwrap_or(default)
    }

    /// A number without a default of its own.
    pub(super) fn optional_integer<T: Number>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
        default: Fallback,
        doc: &'static str,
    ) -> Option<T> {
        let range = octets(*range.start())..=octets(*range.end());
        let allowed = format!("integer, {}", span_text(&range, |number| number.to_string()));
        self.describe(key, doc, allowed, default);
        let value: Option<T> = self.whole_in(key, &range).and_then(|number| T::try_from(number).ok());
        self.fix(key, || value.map_or_else(not_given, |number| octets(number).to_string()));
        value
    }

    fn whole_in(&mut self, key: &'static str, range: &RangeInclusive<u64>) -> Option<u64> {
        let span = span_text(range, |number| number.to_string());
        let read = |value: &DeValue<'_>| match value {
            DeValue::Integer(integer) => whole(integer).map_err(|why| format!("{why}; allowed is {span}")),
            other => Err(format!("{}; allowed is {span}", wrong_type("an integer", other))),
        };
        self.read(key, read).filter(|number| self.in_range(key, *number, range, |number| number.to_string()))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool, doc: &'static str) -> bool {
        self.describe(key, doc, "true or false".to_owned(), Fallback::Value(default.to_string()));
        let read = |value: &DeValue<'_>| value.as_bool().ok_or_else(|| wrong_type("true or false", value));
        let value = self.read(key, read).unwrap_or(default);
        self.fix(key, || value.to_string());
        value
    }

    /// One of some words; the first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        doc: &'static str,
    ) -> T {
        let default = Fallback::Value(format!("\"{}\"", words[0].0));
        self.choice_or(key, words, default, doc).unwrap_or(words[0].1)
    }

    /// One of some words, without a default of its own.
    pub(super) fn choice_or<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        default: Fallback,
        doc: &'static str,
    ) -> Option<T> {
        let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let allowed = quoted.join(" or ");
        let default_text = default.text();
        self.describe(key, doc, allowed.clone(), default);
        let read = |value: &DeValue<'_>| {
            let text = value.as_str().ok_or_else(|| wrong_type(&allowed, value))?;
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| format!("{text:?} is none of {allowed}"))
        };
        let value = self.read(key, read);
        self.fix(key, || self.given_text(key).unwrap_or(default_text));
        value
    }

    /// A text that `parse` makes a value of.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        allowed: &'static str,
        default: Fallback,
        doc: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let default_text = default.text();
        self.describe(key, doc, allowed.to_owned(), default);
        let value = self.read(key, |value| {
            parse(value.as_str().ok_or_else(|| wrong_type(&format!("a string: {allowed}"), value))?)
        });
        self.fix(key, || self.given_text(key).unwrap_or(default_text));
        value
    }

    /// A path; a relative one starts at the directory of the file.
    pub(super) fn path(
        &mut self,
        key: &'static str,
        default: Fallback,
        doc: &'static str,
    ) -> Option<PathBuf> {
        let base_dir = self.document.base_dir;
        self.text(key, "path, relative to the directory of this file", default, doc, |text| match text {
            "" => Err("the path is empty".to_owned()),
            _ if text.contains('\0') => Err("the path holds a NUL".to_owned()),
            _ => Ok(base_dir.join(text)),
        })
    }

    /// Whether this process is to serve with it.
    pub(super) fn serves(&self) -> bool {
        self.document.serves
    }

    /// What relative paths start at.
    pub(super) fn base_dir(&self) -> &'a Path {
        self.document.base_dir
    }

    /// What the file gives for this key, as one would write it.
    fn given_text(&self, key: &str) -> Option<String> {
        Some(value_text(self.table?.get(key)?.get_ref()))
    }

    /// Whether the file gives this key.
    pub(super) fn given(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether what the file gives for this key was refused, so that a rule about it would only repeat that.
    pub(super) fn faulty(&self, key: &str) -> bool {
        self.faulty.contains(&key)
    }

    /// Something is wrong with a key, or it is missing.
    pub(super) fn problem(&mut self, key: &'static str, text: String) {
        let line = self.line_of(key).or(self.line);
        self.faulty.push(key);
        self.document.problem(line, self.dotted(key), text);
    }

    /// Something is wrong with one element of a key.
    pub(super) fn problem_at(&mut self, line: usize, key: &'static str, text: String) {
        self.faulty.push(key);
        self.document.problem(Some(line), self.dotted(key), text);
    }

    /// The whole table is one too many.
    pub(super) fn refuse(&self, text: String) {
        self.document.problem(self.line, self.name.to_owned(), text);
    }

    /// Something about a key is probably not meant.
    pub(super) fn warn(&self, key: &str, text: String) {
        self.document.warn(self.line_of(key).or(self.line), self.dotted(key), text);
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !self.asked.contains(&name) {
                let text = (self.document.explain_unknown)(self.name, name, &self.asked);
                self.document.problem(Some(self.document.line_of(key.span().start)), self.dotted(name), text);
            }
        }
    }

    fn describe(&mut self, key: &'static str, doc: &'static str, allowed: String, default: Fallback) {
        if let (Some(table), Fallback::Required { example }) = (self.table, &default)
            && !table.contains_key(key)
        {
            self.problem(key, format!("missing; write for example {key} = {example}"));
        }
        let default = match (self.inherits, default) {
            (Some(table), Fallback::Value(example)) => Fallback::Inherited { table, example },
            (_, default) => default,
        };
        let taken_by = self.changes.of(key);
        self.document.describe_key(self.name, DescribedKey { name: key, doc, allowed, default, taken_by });
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        let value = self.table?.get(key)?;
        if let Some(line) = self.line_of(key) {
            self.document.found(self.dotted(key), line);
        }
        Some(value)
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.ask(key)?.get_ref()) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problem(key, why);
                None
            }
        }
    }

    fn in_range<T: Copy + PartialOrd>(
        &mut self,
        key: &'static str,
        value: T,
        range: &RangeInclusive<T>,
        text: impl Fn(T) -> String,
    ) -> bool {
        let good = range.contains(&value);
        if !good {
            let side = if value < *range.start() { "little" } else { "much" };
            let allowed = span_text(range, &text);
            self.problem(key, format!("{} is too {side}; allowed is {allowed}", text(value)));
        }
        good
    }

    /// The line of a key that the file gives.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let (key, _) = self.table?.get_key_value(key)?;
        Some(self.document.line_of(key.span().start))
    }

    fn dotted(&self, key: &str) -> String {
        let key = key.escape_debug();
        if self.name.is_empty() { key.to_string() } else { format!("{}.{key}", self.name) }
    }
}

fn octets<T: Number>(number: T) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
