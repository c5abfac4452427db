//! The page without a browser: every figure stands in it, it is well-formed, and nothing that came from
//! outside is markup. What a browser shows is tried by `tests/page/run`.

use super::super::status::sample::full;
use super::super::status::{Severity, State};
use super::*;

/// What a client or a path may hold at worst.
pub(super) const HOSTILE: &str = "</code></main><script>alert('x')</script><img src=x onerror=\"alert(1)\"> &amp; \u{202e}\u{1b}[2J<!--{events}-->";

/// The text of a page without its tags, script and style.
pub(super) fn text_of(page: &str) -> String {
    let body = page.split_once("<body>").expect("a body").1.split_once("<script>").expect("a script").0;
    let mut text = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = after.split_once('>').map_or("", |(_, behind)| behind);
    }
    text + rest
}

#[test]
fn the_page_without_a_script_holds_each_figure() {
    let text = text_of(&page(&full()));
    for figure in [
        "mx1.example.org",
        "0.1.0-a",
        "4711",
        "17",
        "3 d 4 h",
        "2026-12-01 00:00:00",
        "Receiving, 1 problem",
        "something slow",
        "See it.",
        "101",
        "102 KiB",
        "103",
        "104",
        "111",
        "112 KiB",
        "113",
        "114",
        "121",
        "122 KiB",
        "123",
        "124",
        "131",
        "5\u{a0}000\u{a0}141",
        "151 MiB",
        "TLS handshake",
        "161",
        "171 µs",
        "1.81 ms",
        "19.1 ms",
        "201",
        "211",
        "22 %",
        "231 µs",
        "unknown recipient",
        "241",
        "251",
        "254",
        "256",
        "263",
        "264",
        "265",
        "sink spool",
        "261",
        "271 ms",
        "281",
        "291 µs",
        "3.01 ms",
        "311",
        "321 of 331",
        "341 KiB",
        "351",
        "361 KiB",
        "371 ms",
        "381",
        "391 MiB",
        "401 MiB",
        "411 ms",
        "421 GiB",
        "215 d 12 h",
        "mx.example",
        "2026-12-23",
        "44 days",
        "error",
        "store_full",
        "an event",
    ] {
        assert!(text.contains(figure), "{figure:?} is not in the page");
    }
}

#[test]
fn every_place_of_the_page_is_filled_and_each_once() {
    let status = full();
    let places: Vec<&str> =
        PAGE.split("<!--{").skip(1).map(|after| after.split_once("}-->").expect("an end").0).collect();
    for place in &places {
        assert!(fill(place, &status, &mut String::new()), "{place}");
        assert_eq!(places.iter().filter(|other| *other == place).count(), 1, "{place}");
        // What the script brings up to date has an element of that name.
        let is_live = !["title", "pulse"].contains(place);
        assert!(!is_live || PAGE.contains(&format!("id=\"{place}\"")), "{place}");
        assert_eq!(PAGE.contains(&format!("id=\"{place}\" data-live")), is_live, "{place}");
    }
    assert!(!fill("moon", &status, &mut String::new()));
}

#[test]
fn nothing_from_outside_is_markup() {
    let hostile = || HOSTILE.to_owned();
    let mut status = full();
    status.hostname = hostile();
    status.version = hostile();
    status.problems[0].what = hostile();
    status.problems[0].cure = hostile();
    status.latency[0].phase = hostile();
    status.refusals[0].reason = hostile();
    status.refusals[0].what = hostile();
    status.sinks[0].sink = hostile();
    status.certificates[0].name = hostile();
    status.events[0].level = hostile();
    status.events[0].event = hostile();
    status.events[0].text = hostile();
    let (tame, wild) = (page(&full()), page(&status));
    for tag in ["<script", "<img", "</main", "</code", "<!--"] {
        assert_eq!(wild.matches(tag).count(), tame.matches(tag).count(), "{tag}");
    }
    assert!(!wild.contains(['\u{202e}', '\u{1b}']));
    assert_eq!(well_formed(&wild), Ok(()));
}

/// That every element is closed in order and every attribute quoted: what our own pages keep to, and browsers
/// do not ask for.
pub(super) fn well_formed(page: &str) -> Result<(), String> {
    const VOID: [&str; 2] = ["meta", "link"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>").ok_or("no doctype")?;
    while let Some((text, after)) = rest.split_once('<') {
        if text.contains('>') && !matches!(open.last(), Some(&"script" | &"style")) {
            return Err(format!("a loose > in {text:?}"));
        }
        if let Some(raw) = open.last().filter(|name| ["script", "style"].contains(name)) {
            let (_, behind) = rest.split_once(&format!("</{raw}>")).ok_or("a script without an end")?;
            open.pop();
            rest = behind;
            continue;
        }
        let (tag, behind) = after.split_once('>').ok_or("a tag without an end")?;
        rest = behind;
        if tag.matches('"').count() % 2 != 0 || tag.contains('\'') && !tag.starts_with("link") {
            return Err(format!("odd quotes in <{tag}>"));
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            let last = open.pop();
            if last != Some(closed) {
                return Err(format!("</{closed}> closes {last:?}"));
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{open:?} are never closed")) }
}

#[test]
fn the_page_is_well_formed_full_and_empty() {
    for status in [full(), Status::default()] {
        assert_eq!(well_formed(&page(&status)), Ok(()));
    }
    assert!(well_formed("<!doctype html><p><b></p></b>").is_err());
}

#[test]
fn what_needs_a_look_is_said_in_words() {
    let mut status = full();
    assert!(page(&status).contains("Warning.</strong> something slow"));
    status.problems[0].severity = Severity::Error;
    assert!(page(&status).contains("Error.</strong> something slow"));
    for (state, word) in
        [(State::Idle, "Ready"), (State::NotReady, "Not receiving"), (State::Draining, "Stopping")]
    {
        status.state = state;
        status.problems.clear();
        let page = page(&status);
        assert!(page.contains(&format!("role=\"status\">{word}<")), "{word}");
        assert!(page.contains(&format!("<title>{word} ")), "{word}");
    }
}
