//! Where a report comes from: when, on which machine, by which command and version.

use std::time::SystemTime;

use ringmx::shard::affinity::allowed_cpus;
use ringmx::timestamp::Rfc3339;

/// Taken once, when the run begins.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// When the run began, in UTC, as RFC 3339 writes it.
    pub date: String,
    /// The name of this machine.
    pub host: String,
    /// Its kernel, and the cores that may be used.
    pub system: String,
    /// The words of the command line, as a shell would take them again.
    pub command: Vec<String>,
    /// The version of loadgen.
    pub version: &'static str,
}

impl Provenance {
    /// Of this process, now.
    pub fn now() -> Self {
        let uname = rustix::system::uname();
        let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
        let cores = allowed_cpus().map_or(0, |cpus| cpus.len());
        let arguments = std::env::args_os().skip(1);
        let words = arguments.map(|argument| quoted(&argument.to_string_lossy()));
        Self {
            date: seconds(&Rfc3339(SystemTime::now()).to_string()),
            host: text(uname.nodename()),
            system: format!(
                "{} {}, {}, {cores} cores",
                text(uname.sysname()),
                text(uname.release()),
                text(uname.machine())
            ),
            command: std::iter::once("loadgen".to_owned()).chain(words).collect(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A time of RFC 3339 without the part of its second.
fn seconds(time: &str) -> String {
    format!("{}Z", time.split('.').next().unwrap_or_default().trim_end_matches('Z'))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_=+./:,@%".contains(&octet);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_used_again() {
        let told = ["[::1]:2525", "--fail-if", "p99>5ms", "", "it's", "a b"].map(quoted);
        assert_eq!(told, ["'[::1]:2525'", "--fail-if", "'p99>5ms'", "''", r"'it'\''s'", "'a b'"]);
    }
}
