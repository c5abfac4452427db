//! What a run came to, for people and as JSON.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::histogram::{Percentiles, Phase};
use crate::plan::Plan;
use crate::run::Outcome;

/// A plan and what came of it.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// What came of it.
    pub outcome: &'a Outcome,
}

impl<'a> Report<'a> {
    /// Of a run that has ended.
    pub fn new(plan: &'a Plan, outcome: &'a Outcome) -> Self {
        Self { plan, outcome }
    }

    /// Whether the run measured anything: no reply was unexpected, and every message begun ended as its scenario expects. A
    /// receiver that refuses is fast, so a rate of a run with failures would say nothing.
    pub fn has_result(&self) -> bool {
        let Outcome { tally, interrupted, .. } = self.outcome;
        // Ctrl-C may have cut off transactions under way.
        let unanswered = if *interrupted { 0 } else { tally.started - tally.done() };
        let missing = self
            .plan
            .messages
            .is_some_and(|messages| tally.started < messages && !self.plan.by_time && !interrupted);
        let anything = if self.plan.sends() { tally.done() > 0 } else { tally.connections > 0 };
        tally.failures.count == 0 && tally.unsupported.is_none() && unanswered == 0 && !missing && anything
    }

    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.per_second(self.outcome.tally.accepted)
    }

    /// So many in the whole run, a second.
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.outcome.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Megabytes (10^6) of messages a second.
    pub fn megabytes_rate(&self) -> f64 {
        self.per_second(self.outcome.tally.octets) / 1e6
    }

    /// TLS handshakes a second.
    pub fn handshakes_rate(&self) -> f64 {
        self.per_second(self.outcome.tally.handshakes.count)
    }

    /// TLS in words, if mail was sent under it: what was asked for, and what was negotiated.
    pub fn tls(&self) -> Option<String> {
        let asked = self.plan.tls.as_ref()?.describe();
        let handshakes = &self.outcome.tally.handshakes;
        let negotiated = handshakes.negotiated();
        let kinds: Vec<String> = match &negotiated[..] {
            [(only, _)] => vec![only.to_string()],
            several => several.iter().map(|(kind, count)| format!("{count} × {kind}")).collect(),
        };
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        let count = counted(handshakes.count, "handshake");
        Some(format!("{asked}; {count}, {} resumed{kinds}", handshakes.resumed))
    }

    /// Latencies of a phase.
    pub fn latency(&self, phase: Phase) -> Percentiles {
        self.outcome.tally.latencies.percentiles(phase)
    }

    /// What the server does not do though it was asked for, and other things to know.
    pub fn notes(&self) -> Vec<String> {
        let tally = &self.outcome.tally;
        let mut notes = Vec::new();
        if tally.helo {
            notes.push("the server refuses EHLO: HELO was said, and it offers no extensions".to_owned());
        }
        if tally.pipelining_missing {
            notes.push("the server does not offer PIPELINING: every command waited for its reply".to_owned());
        }
        if self.plan.pipelining() > Some(2)
            && self.plan.scenarios.iter().all(|scenario| scenario.bdat.is_none())
        {
            notes.push("with DATA two transactions are under way at most: more need --bdat".to_owned());
        }
        let handshakes = &tally.handshakes;
        let could_resume = handshakes.count > self.plan.connections() as u64;
        if self.plan.tls.as_ref().is_some_and(|tls| tls.resumption) && handshakes.resumed == 0 && could_resume
        {
            notes.push("no session was resumed: the server does not let its clients".to_owned());
        }
        if tally.unsent > 0 {
            notes.push(format!(
                "{} were due and not sent: the receiver does not take this rate",
                tally.unsent
            ));
        }
        notes
    }

    /// The latency of transactions in HdrHistogram's percentile format, in milliseconds.
    pub fn hgrm(&self) -> String {
        use std::fmt::Write as _;
        let latencies = &self.outcome.tally.latencies;
        let mut text = format!(
            "{:>12} {:>14} {:>10} {:>14}\n\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        );
        for (quantile, microseconds, count) in latencies.curve(Phase::Transaction) {
            let value = microseconds as f64 / 1e3;
            let _ = write!(text, "{value:12.3} {quantile:2.12} {count:10}");
            let _ = if quantile < 1.0 {
                writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile))
            } else {
                writeln!(text)
            };
        }
        let (mean, deviation) = latencies.mean_and_deviation(Phase::Transaction);
        let Percentiles { count, max, .. } = self.latency(Phase::Transaction);
        let [mean, deviation, max] = [mean, deviation, max as f64].map(|microseconds| microseconds / 1e3);
        let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
        let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
        text
    }

    /// Our own CPU time a message, in microseconds.
    pub fn cpu_per_message(&self) -> f64 {
        self.outcome.cpu.as_secs_f64() * 1e6 / self.outcome.tally.done().max(1) as f64
    }

    /// Why there is no result.
    pub fn why_no_result(&self) -> String {
        let tally = &self.outcome.tally;
        match (&tally.unsupported, tally.failures.count) {
            (Some(why), _) => why.clone(),
            (None, 0) if tally.done() == 0 => "no message was answered".to_owned(),
            (None, 0) => "messages were not sent or not answered".to_owned(),
            (None, failures) => counted(failures, "failure"),
        }
    }

    /// Our own CPU time in words.
    pub fn own_cpu(&self) -> String {
        match self.outcome.tally.done() {
            0 => format!("{:.0} % busy", self.busy()),
            _ => format!("{:.1} µs a message, {:.0} % busy", self.cpu_per_message(), self.busy()),
        }
    }

    /// How busy the load threads were, in percent of their cores.
    pub fn busy(&self) -> f64 {
        let most = self.outcome.elapsed.as_secs_f64() * self.plan.threads.len() as f64;
        100.0 * self.outcome.cpu.as_secs_f64() / most.max(f64::EPSILON)
    }

    /// Cores of the threads.
    pub fn cores(&self) -> Vec<usize> {
        self.plan.threads.iter().map(|share| share.cpu).collect()
    }

    /// How sessions go, in words.
    pub fn session(&self) -> String {
        let scenario = self.plan.scenarios[0];
        let most =
            scenario.messages_per_session.map_or("kept open".into(), |most| counted(most.get(), "message"));
        let pipelining = match (self.plan.pipelining(), self.outcome.tally.pipelining_missing) {
            (None, _) => "no".to_owned(),
            (Some(1), false) => "yes".to_owned(),
            (Some(depth), false) => format!("{depth} deep"),
            (Some(_), true) => "asked for, but the server does not offer it".to_owned(),
        };
        let form = match self.plan.scenarios.iter().find_map(|scenario| scenario.bdat) {
            None => "DATA".to_owned(),
            Some(chunk) if chunk as u64 >= self.plan.corpus.size_max() => "BDAT".to_owned(),
            Some(chunk) => format!("BDAT in chunks of {chunk}"),
        };
        format!("{}, {most}, pipelining: {pipelining}, {form}", self.plan.mix)
    }

    /// Closed loop, or open with its rate.
    pub fn arrival(&self) -> String {
        self.plan.rate.map_or("closed loop".to_owned(), |rate| format!("open loop, {rate}"))
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
        let negotiated: Vec<Value> =
            tally.handshakes.negotiated().into_iter().map(|(kind, _)| kind.to_string().into()).collect();
        let result = json!({
            "messages_per_second": self.rate(),
            "connections_per_second": self.per_second(tally.connections),
            "handshakes_per_second": self.handshakes_rate(),
            "handshakes_resumed_percent": tally.handshakes.resumed_percent(),
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
            "scenario": plan.mix.to_string(),
            "message": plan.message,
            "size_bytes": plan.corpus.size_mean(),
            "recipients": plan.recipients,
            "messages_per_session": plan.scenarios[0].messages_per_session,
            "pipelining": plan.pipelining().is_some() && !tally.pipelining_missing,
            "pipelining_depth": plan.pipelining(),
            "bdat_chunk_bytes": plan.scenarios.iter().find_map(|scenario| scenario.bdat),
            "rate": plan.rate.map(|rate| rate.to_string()),
            "messages_refused": tally.refused,
            "messages_aborted": tally.aborted,
            "messages_late": tally.late,
            "messages_unsent": tally.unsent,
            "sessions_ended_by_server": tally.ended_by_server,
            "notes": self.notes(),
            "unsupported": tally.unsupported,
            "interrupted": outcome.interrupted,
            "messages_started": tally.started,
            "messages_accepted": tally.accepted,
            "connections_made": tally.connections,
            "tls": plan.tls.as_ref().map(|tls| tls.mode.name()),
            "tls_name": plan.tls.as_ref().map(|tls| tls.name.to_str()),
            "tls_verified": plan.tls.as_ref().map(|tls| tls.verified),
            "tls_resumption": plan.tls.as_ref().map(|tls| tls.resumption),
            "tls_negotiated": negotiated,
            "handshakes": tally.handshakes.count,
            "handshakes_resumed": tally.handshakes.resumed,
            "replies": replies,
            "failures": tally.failures.count,
            "failures_first": tally.failures.first,
            "result": if self.has_result() { result } else { Value::Null },
        });
        format!("{whole:#}\n")
    }
}

fn json_of(percentiles: &Percentiles) -> Value {
    let Percentiles { count, p50, p90, p99, p999, p9999, max } = percentiles;
    json!({ "count": count, "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "p99.99": p9999, "max": max })
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_configuration(f)?;
        let tally = &self.outcome.tally;
        if self.outcome.interrupted {
            writeln!(f, "  stopped      by a signal before its end")?;
        }
        if let Some(tls) = self.tls() {
            writeln!(f, "  TLS          {tls}")?;
        }
        let replies: Vec<String> =
            tally.replies.by_code().iter().map(|(code, count)| format!("{count} × {code}")).collect();
        write!(f, "  messages     {} accepted of {} begun", tally.accepted, tally.started)?;
        for (count, how) in [(tally.refused, "refused"), (tally.aborted, "broken off")] {
            if count > 0 {
                write!(f, ", {count} {how} as wanted")?;
            }
        }
        writeln!(f)?;
        if self.plan.rate.is_some() {
            writeln!(
                f,
                "  in time      {} late by more than 1 ms, {} due and not sent",
                tally.late, tally.unsent
            )?;
        }
        write!(f, "  connections  {} made", tally.connections)?;
        if tally.ended_by_server > 0 {
            write!(f, ", {} ended by the server as expected", tally.ended_by_server)?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "  replies      {}",
            if replies.is_empty() { "none".into() } else { replies.join(", ") }
        )?;
        for note in self.notes() {
            writeln!(f, "  note         {note}")?;
        }
        if self.has_result() { self.write_result(f) } else { self.write_failures(f) }
    }
}

impl Report<'_> {
    fn write_configuration(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, .. } = self;
        writeln!(f, "loadgen → {} ({})", plan.target, plan.address)?;
        let cores: Vec<String> = self.cores().iter().map(usize::to_string).collect();
        writeln!(
            f,
            "  load         {} on {} pinned to core {}",
            counted(plan.connections() as u64, "connection"),
            counted(plan.threads.len() as u64, "thread"),
            cores.join(", ")
        )?;
        writeln!(f, "  arrival      {}", self.arrival())?;
        writeln!(f, "  session      {}", self.session())?;
        let recipients = counted(plan.recipients as u64, "recipient");
        writeln!(f, "  message      {}, {recipients}", plan.message)
    }

    fn write_result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  elapsed      {:.3} s", self.outcome.elapsed.as_secs_f64())?;
        writeln!(
            f,
            "  rate         {:.0} messages/s, {:.1} MB/s, {:.1} connections/s, {:.1} handshakes/s",
            self.rate(),
            self.megabytes_rate(),
            self.per_second(self.outcome.tally.connections),
            self.handshakes_rate()
        )?;
        writeln!(f, "  own CPU      {}", self.own_cpu())?;
        writeln!(
            f,
            "\n  latency, µs  {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        )?;
        for phase in Phase::ALL {
            let Percentiles { count, p50, p90, p99, p999, p9999, max } = self.latency(phase);
            if count > 0 {
                let name = phase.name();
                writeln!(
                    f,
                    "  {name:<12} {count:>9} {p50:>9} {p90:>9} {p99:>9} {p999:>9} {p9999:>9} {max:>9}"
                )?;
            }
        }
        Ok(())
    }

    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = &self.outcome.tally.failures;
        writeln!(f, "\nNO RESULT: {}", self.why_no_result())?;
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

/// A count with its noun.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
