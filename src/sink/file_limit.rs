//! The largest file that this process may write (RLIMIT_FSIZE), and what of the configuration does not fit
//! it.
//!
//! A write beyond the limit fails with EFBIG. That is a slip of the operator, so the message is answered 452
//! and never 5yz: a retry succeeds once the limit is raised.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;

/// What raises the limit, for messages to the operator.
pub const CURE: &str =
    "raise RLIMIT_FSIZE (in a systemd unit `LimitFSIZE=infinity`, in a shell `ulimit -f unlimited`)";

/// The largest file in octets. `None` without a limit.
pub fn bytes_max() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Which mail is accepted by a configuration and cannot be stored under a limit on files, and what to do. A
/// segment that does not fit is not told here: it stops the start.
pub fn message_note(config: &Config, limit: Option<u64>) -> Option<String> {
    let message_max = config.limits.message_size_max;
    let stores = config.sink.facts().reads_mail_data();
    let limit = limit.filter(|limit| stores && *limit < message_max)?;
    Some(format!(
        "message_size_max is {message_max} octets and no file may be larger than {limit} (RLIMIT_FSIZE): a message that \
         does not fit is answered 452; {CURE}, or lower message_size_max in [limits]"
    ))
}

/// What becomes of the log under a limit on files, where it is a file.
pub fn log_note(limit: Option<u64>, logs_to_file: bool) -> Option<String> {
    let limit = limit.filter(|_| logs_to_file)?;
    Some(format!(
        "the log is a file, and no file may be larger than {limit} octets (RLIMIT_FSIZE): what is logged beyond \
         is lost; {CURE}, or let a program such as journald take the log"
    ))
}

/// Why a spool cannot have segments of this size. `None` when it can.
pub(super) fn refuses_segments(segment_bytes: u64, limit: Option<u64>) -> Option<String> {
    let limit = limit.filter(|limit| *limit < segment_bytes)?;
    Some(format!(
        "segment_size is {segment_bytes} octets and no file may be larger than {limit} (RLIMIT_FSIZE): no mail could be stored; {CURE}, or lower segment_size"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_where_something_does_not_fit_it() {
        let config = Config::embedded_default();
        let fits = config.limits.message_size_max;
        assert_eq!(message_note(&config, None).or(log_note(None, true)), None);
        assert_eq!(message_note(&config, Some(fits)).or(log_note(Some(fits), false)), None);
        let message = message_note(&config, Some(fits - 1)).expect("a note");
        let log = log_note(Some(fits), true).expect("a note");
        assert!(message.contains("message_size_max") && message.contains("LimitFSIZE="), "{message}");
        assert!(log.contains("the log is a file") && log.contains("LimitFSIZE="), "{log}");
    }

    #[test]
    fn a_segment_that_does_not_fit_is_refused() {
        assert_eq!(refuses_segments(1024, None), None);
        assert_eq!(refuses_segments(1024, Some(1024)), None);
        assert!(refuses_segments(1024, Some(1023)).is_some_and(|why| why.contains("segment_size is 1024")));
    }
}
