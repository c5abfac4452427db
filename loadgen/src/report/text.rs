//! A report for people, in 80 columns.

use std::fmt;
use std::fmt::Write as _;

use super::judgement::judgements;
use super::latency_table::LatencyTable;
use super::{Report, replies_of};
use crate::latency::Phase;
use crate::paragraph::{field, hanging};
use crate::tally::failures::SHOWN_MAX;
use crate::units::counted;

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hanging("loadgen → ", 10, &self.receiver()))?;
        self.write_class(f)?;
        if self.has_result() {
            write!(f, "\n{}", self.latencies())?;
        } else {
            write!(f, "\n{}", hanging("NO RESULT: ", 11, &self.why_no_result()))?;
            self.write_failures(f)?;
        }
        if let Some(beside) = self.beside() {
            writeln!(f, "\nbeside it")?;
            beside.write_class(f)?;
            let failures = beside.outcome.tally.failures.count;
            if failures > 0 {
                f.write_str(&field("unexpected", &format!("{failures}, which decides nothing here")))?;
                beside.write_failures(f)?;
            }
            if beside.has_result() {
                write!(f, "\n{}", beside.latencies())?;
            }
        }
        let judgements = judgements(self);
        if !judgements.is_empty() {
            writeln!(f)?;
        }
        for judgement in judgements {
            f.write_str(&hanging("  ", 4, &judgement.to_string()))?;
        }
        Ok(())
    }
}

impl Report<'_> {
    /// One class of sessions: what it was to do, what was counted, and its rates if it has a result.
    fn write_class(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, text) in self.configuration().into_iter().chain(self.counts()) {
            f.write_str(&field(name, &text))?;
        }
        for note in self.notes() {
            f.write_str(&field("note", &note))?;
        }
        if self.has_result() {
            f.write_str(&field("elapsed", &format!("{:.3} s", self.outcome.elapsed.as_secs_f64())))?;
            f.write_str(&field("rate", &self.rates()))?;
            f.write_str(&field("own CPU", &self.own_cpu()))?;
        }
        Ok(())
    }

    fn configuration(&self) -> Vec<(&'static str, String)> {
        let Self { plan, .. } = self;
        let cores: Vec<String> = self.cores().iter().map(usize::to_string).collect();
        let load = format!(
            "{} on {} pinned to core {}",
            counted(plan.connections() as u64, "connection"),
            counted(plan.threads.len() as u64, "thread"),
            cores.join(", ")
        );
        let mut lines = vec![("load", load)];
        lines.extend(plan.source.map(|source| ("source", source.to_string())));
        lines.push(("arrival", self.arrival()));
        lines.push(("session", self.session()));
        if plan.bots.is_none() {
            let recipients = counted(plan.recipients as u64, "recipient");
            lines.push(("message", format!("{}, {recipients}", plan.message)));
        }
        lines
    }

    /// What was counted, also in a run without a result.
    fn counts(&self) -> Vec<(&'static str, String)> {
        let tally = &self.outcome.tally;
        let mut counts = Vec::new();
        if self.outcome.interrupted {
            counts.push(("stopped", "by a signal before its end".to_owned()));
        }
        counts.extend(self.tls().filter(|_| self.plan.bots.is_none()).map(|tls| ("TLS", tls)));
        if self.plan.bots.is_some() {
            counts.push(("sessions", self.bot_sessions()));
        } else {
            let mut messages = format!("{} accepted of {} begun", tally.accepted, tally.started);
            for (count, how) in [(tally.refused, "refused"), (tally.aborted, "broken off")] {
                if count > 0 {
                    let _ = write!(messages, ", {count} {how} as wanted");
                }
            }
            counts.push(("messages", messages));
        }
        if self.plan.rate.is_some() {
            let in_time = format!("{} late by more than 1 ms, {} due and not sent", tally.late, tally.unsent);
            counts.push(("in time", in_time));
        }
        let mut connections = format!("{} made", tally.connections);
        if tally.ended_by_server > 0 {
            let _ = write!(connections, ", {} ended by the server as expected", tally.ended_by_server);
        }
        counts.push(("connections", connections));
        let replies: Vec<String> =
            tally.replies.by_code().iter().map(|(code, count)| replies_of(*code, *count)).collect();
        counts.push(("replies", if replies.is_empty() { "none".into() } else { replies.join(", ") }));
        counts.extend(self.bots());
        counts
    }

    fn latencies(&self) -> String {
        let table = LatencyTable(&Phase::ALL.map(|phase| (phase.name(), self.latency(phase)))).to_string();
        let left_out = self.left_out().map(|words| hanging("  ", 4, &words));
        table + &left_out.unwrap_or_default()
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = &self.outcome.tally.failures;
        let kinds = failures.kinds();
        let shown = &kinds[..kinds.len().min(SHOWN_MAX)];
        for kind in shown {
            let alike = if kind.varies { " (or with other numbers)" } else { "" };
            let count = if kind.count == 1 { String::new() } else { format!("{} × ", kind.count) };
            f.write_str(&hanging("  ", 4, &format!("{count}{}{alike}", kind.words)))?;
        }
        let more = failures.count - shown.iter().map(|kind| kind.count).sum::<u64>();
        if more > 0 {
            writeln!(f, "  and {more} more, of other kinds")?;
        }
        Ok(())
    }
}
