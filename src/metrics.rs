//! Counters of the shards: written by their one shard without locked instructions, summed by whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the thread that owns the counter may.
    pub fn add(&self, count: u64) {
        // One writer: a plain load and store, no locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Sets the counter as a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises the counter to this value where it is lower, as the largest one seen.
    pub fn raise(&self, value: u64) {
        if value > self.value() {
            self.set(value);
        }
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one shard, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardMetrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl ShardMetrics {
            /// Names and values in a fixed order.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.value()),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections,
    /// Connections open now (gauge).
    connections_open,
    /// Connections turned away because of a cap.
    connections_refused,
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
    /// Connections told 421 because they held most, or found no room, of what may wait to be parsed.
    held_refusals,
    /// Connections whose silent clients gave way because memory or places were scarce.
    gave_way,
    /// Parts of messages that were moved from memory to spill files.
    spills,
    /// Receive buffers held by connections and messages (gauge).
    buffers_pinned,
    /// Octets of owned blocks in use (gauge).
    block_bytes_used,
    /// TLS handshakes that were completed.
    tls_handshakes,
    /// Of these, sessions that were resumed.
    tls_resumptions,
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
    /// Sessions that ended in a panic of ours.
    session_panics,
    /// Turns that were begun.
    turns,
    /// The longest turn in microseconds: from the moment that its events are there to the next call of the
    /// kernel. Of all shards the longest one.
    turn_us_max,
}

/// How the name of a counter ends that is the largest value seen, so that shards are compared and not summed.
const LARGEST: &str = "_max";

/// Sums the counters of all shards, by name.
pub fn sum<'a>(shards: impl Iterator<Item = &'a ShardMetrics>) -> Vec<(&'static str, u64)> {
    let mut sums: Vec<(&'static str, u64)> = ShardMetrics::default().values().collect();
    for shard in shards {
        for (sum, (_, value)) in sums.iter_mut().zip(shard.values()) {
            sum.1 = if sum.0.ends_with(LARGEST) { sum.1.max(value) } else { sum.1 + value };
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_over_all_shards() {
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        shards[0].messages.add(3);
        shards[1].messages.add(4);
        shards[1].connections_open.set(2);
        let sums = sum(shards.iter());
        assert!(sums.contains(&("messages", 7)) && sums.contains(&("connections_open", 2)));
    }

    #[test]
    fn of_what_is_a_largest_value_the_largest_of_all_shards_counts() {
        let shards = [ShardMetrics::default(), ShardMetrics::default(), ShardMetrics::default()];
        for (shard, turns) in shards.iter().zip([[5, 3], [2, 9], [0, 1]]) {
            for turn in turns {
                shard.turn_us_max.raise(turn);
            }
        }
        assert_eq!(shards[0].turn_us_max.value(), 5, "a later, shorter one changes nothing");
        assert!(sum(shards.iter()).contains(&("turn_us_max", 9)));
    }
}
