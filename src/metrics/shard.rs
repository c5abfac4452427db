//! What one shard counts: written by that shard without locked instructions, read by whoever asks.

use std::sync::Arc;

use super::authentication::{AuthenticationMetrics, AuthenticationValues};
use super::histogram::{Histogram, Spread};
use crate::counter::Counter;
use crate::smtp::ended_by::EndedBy;
use crate::smtp::tally::{Tally, TallyValues};

/// A part of the time of a session or a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From the accept until the greeting is sent.
    Banner,
    /// A TLS handshake.
    TlsHandshake,
    /// From MAIL to DATA or the first BDAT.
    Envelope,
    /// From there to the end of the mail data.
    Data,
    /// From there until a worker of the sink can take the message.
    HandoffWait,
    /// From there until its receipt is home.
    Store,
    /// From there until the reply is sent.
    Reply,
    /// From the accept to the close.
    Session,
}

impl Phase {
    /// All there are, in their order.
    pub const ALL: [Self; 8] = [
        Self::Banner,
        Self::TlsHandshake,
        Self::Envelope,
        Self::Data,
        Self::HandoffWait,
        Self::Store,
        Self::Reply,
        Self::Session,
    ];

    /// As it is called in metrics and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Banner => "banner",
            Self::TlsHandshake => "tls_handshake",
            Self::Envelope => "envelope",
            Self::Data => "data",
            Self::HandoffWait => "handoff_wait",
            Self::Store => "store",
            Self::Reply => "reply",
            Self::Session => "session",
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one shard, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardMetrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
            /// What its sessions said and heard.
            pub tally: Arc<Tally>,
            /// How long each phase took, in the order of [`Phase::ALL`]; see [`ShardMetrics::phase`].
            phases: [Histogram; Phase::ALL.len()],
            /// Sessions that ended, by why, in the order of [`EndedBy::ALL`].
            ended_by: [Counter; EndedBy::ALL.len()],
            /// Octets of the messages that were answered 250.
            pub message_size: Histogram,
            /// How long answers of the DNS took to come home, from the question.
            pub dns_duration: Histogram,
            /// What was found of who vouches for messages.
            pub authentication: AuthenticationMetrics,
            /// How long turns took: from the moment that their events are there to the next call of the
            /// kernel.
            pub turn_duration: Histogram,
        }

        /// What a shard had counted at a moment, or several of them together.
        #[derive(Debug, Clone, Default)]
        pub struct ShardValues {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// What its sessions said and heard.
            pub tally: TallyValues,
            phases: [Spread; Phase::ALL.len()],
            ended_by: [u64; EndedBy::ALL.len()],
            /// Octets of the messages that were answered 250.
            pub message_size: Spread,
            /// How long answers of the DNS took to come home, from the question.
            pub dns_duration: Spread,
            /// What was found of who vouches for messages.
            pub authentication: AuthenticationValues,
            /// How long turns took.
            pub turn_duration: Spread,
        }

        impl ShardMetrics {
            /// What was counted so far.
            pub fn read(&self) -> ShardValues {
                ShardValues {
                    $($name: self.$name.value(),)+
                    tally: self.tally.read(),
                    phases: std::array::from_fn(|index| self.phases[index].spread()),
                    ended_by: std::array::from_fn(|index| self.ended_by[index].value()),
                    message_size: self.message_size.spread(),
                    dns_duration: self.dns_duration.spread(),
                    authentication: self.authentication.read(),
                    turn_duration: self.turn_duration.spread(),
                }
            }
        }

        impl ShardValues {
            /// Names and values of the plain counters and gauges, in a fixed order.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            /// Adds what another shard counted.
            pub fn merge(&mut self, other: &Self) {
                $(merge_value(stringify!($name), &mut self.$name, other.$name);)+
                self.tally.merge(&other.tally);
                for (phase, more) in self.phases.iter_mut().zip(&other.phases) {
                    phase.merge(more);
                }
                for (count, more) in self.ended_by.iter_mut().zip(&other.ended_by) {
                    *count += more;
                }
                self.message_size.merge(&other.message_size);
                self.dns_duration.merge(&other.dns_duration);
                self.authentication.merge(&other.authentication);
                self.turn_duration.merge(&other.turn_duration);
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections,
    /// Connections open now (gauge).
    connections_open,
    /// Connections turned away because the shard had no place for them.
    connections_refused_full,
    /// Connections turned away because their client had too many.
    connections_refused_client,
    /// Connections turned away because the server was stopping.
    connections_refused_stopping,
    /// Connections and transactions of clients that had not proved good, put off for want of room.
    put_off,
    /// Sessions that a rule which only warns would have refused something.
    front_warnings,
    /// Connections of fronts that sent no PROXY header, or a bad one.
    proxy_headers_missing,
    /// Accepts that failed, as a rule for want of descriptors.
    accept_failures,
    /// Messages answered 250.
    messages,
    /// Octets of mail data in them.
    message_bytes,
    /// Messages answered 4yz at the end of their mail data.
    messages_try_again,
    /// Messages answered 5yz at the end of their mail data.
    messages_refused,
    /// Messages whose outcome was unknown when the client had to be answered, or whose client had gone.
    messages_unknown,
    /// Times a receive found no published buffer.
    buffer_stalls,
    /// Messages under way that lost their memory to the budget and are answered 451.
    memory_refusals,
    /// Messages that a filter or the next hops had no room for: passed by, or answered 451.
    stations_full,
    /// Messages that a filter or a next hop kept for longer than it may, which are answered 451.
    stations_late,
    /// Connections told 421 because they held most, or found no room, of what may wait to be parsed.
    held_refusals,
    /// Connections whose silent clients gave way because memory or places were scarce.
    gave_way,
    /// Parts of messages that were moved from memory to spill files.
    spills,
    /// Messages that wait for their outcome: for a place with the sink, or for its receipt (gauge).
    messages_at_sink,
    /// Receive buffers held by connections and messages (gauge).
    buffers_pinned,
    /// Receive buffers that there are (gauge).
    buffers,
    /// Octets of owned blocks in use (gauge).
    block_bytes_used,
    /// Fields that claimed to be our Authentication-Results, and were removed. Neighbours count as one.
    forged_results,
    /// Questions to the DNS that went to a lookup thread.
    dns_questions,
    /// Of their answers, those with records.
    dns_answers_records,
    /// Of their answers, that the name has no record of the kind.
    dns_answers_no_records,
    /// Of their answers, that there is no such name.
    dns_answers_no_name,
    /// Of their answers, that a name server failed or refused to answer.
    dns_answers_server_failure,
    /// Of their answers, that no name server answered in time; and questions whose answer did not come home
    /// in time.
    dns_answers_timed_out,
    /// Of their answers, those that could not be used.
    dns_answers_unusable,
    /// Of their answers, that too many questions were out; and questions that were not sent for this reason.
    dns_answers_overload,
    /// Questions to the DNS that are out (gauge).
    dns_questions_out,
    /// Octets of answers of the DNS that the shard keeps (gauge).
    dns_answer_bytes,
    /// TLS handshakes that were completed.
    tls_handshakes,
    /// Of these, sessions that were resumed.
    tls_resumptions,
    /// Of the handshakes, those of TLS 1.2.
    tls12_handshakes,
    /// Of these, sessions that were resumed.
    tls12_resumptions,
    /// TLS that failed: the client does not speak TLS.
    tls_failures_not_tls,
    /// TLS that failed: no common version, cipher suite or signature scheme.
    tls_failures_nothing_in_common,
    /// TLS that failed: the client offers other protocols than `smtp`.
    tls_failures_protocol,
    /// TLS that failed: the client said so.
    tls_failures_client_alert,
    /// TLS that failed: the client asked for a name that is no host name.
    tls_failures_server_name,
    /// TLS that failed: the client broke its rules.
    tls_failures_misbehaved,
    /// TLS that failed: a record that was not encrypted under our keys.
    tls_failures_decrypt,
    /// TLS that failed: the handshake was not done in time.
    tls_failures_timed_out,
    /// TLS that failed: the client went away in the handshake.
    tls_failures_gone,
    /// TLS that failed for another reason.
    tls_failures_other,
    /// Sessions of clients that sent no command and were not stopped by us.
    sessions_silent,
    /// Sessions that ended in a panic of ours.
    session_panics,
    /// Microseconds in which some client was held back: no receive buffer was left, memory for mail data was
    /// nearly used up, or messages waited for a place with the sink.
    back_pressure_us,
    /// Turns.
    turns,
    /// Times that completions did not fit into the ring, so that the kernel kept them aside.
    ring_overflows,
    /// The longest turn in microseconds: from the moment that its events are there to the next call of the
    /// kernel. Of all shards the longest one.
    turn_us_max,
}

impl ShardMetrics {
    /// Counts a session that ended, in which no command came or some did.
    pub fn count_end(&self, why: EndedBy, is_silent: bool) {
        if is_silent && matches!(why, EndedBy::Client | EndedBy::Lost) {
            self.sessions_silent.add(1);
        } else {
            self.ended_by[why.index()].add(1);
        }
    }

    /// How long this phase took.
    pub fn phase(&self, phase: Phase) -> &Histogram {
        &self.phases[phase as usize]
    }
}

impl ShardValues {
    /// Sessions that ended for this.
    pub fn ended_by(&self, why: EndedBy) -> u64 {
        self.ended_by[why.index()]
    }

    /// How long this phase took.
    pub fn phase(&self, phase: Phase) -> &Spread {
        &self.phases[phase as usize]
    }
}

/// How the name of a counter ends that is the largest value seen, so that shards are compared and not summed.
const LARGEST: &str = "_max";

fn merge_value(name: &str, value: &mut u64, more: u64) {
    *value = if name.ends_with(LARGEST) { more.max(*value) } else { *value + more };
}

/// What all shards counted together.
pub fn sum<'a>(shards: impl Iterator<Item = &'a ShardMetrics>) -> ShardValues {
    let mut sum = ShardValues::default();
    shards.for_each(|shard| sum.merge(&shard.read()));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_over_all_shards() {
        let shards: Vec<ShardMetrics> = (0..2).map(|_| ShardMetrics::default()).collect();
        shards[0].messages.add(3);
        shards[1].messages.add(4);
        shards[1].connections_open.set(2);
        for shard in &shards {
            shard.phase(Phase::Data).add(7);
        }
        let sum = sum(shards.iter());
        assert_eq!((sum.messages, sum.connections_open), (7, 2));
        assert_eq!((sum.phase(Phase::Data).count(), sum.phase(Phase::Store).count()), (2, 0));
        assert!(sum.values().any(|value| value == ("messages", 7)));
    }

    #[test]
    fn of_what_is_a_largest_value_the_largest_of_all_shards_counts() {
        let shards: Vec<ShardMetrics> = (0..3).map(|_| ShardMetrics::default()).collect();
        for (shard, turns) in shards.iter().zip([[5, 3], [2, 9], [0, 1]]) {
            for turn in turns {
                shard.turn_us_max.raise(turn);
            }
        }
        assert_eq!(shards[0].turn_us_max.value(), 5, "a later, shorter one changes nothing");
        assert_eq!(sum(shards.iter()).turn_us_max, 9);
    }
}
