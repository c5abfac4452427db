//! `ringmx man`: the manual pages, made from what the command line and the configuration are read by, so that
//! they cannot say anything else.
//!
//! A page for `ringmx`, one for each subcommand, all of section 8 (programs of an administrator), and one for
//! the configuration file, `ringmx.toml(5)`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::arguments;
use super::output::{counted, print, print_each};
use crate::config;

/// Of the pages, in their foot line: the day on which their contents last changed.
const DATE: &str = "2026-11-29";

const MANUAL: &str = "ringmx manual";

/// The section of programs.
const PROGRAMS: &str = "8";

/// What `mandoc -Tlint` allows a line of text.
const LINE_WIDTH_MAX: usize = 80;

const SOURCE: &str = concat!("ringmx ", env!("CARGO_PKG_VERSION"));

/// `ringmx man DIR`. The directory is made if there is none; pages that are there are replaced.
pub fn man(dir: &Path) -> ExitCode {
    match write(dir) {
        Ok(count) => print(&format!("{} in {}\n", counted(count, "page"), dir.display())),
        Err(error) => {
            print_each("ringmx: ", &[format!("{}: pages cannot be written: {error}", dir.display())]);
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    let mut command = arguments::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    pages_of(&command, &mut pages);
    pages.push(("ringmx.toml.5".to_owned(), configuration().render()));
    for (name, text) in &pages {
        std::fs::write(dir.join(name), tidy(text))?;
    }
    Ok(pages.len())
}

/// The page of a command, then those of its subcommands.
fn pages_of(command: &clap::Command, pages: &mut Vec<(String, String)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone().subcommand_value_name("COMMAND"))
        .title(name.to_uppercase())
        .section(PROGRAMS)
        .date(DATE)
        .source(SOURCE)
        .manual(MANUAL);
    let mut text = Vec::new();
    // Writing to a Vec does not fail.
    let _ = man.render_title(&mut text);
    let _ = name_section(&name, command).to_writer(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = section("DESCRIPTION", [roman(format!("{}.", about(command)))]).to_writer(&mut text);
    let _ = man.render_options_section(&mut text);
    if command.has_subcommands() {
        let _ = man.render_subcommands_section(&mut text);
    }
    let _ = closing(&name).to_writer(&mut text);
    pages.push((format!("{name}.{PROGRAMS}"), String::from_utf8_lossy(&text).into_owned()));
    for below in command.get_subcommands() {
        pages_of(below, pages);
    }
}

/// Without its last full stop.
fn about(command: &clap::Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    about.map(|about| about.to_string().trim_end_matches('.').to_owned()).unwrap_or_default()
}

/// `whatis` shows this line: one sentence, without its full stop, in lower case.
fn name_section(name: &str, command: &clap::Command) -> Roff {
    let about = about(command);
    let first = about.split_once(". ").map_or(about.as_str(), |(first, _)| first);
    let mut letters = first.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
    section("NAME", [roman(format!("{name} - {first}"))])
}

/// What no argument says.
fn closing(name: &str) -> Roff {
    let mut all = vec![exit_status()];
    match name {
        "ringmx" | "ringmx-serve" => all.push(signals()),
        "ringmx-forward" => all.push(signals_of_forwarder()),
        _ => {}
    }
    all.push(files());
    all.push(see_also(name));
    Roff::from_iter(all)
}

fn exit_status() -> Roff {
    let meanings = [
        ("0", "What was asked for was done."),
        ("1", "It was not: standard error, or the log of a server, says why."),
        ("2", "The command line makes no sense."),
    ];
    list("EXIT STATUS", meanings)
}

fn signals() -> Roff {
    list(
        "SIGNALS",
        [
            (
                "SIGTERM, SIGINT",
                "Stop in order: transactions under way may finish, what was handed to the sink is stored, everybody \
                 else is told 421. The second one ends the process at once; no mail that was answered 250 is lost.",
            ),
            ("SIGHUP", "Reload, as `ringmx reload` does."),
            ("SIGUSR1", "Open the file of the log again, after it was renamed."),
        ],
    )
}

fn signals_of_forwarder() -> Roff {
    list(
        "SIGNALS",
        [
            (
                "SIGTERM, SIGINT",
                "Stop in order: messages on connections have 10 s in all to be answered, and what became of them is \
                 noted. The second one ends the process at once; what was not noted is delivered again, nothing is lost.",
            ),
            ("SIGHUP", "Read the configuration again; what needs a restart is told in the log."),
            ("SIGUSR1", "Nothing: the log is standard error."),
        ],
    )
}

fn files() -> Roff {
    list(
        "FILES",
        [
            (
                "/etc/ringmx/ringmx.toml",
                "The configuration that the packaged units name. There is no file that is read without being named.",
            ),
            ("/var/lib/ringmx", "Where those units let it store mail."),
            ("/run/ringmx/control.sock", "Where `ringmx reload` and `ringmx status` ask without a file."),
        ],
    )
}

fn see_also(name: &str) -> Roff {
    let mut parts = Vec::new();
    for (page, number) in [("ringmx", PROGRAMS), ("ringmx.toml", "5"), ("ringmx-doctor", PROGRAMS)] {
        if page != name {
            if !parts.is_empty() {
                parts.push(roman(", "));
            }
            parts.push(bold(page));
            parts.push(roman(format!("({number})")));
        }
    }
    section("SEE ALSO", parts)
}

/// `ringmx.toml(5)`, from the reference that `ringmx config` prints.
fn configuration() -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["RINGMX.TOML", "5", DATE, SOURCE, MANUAL]);
    let mut all = vec![
        page,
        section("NAME", [roman("ringmx.toml - the configuration of ringmx")]),
        section(
            "DESCRIPTION",
            [
                roman("One file of TOML, which "),
                bold("ringmx serve"),
                roman(
                    " is given. Sizes take KiB, MiB, GiB or plain octets; times take ms, s, min, h, d. Relative paths start \
                     at the directory of the file. A key that is unknown stops the start. ",
                ),
                bold("ringmx check"),
                roman(" names every mistake with its line, and "),
                bold("ringmx config"),
                roman(" prints all that follows as a file to begin with."),
            ],
        ),
    ];
    all.extend(config::reference_tables().iter().map(table));
    all.push(see_also("ringmx.toml"));
    Roff::from_iter(all)
}

fn table(table: &config::ReferenceTable) -> Roff {
    let mut text = Roff::new();
    let heading = if table.header.is_empty() { "TOP OF THE FILE" } else { table.header };
    text.control("SH", [heading]);
    if !table.doc.is_empty() {
        text.text([roman(table.doc)]);
    }
    for key in &table.keys {
        text.control("TP", []);
        text.text([bold(key.name), roman(" = "), italic(key.example)]);
        text.text([roman(key.doc)]);
        text.control("br", []);
        text.text([roman(key.allowed.as_str())]);
    }
    text
}

fn section(heading: &str, parts: impl Into<Vec<Inline>>) -> Roff {
    let mut text = Roff::new();
    text.control("SH", [heading]);
    text.text(parts);
    text
}

fn list<const N: usize>(heading: &str, entries: [(&str, &str); N]) -> Roff {
    let mut text = Roff::new();
    text.control("SH", [heading]);
    for (head, body) in entries {
        text.control("TP", []);
        text.text([bold(head)]);
        text.text([roman(body)]);
    }
    text
}

/// What the generators leave and `mandoc -Tlint` finds fault with: blank lines, spaces at line ends, a
/// preamble for each part, one break after another, lines of more than 80 octets.
fn tidy(text: &str) -> String {
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    // The preamble, which says what an apostrophe is.
    let mut page: Vec<String> = lines.by_ref().take(2).map(str::to_owned).collect();
    for line in lines.filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el ")) {
        let last = page.last().map_or("", String::as_str);
        // What follows `.TP` is a head, which is one line.
        if line.starts_with('.') || last == ".TP" {
            if !(line == ".br" && last == ".br") {
                page.push(line.to_owned());
            }
        } else {
            wrap(line, &mut page);
        }
    }
    page.push(String::new());
    page.join("\n")
}

/// Breaks a line of text at spaces. No line begins with what would make it a request.
fn wrap(line: &str, page: &mut Vec<String>) {
    let mut current = String::new();
    for word in line.split(' ') {
        let is_full = width(&current) + 1 + width(word) > LINE_WIDTH_MAX;
        if !current.is_empty() && is_full && !word.starts_with(['.', '\'']) {
            page.push(std::mem::take(&mut current));
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    page.push(current);
}

/// As mandoc counts it, to whom a letter beyond ASCII is an escape such as `\[u00A7]`.
fn width(text: &str) -> usize {
    text.chars().map(|letter| if letter.is_ascii() { 1 } else { 8 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_line_never_becomes_a_request() {
        let line = format!("{} .so /etc/passwd 'br end", "word ".repeat(15).trim_end());
        let mut page = Vec::new();
        wrap(&line, &mut page);
        assert!(page.len() > 1, "{page:?}");
        assert!(page.iter().all(|line| !line.starts_with(['.', '\''])), "{page:?}");
        assert_eq!(page.join(" "), line);
    }
}
