//! `ringmx --version`: what was built from what, what it needs, what it can do.

use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::config::sink::kinds;
use crate::limits::{KERNEL_LEAST, KERNEL_OF_BATCH_WAIT};
use crate::smtp::extension::KEYWORDS;

/// The version with the commit, in one line.
pub(super) fn short() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), commit()))
}

/// The same, with what it needs and what it can do below.
pub(super) fn long() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let keywords: Vec<&str> = KEYWORDS.iter().map(|(_, keyword)| *keyword).collect();
        let is_built = |kind: &&str| *kind != "nats" || cfg!(feature = "nats");
        let sinks: Vec<&str> = kinds().filter(is_built).collect();
        let mut text = short().to_owned();
        for (name, value) in [
            (
                "needs",
                format!("Linux {KERNEL_LEAST} with io_uring; batch_wait: Linux {KERNEL_OF_BATCH_WAIT}"),
            ),
            ("SMTP", keywords.join(" ")),
            ("TLS", "1.2 1.3, by rustls and aws-lc-rs".to_owned()),
            ("sinks", sinks.join(" ")),
            ("fronts", "PROXY protocol 1 and 2, XCLIENT".to_owned()),
            (
                "build",
                format!(
                    "{}, {}",
                    std::env::consts::ARCH,
                    if cfg!(debug_assertions) { "debug" } else { "release" }
                ),
            ),
        ] {
            // Writing to a String does not fail.
            let _ = write!(text, "\n{name:<7} {value}");
        }
        text
    })
}

/// `commit 0123456789ab`, or why it is not known. With `and changes` when files differed from it.
pub fn commit() -> &'static str {
    env!("RINGMX_COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_commit_kernel_and_features() {
        let first = long().lines().next().expect("a line");
        assert!(first.starts_with(concat!(env!("CARGO_PKG_VERSION"), " (commit ")), "{first}");
        assert_eq!(first, short());
        for word in ["Linux 6.1 ", "STARTTLS", "CHUNKING", "rustls", "maildir", "spool"] {
            assert!(long().contains(word), "{word}");
        }
    }
}
