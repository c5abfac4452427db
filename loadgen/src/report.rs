//! What a run came to, for people and as JSON.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::histogram::{Percentiles, Phase};
use crate::plan::Plan;
use crate::run::Outcome;

/// A plan and what came of it.
#[derive(Debug)]
pub struct Report<'a> {
    plan: &'a Plan,
    outcome: &'a Outcome,
}

impl<'a> Report<'a> {
    /// Of a run that has ended.
    pub fn new(plan: &'a Plan, outcome: &'a Outcome) -> Self {
        Self { plan, outcome }
    }

    /// Whether the run measured anything: no reply was unexpected, and every message begun was accepted. A receiver that refuses
    /// is fast, so a rate of a run with failures would say nothing.
    pub fn has_result(&self) -> bool {
        let Outcome { tally, interrupted, .. } = self.outcome;
        // Ctrl-C may have cut off transactions under way.
        let unanswered = if *interrupted { 0 } else { tally.started - tally.accepted };
        let missing = self
            .plan
            .messages
            .is_some_and(|messages| tally.started < messages && self.plan.duration.is_none() && !interrupted);
        tally.failures.count == 0 && unanswered == 0 && !missing && tally.accepted > 0
    }

    /// Messages a second.
    fn rate(&self) -> f64 {
        self.outcome.tally.accepted as f64 / self.outcome.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Megabytes (10^6) of mail data a second.
    fn megabytes_rate(&self) -> f64 {
        self.rate() * self.plan.scenario.corpus.size() as f64 / 1e6
    }

    /// Our own CPU time a message, in microseconds.
    fn cpu_per_message(&self) -> f64 {
        self.outcome.cpu.as_secs_f64() * 1e6 / self.outcome.tally.accepted.max(1) as f64
    }

    /// How busy the load threads were, in percent of their cores.
    fn busy(&self) -> f64 {
        let most = self.outcome.elapsed.as_secs_f64() * self.plan.threads.len() as f64;
        100.0 * self.outcome.cpu.as_secs_f64() / most.max(f64::EPSILON)
    }

    fn cores(&self) -> Vec<usize> {
        self.plan.threads.iter().map(|share| share.cpu).collect()
    }

    fn pipelining(&self) -> &'static str {
        match (self.plan.scenario.pipelining, self.outcome.tally.pipelining_missing) {
            (false, _) => "no",
            (true, false) => "yes",
            (true, true) => "asked for, but the server does not offer it",
        }
    }

    /// The same as a JSON object. `result` is null when there is none.
    pub fn json(&self) -> String {
        let Self { plan, outcome } = self;
        let tally = &outcome.tally;
        let replies: Map<String, Value> = tally
            .replies
            .by_code()
            .into_iter()
            .map(|(code, count)| (code.to_string(), count.into()))
            .collect();
        let latencies: Map<String, Value> = Phase::ALL
            .iter()
            .map(|phase| (phase.name().to_owned(), json_of(&tally.latencies.percentiles(*phase))))
            .collect();
        let result = json!({
            "messages_per_second": self.rate(),
            "megabytes_per_second": self.megabytes_rate(),
            "elapsed_seconds": outcome.elapsed.as_secs_f64(),
            "cpu_microseconds_per_message": self.cpu_per_message(),
            "cpu_busy_percent": self.busy(),
            "latency_microseconds": latencies,
        });
        let whole = json!({
            "target": plan.target,
            "connections": plan.connections(),
            "cores": self.cores(),
            "size_bytes": plan.scenario.corpus.size(),
            "recipients": plan.scenario.commands.recipients.len(),
            "messages_per_session": plan.scenario.messages_per_session,
            "pipelining": plan.scenario.pipelining && !tally.pipelining_missing,
            "interrupted": outcome.interrupted,
            "messages_started": tally.started,
            "messages_accepted": tally.accepted,
            "connections_made": tally.connections,
            "replies": replies,
            "failures": tally.failures.count,
            "failures_first": tally.failures.first,
            "result": if self.has_result() { result } else { Value::Null },
        });
        format!("{whole:#}\n")
    }
}

fn json_of(percentiles: &Percentiles) -> Value {
    let Percentiles { count, p50, p90, p99, p999, max } = percentiles;
    json!({ "count": count, "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max })
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_configuration(f)?;
        let tally = &self.outcome.tally;
        if self.outcome.interrupted {
            writeln!(f, "  stopped      by a signal before its end")?;
        }
        let replies: Vec<String> =
            tally.replies.by_code().iter().map(|(code, count)| format!("{count} × {code}")).collect();
        writeln!(f, "  messages     {} accepted of {} begun", tally.accepted, tally.started)?;
        writeln!(f, "  connections  {} made", tally.connections)?;
        writeln!(
            f,
            "  replies      {}",
            if replies.is_empty() { "none".into() } else { replies.join(", ") }
        )?;
        if self.has_result() { self.write_result(f) } else { self.write_failures(f) }
    }
}

impl Report<'_> {
    fn write_configuration(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, .. } = self;
        let scenario = plan.scenario;
        writeln!(f, "loadgen → {} ({})", plan.target, plan.address)?;
        let cores: Vec<String> = self.cores().iter().map(usize::to_string).collect();
        writeln!(
            f,
            "  load         {} on {} pinned to core {}",
            counted(plan.connections() as u64, "connection"),
            counted(plan.threads.len() as u64, "thread"),
            cores.join(", ")
        )?;
        writeln!(
            f,
            "  session      {}, pipelining: {}",
            scenario.messages_per_session.map_or("kept open".into(), |most| counted(most.get(), "message")),
            self.pipelining()
        )?;
        let recipients = counted(scenario.commands.recipients.len() as u64, "recipient");
        writeln!(f, "  message      {} octets, {recipients}", scenario.corpus.size())
    }

    fn write_result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  elapsed      {:.3} s", self.outcome.elapsed.as_secs_f64())?;
        writeln!(f, "  rate         {:.0} messages/s, {:.1} MB/s", self.rate(), self.megabytes_rate())?;
        writeln!(f, "  own CPU      {:.1} µs a message, {:.0} % busy", self.cpu_per_message(), self.busy())?;
        writeln!(
            f,
            "\n  latency, µs  {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "count", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for phase in Phase::ALL {
            let Percentiles { count, p50, p90, p99, p999, max } =
                self.outcome.tally.latencies.percentiles(phase);
            let name = phase.name();
            writeln!(f, "  {name:<12} {count:>9} {p50:>9} {p90:>9} {p99:>9} {p999:>9} {max:>9}")?;
        }
        Ok(())
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = &self.outcome.tally.failures;
        writeln!(f, "\nNO RESULT: {}", counted(failures.count, "failure"))?;
        for words in &failures.first {
            writeln!(f, "  {words}")?;
        }
        let more = failures.count - failures.first.len() as u64;
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
        Ok(())
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
