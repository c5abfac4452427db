//! A verdict for people.

use std::fmt;

use super::verdict::{Names, Verdict};
use crate::paragraph::hanging;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<12} {:>9} {:>9} {:>9}", "class", "messages", "stored", "absent")?;
        for (class, count) in &self.classes {
            let absent = count.messages - count.stored;
            writeln!(f, "  {:<12} {:>9} {:>9} {absent:>9}", class.name(), count.messages, count.stored)?;
        }
        writeln!(f)?;
        let kinds = [
            ("lost", &self.lost, "accepted, and not stored for every recipient"),
            ("altered", &self.altered, "stored, and not as it was sent"),
            ("unclean", &self.unclean, "stored, though refused or unfinished"),
            ("duplicated", &self.duplicated, "stored more often than its recipients ask for"),
            ("unrecorded", &self.unrecorded, "stored, of a run in the ledger, without a line there"),
            ("foreign", &self.foreign, "stored, and of no run in the ledger"),
            ("forged", &self.forged, "stored, with results of checks that its sender forged"),
            ("misjudged", &self.misjudged, "stored, and the receiver found what is not so"),
        ];
        for (name, names, meaning) in &kinds {
            // Most runs forge nothing, and sign nothing.
            let is_shown = match *name {
                "forged" => names.count + self.cut > 0,
                "misjudged" => names.count + self.judged > 0,
                _ => true,
            };
            if is_shown {
                writeln!(f, "  {name:<12} {:>9}  {meaning}", names.count)?;
            }
        }
        for (name, count, meaning) in [
            ("cut", self.cut, "stored, and forged results were cut out of it"),
            ("judged", self.judged, "stored, and the receiver found what it had to find"),
        ] {
            if count > 0 {
                writeln!(f, "  {name:<12} {count:>9}  {meaning}")?;
            }
        }
        for (name, names, _) in &kinds {
            write_names(f, name, names)?;
        }
        for remark in &self.remarks {
            writeln!(f, "\n  {remark}")?;
        }
        if self.cut_off > 0 {
            writeln!(f, "\n  the ledger has {} lines that were cut off by the end of a run", self.cut_off)?;
        }
        let promise = if self.holds() { "kept" } else { "BROKEN" };
        let means = "nothing accepted lost or altered, nothing stored that was not sent whole";
        write!(f, "\n{}", hanging(&format!("promise {promise}: "), 2, means))
    }
}

fn write_names(f: &mut fmt::Formatter<'_>, kind: &str, names: &Names) -> fmt::Result {
    if names.count == 0 {
        return Ok(());
    }
    writeln!(f, "\n{kind}")?;
    for name in &names.first {
        writeln!(f, "  {name}")?;
    }
    let more = names.count - names.first.len() as u64;
    if more > 0 {
        writeln!(f, "  and {more} more")?;
    }
    Ok(())
}
