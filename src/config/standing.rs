//! What of a running server's configuration stands until it is started again, and what of a new one a reload
//! takes.
//!
//! Which keys need a restart is said where they are read (`section.rs`). There the value of each of them is
//! noted, so that two configurations can be compared key by key, and none can be forgotten here.

use std::fmt;

use super::configuration::{Config, recipients_rule};
use super::fixed::Fixed;
use super::front::Front;
use super::listener::Listener;
use super::recipient_source::RecipientMap;
use super::shards::{Shard, too_little_block_memory};
use super::sink::{Sink, SinkKind};
use crate::mail::domain::DomainPattern;
use crate::smtp::settings::TlsPolicy;

/// What the file says of a key that is not there.
const NOT_GIVEN: &str = "not given";

/// A key whose new value needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsRestart {
    /// The dotted key, for instance `shards.buffers`.
    pub key: String,
    /// What tells its table from others of its name, for instance `core 1`.
    place: Option<String>,
    /// Where the file gives the new value, or its table.
    line: Option<usize>,
    /// What the file says.
    wanted: String,
    /// With what the server runs.
    running: String,
}

impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, place, line, wanted, running } = self;
        f.write_str(key)?;
        if let Some(place) = place {
            write!(f, " of {place}")?;
        }
        if let Some(line) = line {
            write!(f, " (line {line})")?;
        }
        write!(f, " = {wanted}; until then it is {running}")
    }
}

impl Config {
    /// What a server that runs with `running` can take over of this configuration, and what it cannot: what
    /// needs a restart is that of `running`.
    #[must_use]
    pub fn taken_over(self, running: &Self) -> (Self, Vec<NeedsRestart>) {
        let needs = self.needs_restart(running);
        let is_same_sink = !changes_sink(&needs);
        let mut sink = running.sink.clone();
        if is_same_sink {
            // What the other keys of a sink mean goes by its kind.
            sink.space_reserve = self.sink.space_reserve;
            sink.dsn = self.sink.dsn;
            sink.requiretls = self.sink.requiretls;
        }
        let shards = running.shards.iter().map(|shard| taken_by_shard(shard, &self.shards)).collect();
        let mut recipient_map = self.recipient_map.clone();
        if let (Some(RecipientMap::NextHops(new)), Some(RecipientMap::NextHops(old))) =
            (&mut recipient_map, &running.recipient_map)
        {
            new.takes_unasked = old.takes_unasked;
        }
        let mut log = self.log.clone();
        log.format = running.log.format;
        log.file.clone_from(&running.log.file);
        let taken = Self {
            sink,
            shards,
            log,
            recipient_map,
            cut_through: running.cut_through.clone(),
            nats: running.nats.clone(),
            front: Front { state: running.front.state.clone(), ..self.front.clone() },
            // The table is made once, also where only its default would be another.
            client_places: running.client_places,
            local_part_case_sensitive: running.local_part_case_sensitive,
            recipient_delimiter: running.recipient_delimiter,
            admin: running.admin.clone(),
            run_as: running.run_as.clone(),
            dns: running.dns.clone(),
            filters: running.filters.clone(),
            map_of_start: running.map_of_start.clone(),
            control: running.control.clone(),
            fixed: running.fixed.clone(),
            ..self
        };
        (taken, needs)
    }

    /// The same for a forwarder, which begins anew with all but where the mail is, whose it is, and how its
    /// log is written.
    #[must_use]
    pub fn taken_by_forwarder(self, running: &Self) -> (Self, Vec<NeedsRestart>) {
        let mut needs = self.needs_restart(running);
        needs.retain(|needed| {
            let key = &*needed.key;
            matches!(key, "sink.kind" | "sink.path" | "log.format") || key.starts_with("run_as.")
        });
        let mut log = self.log.clone();
        log.format = running.log.format;
        let taken = Self { sink: running.sink.clone(), log, run_as: running.run_as.clone(), ..self };
        (taken, needs)
    }

    /// Whether the shards can hold a message of the largest size. After [`Config::taken_over`] their memory
    /// is what it was.
    pub fn check_memory_of_messages(&self) -> Result<(), String> {
        let size = self.limits.message_size_max;
        match self.shards.iter().find_map(|shard| too_little_block_memory(shard, size)) {
            None => Ok(()),
            Some(text) => Err(format!(
                "the shards run with a block_memory that needs a restart, and {text}: restart, or leave this key as it was"
            )),
        }
    }

    /// The same for a server that starts with it: the threads that ask the DNS, or a map of recipients, then
    /// stay, whether or not a reload leaves anything that asks.
    #[must_use]
    pub fn started(mut self) -> Self {
        self.dns.threads = self.asks_dns().then(|| self.lookup_threads());
        self.map_of_start.clone_from(&self.recipient_map);
        self
    }

    /// Whether what this configuration asks of the DNS has somebody to ask. Threads, and the sandbox that
    /// lets them ask, are made at the start. After [`Config::taken_over`] they are those of the running
    /// server. The text is about `dns.threads`.
    pub fn check_asks_dns(&self) -> Result<(), String> {
        if self.dns.threads.is_some() || !self.asks_dns() {
            return Ok(());
        }
        Err("nothing asked the DNS when the server was started, so it has no threads for that, and its sandbox lets nobody connect:              restart. With `threads` in [dns] they are there before something asks"
            .to_owned())
    }

    /// Whether the map of recipients is the one that the server was started with, if there is one. After
    /// [`Config::taken_over`] that is known. The text is about `recipients`.
    pub fn check_recipient_map(&self) -> Result<(), String> {
        let is_another = |map: &&RecipientMap| self.map_of_start.as_ref() != Some(map);
        let Some(map) = self.recipient_map.as_ref().filter(is_another) else { return Ok(()) };
        if matches!((map, &self.map_of_start), (RecipientMap::NextHops(_), Some(RecipientMap::NextHops(_)))) {
            return Err("the next hops that are asked about recipients (`domains`, `to`, `tls` of [[forward]]) are others than at the start, and this \
                        server has given up to connect to others: restart, or leave them as they were"
                .to_owned());
        }
        Err(format!(
            "{map} is no map that this server was started with, and it has given up to connect to others: restart, or leave this key \
             as it was"
        ))
    }

    /// Whether messages are handed to the next hops that the server was started with, where that is done
    /// before a client is answered. To be asked before [`Config::taken_over`]. The text is about `forward`.
    pub fn check_cut_through(&self, running: &Self) -> Result<(), String> {
        if self.cut_through.is_none()
            || running.cut_through.is_none()
            || self.cut_through == running.cut_through
        {
            return Ok(());
        }
        Err("[[forward]] is another than at the start, and this server, which hands mail on before it answers, has given up to connect to \
             others: restart; or `ringmx reload --forwarder`, and restart later"
            .to_owned())
    }

    /// Goes on with a listener of the running configuration that is not in the file any more, and says so.
    /// The text is about `listener.address`.
    pub fn keep_listener(&mut self, listener: &Listener) -> Result<NeedsRestart, String> {
        let address = listener.address;
        // What the reading of a file sees to.
        let takes_all = self.domains.is_empty() && listener.is_reached_by_others();
        let lacks_certificate = listener.tls != TlsPolicy::Off && !self.tls.is_possible();
        let missing = match (takes_all, lacks_certificate) {
            (true, _) => "`domains`",
            (_, true) => "a certificate",
            (false, false) => {
                self.listeners.push(listener.clone());
                return Ok(NeedsRestart {
                    key: "listener.address".to_owned(),
                    place: Some("a socket of the service manager's".to_owned()),
                    line: None,
                    wanted: NOT_GIVEN.to_owned(),
                    running: format!("\"{address}\""),
                });
            }
        };
        Err(format!(
            "{address} is a socket of the service manager's, so its listener goes on until the restart, and it cannot without \
             {missing}: restart, or leave them as they were"
        ))
    }

    /// Whether a server that runs with `running` would store mail as this configuration says.
    #[must_use]
    pub fn has_sink_of(&self, running: &Self) -> bool {
        !changes_sink(&self.needs_restart(running))
    }

    /// Whether mail of a domain that is new goes where the file wants it. After [`Config::taken_over`] the
    /// domains are those of the file and the sink is the running one, whose maildirs may be others' of the
    /// same local-part. The text is about `domains`.
    pub fn check_domains_of_sink(&self, running: &Self, needs: &[NeedsRestart]) -> Result<(), String> {
        // Otherwise it is as the file says, and what is odd about that was told when it was read.
        let is_moved =
            needs.iter().any(|needed| matches!(&*needed.key, "sink.kind" | "sink.path" | "sink.template"));
        let mixes = |sink: &Sink| match &sink.kind {
            SinkKind::Maildir(maildir) => maildir.mixes_domains(),
            SinkKind::Spool(_) | SinkKind::Stdout(_) | SinkKind::Nats(_) | SinkKind::Discard => false,
        };
        if !is_moved || !mixes(&self.sink) || !takes_another_domain(&self.domains, &running.domains) {
            return Ok(());
        }
        Err("with the running sink, which needs a restart, mail of a domain that is new would go into the maildirs of the others: \
             restart, or leave this key as it was"
            .to_owned())
    }

    /// What the running sink makes of this configuration after [`Config::taken_over`] and the file does not
    /// say: key and text.
    pub fn warnings_of_sink(&self, needs: &[NeedsRestart]) -> Vec<(&'static str, String)> {
        if !changes_sink(needs) {
            return Vec::new();
        }
        let has_recipients = self.recipients.is_some() || self.recipient_map.is_some();
        let unlisted = match &self.sink.kind {
            SinkKind::Maildir(maildir) => maildir.unlisted_rule(has_recipients),
            SinkKind::Spool(_) | SinkKind::Stdout(_) | SinkKind::Nats(_) | SinkKind::Discard => None,
        };
        let all = recipients_rule(has_recipients, &self.domains, &self.listeners, &self.sink);
        let found = unlisted.into_iter().chain(all);
        found.map(|text| ("recipients", format!("until the restart that the sink needs: {text}"))).collect()
    }

    fn needs_restart(&self, running: &Self) -> Vec<NeedsRestart> {
        let find = |all: &[Fixed], one: &Fixed| {
            all.iter().find(|other| other.key == one.key && other.place == one.place).cloned()
        };
        let changed = self.fixed.0.iter().filter_map(|new| {
            let old = find(&running.fixed.0, new).map_or_else(|| NOT_GIVEN.to_owned(), |old| old.value);
            (old != new.value).then(|| (new.clone(), old))
        });
        let gone = running.fixed.0.iter().filter(|old| find(&self.fixed.0, old).is_none()).map(|old| {
            let new = Fixed { line: None, value: NOT_GIVEN.to_owned(), ..old.clone() };
            (new, old.value.clone())
        });
        let needed = |(Fixed { key, place, line, value }, running)| NeedsRestart {
            key,
            place,
            line,
            wanted: value,
            running,
        };
        changed.chain(gone).map(needed).collect()
    }
}

fn changes_sink(needs: &[NeedsRestart]) -> bool {
    needs.iter().any(|needed| needed.key.starts_with("sink."))
}

/// Whether some domain is accepted that was not.
fn takes_another_domain(new: &[DomainPattern], running: &[DomainPattern]) -> bool {
    let was_accepted = |pattern: &DomainPattern| {
        running.contains(pattern)
            || match pattern {
                DomainPattern::Exact(domain) => running.iter().any(|accepted| accepted.matches(domain)),
                DomainPattern::Below(_) => false,
            }
    };
    // Without any, all are accepted.
    !running.is_empty() && (new.is_empty() || !new.iter().all(was_accepted))
}

/// A shard that runs, with what it takes over of the one for its core. One whose core is no longer named goes
/// on as it was.
fn taken_by_shard(running: &Shard, new: &[Shard]) -> Shard {
    let new = new.iter().find(|new| new.cpu == running.cpu).unwrap_or(running);
    Shard { connections_max: new.connections_max, ..running.clone() }
}
