//! The reference of the log, made from the table of events.

use std::fmt::Write;

use super::events::{ALL, COUNTERS, CUT, Event, FIELDS, Field, Kind};
use crate::smtp::ended_by::EndedBy;
use crate::smtp::reason::Reason;

/// Every event and every field, as Markdown.
pub fn reference() -> String {
    let mut text = String::from("## Events\n");
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
