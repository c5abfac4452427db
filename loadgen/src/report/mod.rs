//! What a run came to: its numbers and their words. `text` and `html` put them together for people, `json`
//! and `hgrm` for programs; [`judgement`] holds them against the thresholds, and [`files`] writes them.

pub mod files;
mod hgrm;
mod html;
mod json;
pub mod judgement;
mod latency_table;
mod text;

use crate::latency::{Percentiles, Phase};
use crate::outcome::Outcome;
use crate::paragraph::NO_BREAK;
use crate::plan::Plan;
use crate::provenance::Provenance;
use crate::scenario::bots::{End, Kind};
use crate::tally::bots::KindCounts;
use crate::tally::interval::Slice;
use crate::threshold::Threshold;
use crate::units::counted;

/// A plan and what came of it.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// Where it comes from.
    pub provenance: &'a Provenance,
    /// What its numbers are held against.
    pub thresholds: &'a [Threshold],
}

impl Report<'_> {
    /// The target as it was given, with its address unless they are the same.
    pub fn receiver(&self) -> String {
        let address = self.plan.address.to_string();
        if self.plan.target == address { address } else { format!("{} ({address})", self.plan.target) }
    }

    /// The report of what ran beside it.
    pub fn beside(&self) -> Option<Report<'_>> {
        let (plan, outcome) = (self.plan.beside.as_deref()?, self.outcome.beside.as_deref()?);
        Some(Report { plan: &plan.plan, outcome, provenance: self.provenance, thresholds: &[] })
    }

    /// Whether the run measured anything, and what was to run beside it did.
    pub fn has_result(&self) -> bool {
        self.is_good() && self.beside().is_none_or(|beside| beside.is_good())
    }

    /// Of one class of sessions: no reply was unexpected, and every message begun ended as its scenario
    /// expects. A receiver that refuses is fast, so a rate of a run with failures would say nothing. What
    /// runs beside others needs no more than connections: whatever the server does with them is its right.
    fn is_good(&self) -> bool {
        let Outcome { tally, interrupted, .. } = self.outcome;
        if self.plan.is_beside {
            return tally.connections > 0 && tally.unsupported.is_none();
        }
        // Ctrl-C may have cut off transactions under way.
        let unanswered = if *interrupted { 0 } else { tally.started - tally.done() };
        let missing = self
            .plan
            .messages
            .is_some_and(|messages| tally.started < messages && !self.plan.by_time && !interrupted);
        let by_messages = self.plan.sends() && self.plan.bots.is_none();
        let anything = if by_messages { tally.done() > 0 } else { tally.connections > 0 };
        tally.failures.count == 0 && tally.unsupported.is_none() && unanswered == 0 && !missing && anything
    }

    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.per_second(self.outcome.tally.accepted)
    }

    /// The rate of what was counted so often in the whole run.
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

    /// RCPT refused a second, of those that are to be.
    pub fn refusals_rate(&self) -> f64 {
        self.per_second(self.latency(Phase::Refused).count)
    }

    /// Sessions a second: of bots those that went as their kind means to, of others those that went to the
    /// reply to QUIT and have a certain number of messages.
    pub fn sessions_rate(&self) -> f64 {
        match self.plan.bots {
            Some(_) => self.per_second(self.outcome.tally.bots.complete()),
            None => self.per_second(self.latency(Phase::Session).count),
        }
    }

    /// Rates in words.
    pub fn rates(&self) -> String {
        let tally = &self.outcome.tally;
        let refusals = self.latency(Phase::Refused).count > 0;
        let mut rates = Vec::new();
        if self.plan.bots.is_none() && (tally.accepted > 0 || !refusals) {
            rates.push(format!("{:.0} messages/s, {:.1} MB/s", self.rate(), self.megabytes_rate()));
        }
        if refusals {
            rates.push(format!("{:.0} refusals/s", self.refusals_rate()));
        }
        if refusals || self.plan.bots.is_some() {
            rates.push(format!("{:.0} sessions/s", self.sessions_rate()));
        }
        rates.push(format!("{:.1} connections/s", self.per_second(tally.connections)));
        if self.plan.tls.is_some() && self.plan.bots.is_none() {
            rates.push(format!("{:.1} handshakes/s", self.handshakes_rate()));
        }
        rates.join(", ")
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

    /// How the run went over time; all of a run, also of one without a result.
    pub fn over_time(&self) -> Vec<Slice> {
        self.outcome.tally.intervals.slices(self.outcome.elapsed)
    }

    /// The run in a few parts; no part if it was too short, or its rate changes because it was asked to.
    pub fn parts(&self) -> Vec<Slice> {
        if self.plan.rate.is_some_and(|rate| rate.is_ramp()) {
            return Vec::new();
        }
        self.outcome.tally.intervals.parts(self.outcome.elapsed)
    }

    /// Latencies of a phase.
    pub fn latency(&self, phase: Phase) -> Percentiles {
        self.outcome.tally.latencies.percentiles(phase)
    }

    /// Sessions that are not among the latencies of sessions, in words.
    pub fn left_out(&self) -> Option<String> {
        let (count, of) = self.outcome.tally.bots.left_out();
        let words = || {
            let are = if count == 1 { "which is" } else { "which are" };
            format!("session leaves out {count} of {of} sessions of the kind refused, {are} not complete")
        };
        (count > 0).then(words)
    }

    /// Sessions of bots, in words.
    pub fn bot_sessions(&self) -> String {
        let tally = &self.outcome.tally;
        let (ended, complete) = (tally.bots.sessions(), tally.bots.complete());
        format!("{ended} ended of {} begun, {complete} complete", tally.started)
    }

    /// What the run is about: transactions, or sessions where no mail was accepted and sessions went to their
    /// end.
    pub fn subject(&self) -> Phase {
        let of = |phase| self.latency(phase).count > 0;
        if !of(Phase::Transaction) && of(Phase::Session) { Phase::Session } else { Phase::Transaction }
    }

    /// What the server does not offer although it was asked for, and other things to know.
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

    /// Our own CPU time a message, in microseconds.
    pub fn cpu_per_message(&self) -> f64 {
        self.outcome.cpu.as_secs_f64() * 1e6 / self.outcome.tally.done().max(1) as f64
    }

    /// Why there is no result.
    pub fn why_no_result(&self) -> String {
        let tally = &self.outcome.tally;
        if let Some(beside) = self.beside().filter(|_| self.is_good()) {
            return format!("beside it {}", beside.why_no_result());
        }
        match (&tally.unsupported, tally.failures.count) {
            (None, _) if self.plan.is_beside || self.plan.bots.is_some() && tally.connections == 0 => {
                "no connection was made".to_owned()
            }
            (Some(why), _) => why.clone(),
            (None, 0) if tally.done() == 0 => "no message was answered".to_owned(),
            (None, 0) => "messages were not sent or not answered".to_owned(),
            (None, failures) => counted(failures, "failure"),
        }
    }

    /// Our own CPU time in words.
    pub fn own_cpu(&self) -> String {
        if self.outcome.tally.done() == 0 {
            return format!("{:.0} % busy", self.busy());
        }
        let what = if self.plan.bots.is_some() { "session" } else { "message" };
        format!("{:.1} µs a {what}, {:.0} % busy", self.cpu_per_message(), self.busy())
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
        if let Some(bots) = self.plan.bots {
            return format!("bots: {}", bots.describe());
        }
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

    /// What a run beside another one is, in words: to know which runs may be compared.
    pub fn class(&self) -> String {
        let from = self.plan.source.map_or(String::new(), |source| format!(", from {source}"));
        let connections = counted(self.plan.connections() as u64, "connection");
        format!("{}, {}, {connections}{from}", self.session(), self.arrival())
    }

    /// How sessions of bots ended and what they heard, by kind, in words.
    pub fn bots(&self) -> Vec<(&'static str, String)> {
        let words = |(kind, counts): (Kind, &KindCounts)| {
            let ends = End::ALL.into_iter().filter(|end| counts.ended(*end) > 0);
            let ends: Vec<String> =
                ends.map(|end| format!("{} {}", counts.ended(end), end.words())).collect();
            let replies: Vec<String> =
                counts.replies().iter().map(|(code, count)| replies_of(*code, *count)).collect();
            let replies = if replies.is_empty() { "no reply".to_owned() } else { replies.join(", ") };
            (kind.name(), format!("{}: {}; {replies}", counts.sessions(), ends.join(", ")))
        };
        self.outcome.tally.bots.by_kind().map(words).collect()
    }
}

/// Replies with this code, in words that stay together.
fn replies_of(code: u16, count: u64) -> String {
    format!("{count}{NO_BREAK}×{NO_BREAK}{code}")
}
