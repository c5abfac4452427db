//! `kind = "stdout"`: messages as text for another program.

use super::facts::SinkFacts;
use crate::config::section::Section;

/// One line or mbox entry a message on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stdout {
    /// JSON lines or mbox.
    pub format: StdoutFormat,
}

/// What the stdout sink writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StdoutFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// mboxrd.
    Mbox,
}

/// The keys that no other kind has.
pub(super) const KEYS: &[&str] = &["format"];

/// Reads them.
pub(super) fn read(section: &mut Section<'_>) -> Stdout {
    let format = section.choice(
        "format",
        &[("json", StdoutFormat::Json), ("mbox", StdoutFormat::Mbox)],
        "Stdout: one JSON object a line, or mboxrd.",
    );
    Stdout { format }
}

impl SinkFacts for Stdout {
    fn summary(&self) -> String {
        "stdout (not durable)".to_owned()
    }

    /// Lines of two on one stream would mix.
    fn workers(&self, _configured: usize) -> usize {
        1
    }

    /// mboxrd quotes lines and adds a line end, which mail data that is no lines does not survive (RFC 3030
    /// §3).
    fn keeps_octets(&self) -> bool {
        match self.format {
            StdoutFormat::Json => true,
            StdoutFormat::Mbox => false,
        }
    }

    /// One message at a time: in base 64, or with its lines looked at, and as it goes out, both of which have
    /// grown by doubling.
    fn converted_bytes(&self, message_bytes_max: u64) -> u64 {
        message_bytes_max.saturating_mul(4)
    }
}
