//! The lines of a ledger, as they are written.

use std::fmt;

use super::entry::Ending;
use crate::corpus::checksum::Text;
use crate::corpus::id::Id;

/// First word of a run's line.
pub const RUN: &str = "loadgen-ledger-1";

/// Last word of every line. A line without it was cut off.
pub const WHOLE: &str = ".";

/// Writes a run's line.
pub fn write_run(line: &mut impl fmt::Write, run: u64) -> fmt::Result {
    writeln!(line, "{RUN} {run:016x} {WHOLE}")
}

/// Writes the line of a message that begins; `cut` is its text when a receiver has cut out what was forged.
pub fn write_begun(
    line: &mut impl fmt::Write,
    id: Id,
    recipients: usize,
    text: &Text,
    cut: Option<&Text>,
) -> fmt::Result {
    write!(line, "begun {id} {recipients}")?;
    for Text { crlf, lf } in [Some(text), cut].into_iter().flatten() {
        write!(line, " {} {:016x} {} {:016x}", crlf.bytes, crlf.sum, lf.bytes, lf.sum)?;
    }
    writeln!(line, " {WHOLE}")
}

/// Writes the line of a message that ended.
pub fn write_ended(line: &mut impl fmt::Write, id: Id, recipients: u16, ending: Ending) -> fmt::Result {
    match ending {
        Ending::Accepted => writeln!(line, "accepted {id} {recipients} {WHOLE}"),
        Ending::Refused { step, code } => {
            writeln!(line, "refused {id} {recipients} {} {code} {WHOLE}", step.name())
        }
        Ending::Unfinished => writeln!(line, "unfinished {id} {recipients} {WHOLE}"),
        Ending::Unknown => writeln!(line, "unknown {id} {recipients} {WHOLE}"),
    }
}
