//! How much an operator has to know of a record, and how its lines look.

use std::os::fd::AsFd;

use crate::config::LogFormat;

/// How much an operator has to know of a record, as in syslog (RFC 5424 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed, and has to be mended.
    Error,
    /// Something will hurt.
    Warning,
    /// What the program says of itself.
    Notice,
    /// Mail and sessions.
    Info,
}

impl Level {
    /// As it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
        }
    }

    /// What systemd's journal reads at the beginning of a line (sd-daemon(3)).
    pub(super) const fn priority(self) -> &'static str {
        match self {
            Self::Error => "<3>",
            Self::Warning => "<4>",
            Self::Notice => "<5>",
            Self::Info => "<6>",
        }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub(super) format: LogFormat,
    /// Lines begin with their priority, which the journal takes off.
    pub(super) has_priority: bool,
}

impl Form {
    /// Lines of this format on standard error. They have a priority where the journal reads it.
    pub fn on_stderr(format: LogFormat) -> Self {
        Self { format, has_priority: is_journal() }
    }

    /// Lines of this format in a file.
    pub(super) fn in_a_file(format: LogFormat) -> Self {
        Self { format, has_priority: false }
    }
}

/// Whether standard error is the stream that systemd connected to its journal (systemd.exec(5)).
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(std::io::stderr().as_fd()).is_ok_and(|facts| names(&stream, facts.st_dev, facts.st_ino))
}

/// Whether this is the device and the inode that JOURNAL_STREAM names.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(named_device, named_inode)| {
        named_device.parse() == Ok(device) && named_inode.parse() == Ok(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(names("8:123456", 8, 123_456));
        for other in ["", "8", "8:", ":123456", "8:123457", "9:123456", "8:123456:1", "x:y"] {
            assert!(!names(other, 8, 123_456), "{other}");
        }
    }
}
