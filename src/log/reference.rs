//! The reference of the log, made from the table of events.

use std::fmt::Write;

use super::events::{ALL, COUNTERS, CUT, Event, FIELDS, Field, Kind};
use crate::smtp::ended_by::EndedBy;
use crate::smtp::reason::Reason;

/// What a reader has to know before.
const HEAD: &str = "\
# Log

For operators: what stands in the log. Made from the program; `tests/tools/log.rs` holds it.

A record is one line, on standard error or in `log.file` ([configuration](configuration.md)). As text it is
the time in UTC, the event, and fields `name=value`. With `log.format = \"json\"` it is one JSON object with
`time`, `level` and `event` before the fields; numbers and booleans are those of JSON. Also what `serve` says
of a configuration that it cannot use has this form.

- Texts that a client sent stand between quotes. Characters that can be seen are shown, of any script.
  Controls, marks that turn text around, characters without a shape and octets that are no UTF-8 are escaped:
  `\\xNN` octet for octet as text, `\\uNNNN` in JSON, where octets that are no UTF-8 become U+FFFD.
- A record over 8 KiB is cut at the end of a field and says `cut`.
- `session` is the same in all lines of a session, `id` in all of a message.
- Where systemd has connected standard error to its journal (JOURNAL_STREAM names it), a line begins with its
  priority, `<3>` (error) to `<6>` (info), which the journal takes off.
- SIGUSR1 has `log.file` opened again, after it was moved away (logrotate: `postrotate`, no `copytruncate`).
  If that fails, the log goes on in the file that was open. A full disk costs lines, not mail; `dropped`
  counts them.
- `log.file` is a file or a character device. A symbolic link is not followed, and a named pipe is refused.
  Where root starts ringmx for the user of `[run_as]`, that user gets the file, unless it is a device.

";

/// The page: every event and every field, as Markdown.
pub fn markdown() -> String {
    let mut text = format!("{HEAD}## Events\n");
    for event in ALL {
        push_event(event, &mut text);
    }
    text.push_str("\n## Fields\n\n| field | in JSON | says |\n| --- | --- | --- |\n");
    for field in FIELDS.iter().chain([&CUT]) {
        let Field { name, kind, meaning } = field;
        let kind = match kind {
            Kind::Text => "string",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Texts => "list of strings",
            Kind::Numbers => "list of numbers",
        };
        let _ = writeln!(text, "| `{name}` | {kind} | {meaning} |");
    }
    text.push_str("\n## Reasons\n\n| `reason` | says |\n| --- | --- |\n");
    for reason in Reason::ALL {
        let _ = writeln!(text, "| `{}` | {} |", reason.name(), reason.meaning());
    }
    text.push_str("\n## Ends of sessions\n\n| `ended_by` | says |\n| --- | --- |\n");
    for word in EndedBy::ALL {
        let _ = writeln!(text, "| `{}` | {} |", word.name(), word.meaning());
    }
    text
}

fn push_event(event: &Event, text: &mut String) {
    let Event { name, level, meaning, fields } = event;
    let _ = writeln!(text, "\n### `{name}` ({})\n", level.name());
    push_wrapped(meaning, text);
    if fields.is_empty() {
        return;
    }
    text.push('\n');
    let names: Vec<String> = fields
        .iter()
        .map(
            |name| if *name == COUNTERS { "counters by their names".to_owned() } else { format!("`{name}`") },
        )
        .collect();
    push_wrapped(&format!("Fields: {}.", names.join(", ")), text);
}

/// A paragraph in lines that are not too wide.
fn push_wrapped(paragraph: &str, text: &mut String) {
    const WIDTH: usize = 110;
    let mut line_bytes = 0;
    for word in paragraph.split_whitespace() {
        if line_bytes > 0 && line_bytes + 1 + word.len() > WIDTH {
            text.push('\n');
            line_bytes = 0;
        } else if line_bytes > 0 {
            text.push(' ');
            line_bytes += 1;
        }
        text.push_str(word);
        line_bytes += word.len();
    }
    text.push('\n');
}
