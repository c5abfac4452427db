//! `[log]`: what is logged and how.

use std::path::PathBuf;

use super::document::Fallback;
use super::section::Section;
use crate::limits::LOG_SESSION_LINES_DEFAULT;

/// What is logged and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// Where lines go; none for standard error.
    pub file: Option<PathBuf>,
    /// Text or JSON.
    pub format: LogFormat,
    /// One line a session.
    pub sessions: bool,
    /// Lines a second and shard of sessions without an accepted message.
    pub session_lines_max: u32,
    /// One line a message.
    pub messages: bool,
    /// One line a refusal.
    pub refusals: bool,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `key=value` lines.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The form that a text asks for which is not TOML, as far as that can be told: whoever reads the log as JSON
/// has to read why there is no server.
pub(super) fn format_asked_for(text: &str) -> LogFormat {
    let mut is_in_table = false;
    let mut format = LogFormat::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_in_table = line.split('#').next().is_some_and(|line| line.trim() == "[log]");
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let is_asked = match key.trim() {
            "format" => is_in_table,
            "log.format" => true,
            _ => false,
        };
        if is_asked && value.trim().trim_matches(['"', '\'']).starts_with("json") {
            format = LogFormat::Json;
        }
    }
    format
}

/// Reads the table.
pub(super) fn read(mut section: Section<'_>) -> Log {
    section.reloads_but(&["file", "format"]);
    let log = Log {
        file: section.path(
            "file",
            Fallback::Computed { example: "\"/var/log/ringmx.log\"", default: "standard error" },
            "Where lines go: a file or a device, no link and no pipe. Opened again at SIGUSR1, after it was moved away.",
        ),
        format: section.choice(
            "format",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            "key=value lines, or one JSON object a line.",
        ),
        sessions: section.boolean("sessions", true, "One line a session, but for those without a command, which are counted."),
        session_lines_max: section.integer(
            "session_lines_max",
            LOG_SESSION_LINES_DEFAULT,
            1..=1_000_000,
            "Lines a second and shard of sessions without an accepted message, of which one client has an eighth at most; others are counted.",
        ),
        messages: section.boolean("messages", true, "One line a message."),
        refusals: section.boolean("refusals", true, "One line a refusal, at most 20 a session and within session_lines_max; others are counted."),
    };
    section.finish();
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_known_where_the_rest_is_not_toml() {
        for text in [
            "[log]\nformat = \"json\"\n[oops",
            "x = \n[ log\n[log] # here\n  format='json' # x",
            "log.format=\"json",
        ] {
            assert_eq!(format_asked_for(text), LogFormat::Json, "{text}");
        }
        for text in ["", "[log]\nformat = \"text\"", "[other]\nformat = \"json\"", "# format = \"json\""] {
            assert_eq!(format_asked_for(text), LogFormat::Text, "{text}");
        }
    }
}
