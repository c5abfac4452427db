//! A report for programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Report;
use super::judgement::judgements;
use crate::latency::{Percentiles, Phase};
use crate::scenario::bots::{End, Kind};
use crate::tally::bots::KindCounts;
use crate::tally::interval::Slice;

impl Report<'_> {
    /// The same as a JSON object. `result` is null when there is none.
    pub fn json(&self) -> String {
        let mut whole = self.value();
        whole["beside"] = self.beside().map(|beside| beside.class()).into();
        whole["beside_class"] = self.beside().map(|beside| beside.value_of_class()).into();
        format!("{whole:#}\n")
    }

    /// One class of sessions, without what stands there of the whole run.
    fn value_of_class(&self) -> Value {
        let mut value = self.value();
        if let Value::Object(value) = &mut value {
            for key in ["date", "host", "system", "command", "version", "target", "thresholds"] {
                value.remove(key);
            }
        }
        value
    }

    /// The report, with nothing of what ran beside it.
    fn value(&self) -> Value {
        let Self { plan, outcome, .. } = self;
        let tally = &outcome.tally;
        let latencies: Map<String, Value> = Phase::ALL
            .iter()
            .map(|phase| (phase.name().to_owned(), json_of(&tally.latencies.percentiles(*phase))))
            .collect();
        let negotiated: Vec<Value> =
            tally.handshakes.negotiated().into_iter().map(|(kind, _)| kind.to_string().into()).collect();
        let result = json!({
            "messages_per_second": self.rate(),
            "refusals_per_second": self.refusals_rate(),
            "sessions_per_second": self.sessions_rate(),
            "connections_per_second": self.per_second(tally.connections),
            "handshakes_per_second": self.handshakes_rate(),
            "handshakes_resumed_percent": tally.handshakes.resumed_percent(),
            "megabytes_per_second": self.megabytes_rate(),
            "elapsed_seconds": outcome.elapsed.as_secs_f64(),
            "cpu_microseconds_per_message": self.cpu_per_message(),
            "cpu_busy_percent": self.busy(),
            "latency_microseconds": latencies,
            "parts": self.parts().iter().map(slice_json).collect::<Vec<_>>(),
        });
        let kinds = tally.failures.kinds();
        let kinds: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({ "count": kind.count, "words": kind.words, "others_alike": kind.varies }))
            .collect();
        let thresholds: Vec<Value> = judgements(self)
            .iter()
            .map(|judgement| json!({ "threshold": judgement.threshold, "verdict": judgement.standing.name(), "words": judgement.words }))
            .collect();
        let provenance = self.provenance;
        let mut value = json!({
            "date": provenance.date,
            "host": provenance.host,
            "system": provenance.system,
            "command": provenance.command.join(" "),
            "version": provenance.version,
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
            "replies": codes(tally.replies.by_code()),
            "failures": tally.failures.count,
            "failures_by_kind": kinds,
            "thresholds": thresholds,
            "over_time": self.over_time().iter().map(slice_json).collect::<Vec<_>>(),
            "result": if self.has_result() { result } else { Value::Null },
        });
        value["expected"] = plan.expected.as_ref().map(|shares| json!(shares)).into();
        value["source"] = plan.source.map(|source| source.to_string()).into();
        value["bots"] = self.bots_value();
        value
    }

    /// Sessions of bots by kind: how they ended, and what they heard.
    fn bots_value(&self) -> Value {
        let bots = &self.outcome.tally.bots;
        let kind = |(kind, counts): (Kind, &KindCounts)| {
            let ends = End::ALL.map(|end| (end.name(), counts.ended(end)));
            let value = json!({
                "sessions": counts.sessions(),
                "complete": counts.complete(),
                "ends": ends.into_iter().collect::<BTreeMap<_, _>>(),
                "replies": codes(counts.replies()),
            });
            (kind.name().to_owned(), value)
        };
        if self.plan.bots.is_none() { Value::Null } else { bots.by_kind().map(kind).collect() }
    }
}

/// Replies by code.
fn codes(replies: BTreeMap<u16, u64>) -> Value {
    replies.into_iter().map(|(code, count)| (code.to_string(), Value::from(count))).collect()
}

fn json_of(percentiles: &Percentiles) -> Value {
    let Percentiles { count, p50, p90, p99, p999, p9999, max } = percentiles;
    json!({ "count": count, "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "p99.99": p9999, "max": max })
}

fn slice_json(slice: &Slice) -> Value {
    let latency = if slice.latency.count > 0 { json_of(&slice.latency) } else { Value::Null };
    json!({
        "from_seconds": slice.from.as_secs_f64(),
        "to_seconds": slice.to.as_secs_f64(),
        "messages_accepted": slice.latency.count,
        "messages_per_second": slice.rate(),
        "megabytes_per_second": slice.per_second(slice.octets as f64) / 1e6,
        "transaction_microseconds": latency,
    })
}
