//! `[limits]`: bounds of sessions and transactions.

use std::time::Duration;

use super::document::Fallback;
use super::section::Section;
use super::units::{GIB, KIB, MIB};
use crate::limits::{LINE_BYTES_DEFAULT, LINE_BYTES_MAX, LINE_BYTES_MIN, RECIPIENTS_MIN, SINK_ANSWER_MAX};
use crate::smtp::settings::Limits;

/// Recipients of a transaction, at most: its envelope lies in memory until the end of mail data.
const RECIPIENTS_MAX: usize = 100_000;

/// Fewer would refuse mail that only went a long way (RFC 5321 §6.3).
const RECEIVED_MIN: u32 = 30;

/// No counter of a session needs to go further.
const COUNT_MAX: u32 = 1_000_000;

/// Clients that are counted, at most: a place takes 32 octets.
const CLIENTS_MAX: usize = 1 << 28;

/// Fewer would not be worth a table.
const CLIENTS_MIN: usize = 1024;

/// A line over this length is an attachment.
const DATA_LINE_BYTES_MAX: usize = 1 << 20;

/// RFC 5321 §4.5.3.1.6: a text line with its CRLF.
const DATA_LINE_BYTES_RFC: usize = 1000;

const SECOND: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_hours(1);

const DAY: Duration = Duration::from_hours(24);

/// RFC 5321 §4.5.3.2.7: a server waits at least this long for the next command.
const COMMAND_TIMEOUT_RFC: Duration = Duration::from_mins(5);

/// RFC 5321 §4.5.3.2.5: what is allowed for one block of mail data.
const DATA_TIMEOUT_RFC: Duration = Duration::from_mins(3);

/// The bounds, and how many networks of clients are counted at a time, where that is said.
pub(super) fn read(mut section: Section<'_>) -> (Limits, Option<usize>) {
    section.reloads_but(&["clients_max"]);
    let limits = Limits {
        message_size_max: section.size(
            "message_size_max",
            50 * MIB,
            64 * KIB..=2 * GIB,
            "Mail data after transparency, without trace information (RFC 1870; RFC 5321 §4.5.3.1.7 asks for 64 KiB).",
        ),
        recipients_max: section.integer(
            "recipients_max",
            1000,
            RECIPIENTS_MIN..=RECIPIENTS_MAX,
            "Accepted RCPT commands of a transaction (RFC 5321 §4.5.3.1.8 asks for 100).",
        ),
        connections_per_client_max: section.integer(
            "connections_per_client_max",
            50,
            1..=COUNT_MAX as usize,
            "Connections of one client, an IPv4 address or an IPv6 /64, over all shards; loopback clients are exempt. More than 65534 are not counted.",
        ),
        line_bytes_max: section.size(
            "line_length_max",
            LINE_BYTES_DEFAULT,
            LINE_BYTES_MIN..=LINE_BYTES_MAX,
            "A command line with its CRLF (RFC 5321 §4.5.3.1.4 asks for 512 octets, extensions for more).",
        ),
        errors_max: section.integer(
            "errors_max",
            20,
            1..=COUNT_MAX,
            "Replies of 5yz in a session without an accepted message between them; then 421.",
        ),
        idle_commands_max: section.integer(
            "idle_commands_max",
            100,
            1..=COUNT_MAX,
            "Commands without progress in a session: NOOP, RSET, VRFY, HELP, EHLO, 4yz to MAIL or RCPT, small chunks; then 421.",
        ),
        session_without_mail_max: session_without_mail_max(&mut section),
        command_timeout: section.duration(
            "command_timeout",
            COMMAND_TIMEOUT_RFC,
            SECOND..=HOUR,
            "From the start of the wait for a command to its CRLF (RFC 5321 §4.5.3.2.7 asks for 300s).",
        ),
        tls_handshake_timeout: section.duration(
            "tls_handshake_timeout",
            Duration::from_mins(1),
            SECOND..=HOUR,
            "From STARTTLS, or the first octet, to the end of the handshake; never over command_timeout.",
        ),
        data_timeout: section.duration(
            "data_timeout",
            Duration::from_mins(5),
            SECOND..=HOUR,
            "Between two reads of mail data (RFC 5321 §4.5.3.2.5 asks for 180s).",
        ),
        sink_answer_timeout: sink_answer_timeout(&mut section),
        received_max: section.integer(
            "received_max",
            100,
            RECEIVED_MIN..=COUNT_MAX,
            "Received: fields in a header section; more are a loop, and refused (RFC 5321 §6.3 asks for 100).",
        ),
        data_line_bytes_max: section.size(
            "data_line_length_max",
            0,
            0..=DATA_LINE_BYTES_MAX,
            "A line of mail data with its CRLF; longer ones are refused, never cut. 0: any length.",
        ),
        spill_bytes_max: section.size(
            "spill_size_max",
            16 * GIB,
            0..=1024 * GIB,
            "Disk space for mail data of large and slow messages under way, in temporary files of the sink's file system. One client may hold a quarter.",
        ),
        spill_files_max: section.integer(
            "spill_files_max",
            4096,
            0..=1 << 20,
            "Temporary files for large and slow messages under way; each is an open file. One client may hold a quarter.",
        ),
    };
    let clients_max = clients_max(&mut section);
    warn_of_rfcs(&section, &limits);
    section.finish();
    (limits, clients_max)
}

fn clients_max(section: &mut Section<'_>) -> Option<usize> {
    section.optional_integer(
        "clients_max",
        CLIENTS_MIN..=CLIENTS_MAX,
        Fallback::Computed {
            example: "1048576",
            default: "1048576 with [client_limits] or early.state, 65536 without; and four times connections_max of all shards at least",
        },
        "Networks of clients that are counted at a time; each takes 32 octets. One client is three networks with [client_limits], and one without. Who finds no place is not counted.",
    )
}

fn session_without_mail_max(section: &mut Section<'_>) -> Duration {
    section.duration(
        "session_without_mail_max",
        HOUR,
        SECOND..=DAY,
        "From the greeting, or the last accepted message, to the end of a session; a message under way is not cut.",
    )
}

fn sink_answer_timeout(section: &mut Section<'_>) -> Duration {
    section.duration(
        "sink_answer_timeout",
        SINK_ANSWER_MAX,
        SECOND..=SINK_ANSWER_MAX,
        "From the end of mail data to its answer; then 421, and new mail is put off until the sink answers.",
    )
}

/// What the RFCs ask for and an operator may still decide otherwise.
fn warn_of_rfcs(section: &Section<'_>, limits: &Limits) {
    if limits.command_timeout < COMMAND_TIMEOUT_RFC {
        section.warn("command_timeout", "RFC 5321 section 4.5.3.2.7 asks for at least 300s".to_owned());
    }
    if (1..DATA_LINE_BYTES_RFC).contains(&limits.data_line_bytes_max) {
        section.warn("data_line_length_max", "RFC 5321 section 4.5.3.1.6 asks for at least 1000".to_owned());
    }
    if limits.data_timeout < DATA_TIMEOUT_RFC {
        section.warn("data_timeout", "RFC 5321 section 4.5.3.2.5 asks for at least 180s".to_owned());
    }
}
