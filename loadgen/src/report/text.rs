//! A report for people, in 80 columns.

use std::fmt;
use std::fmt::Write as _;

use super::Report;
use super::judgement::judgements;
use super::latency_table::LatencyTable;
use crate::latency::Phase;
use crate::paragraph::{NO_BREAK, field, hanging};
use crate::tally::failures::SHOWN_MAX;
use crate::units::counted;

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_configuration(f)?;
        for (name, text) in self.counts() {
            f.write_str(&field(name, &text))?;
        }
        for note in self.notes() {
            f.write_str(&field("note", &note))?;
        }
        if self.has_result() { self.write_result(f) } else { self.write_failures(f) }?;
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
    fn write_configuration(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, .. } = self;
        f.write_str(&hanging("loadgen → ", 10, &self.receiver()))?;
        let cores: Vec<String> = self.cores().iter().map(usize::to_string).collect();
        let load = format!(
            "{} on {} pinned to core {}",
            counted(plan.connections() as u64, "connection"),
            counted(plan.threads.len() as u64, "thread"),
            cores.join(", ")
        );
        let message = format!("{}, {}", plan.message, counted(plan.recipients as u64, "recipient"));
        for (name, text) in
            [("load", load), ("arrival", self.arrival()), ("session", self.session()), ("message", message)]
        {
            f.write_str(&field(name, &text))?;
        }
        Ok(())
    }

    /// What was counted, also in a run without a result.
    fn counts(&self) -> Vec<(&'static str, String)> {
        let tally = &self.outcome.tally;
        let mut counts = Vec::new();
        if self.outcome.interrupted {
            counts.push(("stopped", "by a signal before its end".to_owned()));
        }
        counts.extend(self.tls().map(|tls| ("TLS", tls)));
        let mut messages = format!("{} accepted of {} begun", tally.accepted, tally.started);
        for (count, how) in [(tally.refused, "refused"), (tally.aborted, "broken off")] {
            if count > 0 {
                let _ = write!(messages, ", {count} {how} as wanted");
            }
        }
        counts.push(("messages", messages));
        if self.plan.rate.is_some() {
            let in_time = format!("{} late by more than 1 ms, {} due and not sent", tally.late, tally.unsent);
            counts.push(("in time", in_time));
        }
        let mut connections = format!("{} made", tally.connections);
        if tally.ended_by_server > 0 {
            let _ = write!(connections, ", {} ended by the server as expected", tally.ended_by_server);
        }
        counts.push(("connections", connections));
        let replies: Vec<String> = tally
            .replies
            .by_code()
            .iter()
            .map(|(code, count)| format!("{count}{NO_BREAK}×{NO_BREAK}{code}"))
            .collect();
        counts.push(("replies", if replies.is_empty() { "none".into() } else { replies.join(", ") }));
        counts
    }

    fn write_result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rate = format!(
            "{:.0} messages/s, {:.1} MB/s, {:.1} connections/s",
            self.rate(),
            self.megabytes_rate(),
            self.per_second(self.outcome.tally.connections)
        );
        if self.plan.tls.is_some() {
            let _ = write!(rate, ", {:.1} handshakes/s", self.handshakes_rate());
        }
        f.write_str(&field("elapsed", &format!("{:.3} s", self.outcome.elapsed.as_secs_f64())))?;
        f.write_str(&field("rate", &rate))?;
        f.write_str(&field("own CPU", &self.own_cpu()))?;
        let phases = Phase::ALL.map(|phase| (phase.name(), self.latency(phase)));
        write!(f, "\n{}", LatencyTable(&phases))
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = &self.outcome.tally.failures;
        write!(f, "\n{}", hanging("NO RESULT: ", 11, &self.why_no_result()))?;
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
