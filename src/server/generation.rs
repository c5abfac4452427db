//! What a reload changes, as one value: a generation. Each shard has a [`Service`] of its own of it, and all
//! of them one table of recipients.
//!
//! Sessions keep what they began with, so old generations live on. What is large is never dropped by a shard:
//! the control thread keeps each generation until nobody else holds anything of it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use super::addresses::Place;
use super::client_state::GreylistPlace;
use super::error::ServeError;
use crate::config::{Config, Listener, Lists};
use crate::front::checks::{Checks, Greylisting};
use crate::front::greylist::Greylist;
use crate::limits::{GREYLIST_PLACES, OLD_TABLES_BYTES_MAX};
use crate::mail::envelope::Mailbox;
use crate::shard::front_line::{Authentication, FrontLine};
use crate::shard::order::{Listening, Service};
use crate::smtp::policy::{Policy, Recipients};
use crate::threads::give_way;
use crate::tls;

/// Generations that sessions still use, besides the one that new sessions begin in.
const OLD_MAX: usize = 1024;

/// What the server serves with.
pub(super) struct Generation {
    /// Counted from 1.
    pub(super) number: u64,
    /// What holds: of the file what a reload takes, and otherwise what the server was started with.
    pub(super) config: Config,
    pub(super) table: Arc<Recipients>,
    /// What clients are checked by.
    pub(super) checks: Arc<Checks>,
    /// Who came before, from the first generation on that greylists; one place for all of them.
    pub(super) greylist: GreylistPlace,
    /// One a listener, in the order of the configuration.
    pub(super) places: Vec<Place>,
    /// One a shard.
    pub(super) services: Vec<Arc<Service>>,
}

/// What the connections of a listener begin TLS with; the text says why it cannot be made.
pub(super) type TlsOf<'a> = &'a dyn Fn(&Listener) -> Result<Option<Arc<tls::ServerConfig>>, String>;

impl Generation {
    /// With a service for each shard. `before`: what clients were checked by, which goes on where the rules
    /// are the same, with what is known of lists. `greylist`: that of the generation before, or what was
    /// remembered. The first one that greylists begins an empty one where there is none.
    pub(super) fn new(
        number: u64,
        config: Config,
        table: Arc<Recipients>,
        before: Option<&Self>,
        greylist: GreylistPlace,
        places: Vec<Place>,
        tls_of: TlsOf<'_>,
    ) -> Result<Self, String> {
        let same = before.filter(|before| before.config.front.rules == config.front.rules);
        let checks = same.map_or_else(
            || Arc::new(Checks::new(config.front.rules.clone(), Instant::now())),
            |before| Arc::clone(&before.checks),
        );
        if config.front.rules.greylisting != Greylisting::Off && greylist.get().is_none() {
            let new = new_greylist()?;
            greylist.get_or_init(|| new);
        }
        let service = |shard: &crate::config::Shard| {
            let listening = |(listener, place): (&Listener, &Place)| {
                let mut settings = config.session_settings(listener, Arc::clone(&table) as _);
                settings.words = checks.words().into();
                Ok(Listening {
                    number: place.number,
                    settings: Arc::new(settings),
                    tls: tls_of(listener)?,
                    front: Arc::new(FrontLine {
                        checks: Arc::clone(&checks),
                        greylist: greylist.get().cloned(),
                        auth: config.auth.clone().map(Authentication::new),
                    }),
                    receive_buffer_bytes: listener.receive_buffer_bytes,
                })
            };
            let listeners = config.listeners.iter().zip(&places).map(listening);
            let listeners = listeners.collect::<Result<_, String>>()?;
            let service = Service::new(listeners, shard.connections_max, config.log.clone());
            Ok(Arc::new(service))
        };
        let services = config.shards.iter().map(service).collect::<Result<_, String>>()?;
        Ok(Self { number, config, table, checks, greylist, places, services })
    }

    /// Whether nobody else holds anything of it but the table. Nobody can come to it again then.
    fn is_left(&mut self) -> bool {
        self.services.iter_mut().all(|service| {
            Arc::get_mut(service).is_some_and(|service| {
                service.listeners.iter_mut().all(|listening| {
                    Arc::get_mut(&mut listening.settings).is_some()
                        && Arc::get_mut(&mut listening.front).is_some()
                        && listening.tls.as_mut().is_none_or(|tls| Arc::get_mut(tls).is_some())
                })
            })
        })
    }
}

/// An empty table of those who came before. Nobody can choose envelopes that meet in it.
fn new_greylist() -> Result<Arc<Greylist>, String> {
    let mut secret = [0; 16];
    // So few octets come whole (getrandom(2)).
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| format!("asking the kernel for random numbers: {error}"))?;
    Ok(Arc::new(Greylist::new(GREYLIST_PLACES, &secret)))
}

/// The table of recipients and aliases of a configuration.
pub(super) fn table_of(config: &Config, lists: Lists) -> Result<Recipients, ServeError> {
    if let (Some(file), None) = (&config.recipients, &lists.recipients) {
        return Err(ServeError::new(format!("{} was not read; this is a bug of ringmx", file.display())));
    }
    Ok(lists.into_table(config))
}

/// The tables of all generations that live, for the sink's workers: a message of an old session is for
/// recipients of its generation. Shards never look here; they ask the policy of their session.
#[derive(Clone, Default)]
pub(super) struct Tables(Arc<RwLock<Vec<Arc<Recipients>>>>);

impl Tables {
    /// Whether one of them knows a mailbox by its name.
    pub(super) fn name(&self, mailbox: Mailbox<'_>) -> bool {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tables.iter().any(|table| table.is_named(mailbox))
    }

    fn replace(&self, tables: Vec<Arc<Recipients>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tables;
    }
}

/// Drops what may have millions of entries on a thread of its own.
pub(super) fn drop_elsewhere(what: impl Send + 'static) {
    // If there is no thread, it is dropped here.
    let _ = std::thread::Builder::new().name("ringmx-drop".to_owned()).spawn(move || {
        give_way();
        drop(what);
    });
}

/// All generations that live.
pub(super) struct Generations {
    current: Arc<Generation>,
    /// Those that sessions still use, the oldest first. `len <= OLD_MAX`
    old: Vec<Arc<Generation>>,
    tables: Tables,
}

impl Generations {
    /// The first one. `tables` are told of each.
    pub(super) fn new(first: Generation, tables: Tables) -> Self {
        let generations = Self { current: Arc::new(first), old: Vec::new(), tables };
        generations.tell_tables();
        generations
    }

    /// What new sessions begin in.
    pub(super) fn current(&self) -> &Arc<Generation> {
        &self.current
    }

    /// Whether there may be one more. The text says why not and what to do.
    pub(super) fn may_grow(&self) -> Result<(), String> {
        if self.old.len() < OLD_MAX {
            return Ok(());
        }
        Err(format!(
            "sessions of {OLD_MAX} earlier generations are still open: reload again when some of them have ended, or restart"
        ))
    }

    /// Whether there may be this table besides. The text says why not and what to do.
    pub(super) fn may_have_table(&self, new: &Recipients) -> Result<(), String> {
        let tables = self.tables();
        let bytes: usize = tables.iter().map(|table| table.bytes()).sum();
        let bytes_max = OLD_TABLES_BYTES_MAX.max(2 * new.bytes());
        // The one in use ends only when there is another one: a large list can always become a small one.
        if bytes <= bytes_max || tables.len() == 1 {
            return Ok(());
        }
        let longest = self.current.config.limits.session_without_mail_max.as_secs();
        Err(format!(
            "open sessions use earlier recipients, {} MiB of them, and memory is bounded: reload again when they have ended; a session \
             without mail ends within {longest} s (limits.session_without_mail_max)",
            bytes >> 20
        ))
    }

    /// New sessions begin in this one from now on.
    pub(super) fn begin(&mut self, generation: Generation) {
        let before = std::mem::replace(&mut self.current, Arc::new(generation));
        self.old.push(before);
        self.tell_tables();
        self.retire();
    }

    /// Drops what nobody uses any more.
    /// Whether there was any.
    pub(super) fn retire(&mut self) -> bool {
        let is_left = |one: &mut Arc<Generation>| Arc::get_mut(one).is_some_and(Generation::is_left);
        let left: Vec<Arc<Generation>> = self.old.extract_if(.., is_left).collect();
        if left.is_empty() {
            return false;
        }
        self.tell_tables();
        drop_elsewhere(left);
        true
    }

    fn tell_tables(&self) {
        self.tables.replace(self.tables());
    }

    /// The table of each generation that lives, once.
    fn tables(&self) -> Vec<Arc<Recipients>> {
        let mut tables: Vec<Arc<Recipients>> = Vec::new();
        for generation in self.old.iter().chain([&self.current]) {
            if !tables.iter().any(|known| Arc::ptr_eq(known, &generation.table)) {
                tables.push(Arc::clone(&generation.table));
            }
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::policy::{ListBuilder, RecipientEntry};

    fn table(entries: usize) -> Arc<Recipients> {
        let entry = |number: usize| RecipientEntry::Mailbox {
            local_part: format!("{number}-{}", "x".repeat(50)),
            domain: "x.test".to_owned(),
        };
        let mut builder = ListBuilder::new([1; 16], false, entries);
        (0..entries).for_each(|number| builder.add(&entry(number)));
        let recipients = Some(builder.finish().expect("no collision"));
        let lists = Lists { recipients, ..Lists::default() };
        Arc::new(table_of(&Config::embedded_default(), lists).expect("a table"))
    }

    fn generation(number: u64, table: &Arc<Recipients>) -> Generation {
        let config = Config::embedded_default();
        Generation::new(number, config, Arc::clone(table), None, Arc::default(), Vec::new(), &|_| Ok(None))
            .expect("no TLS")
    }

    /// What a session of a generation holds.
    fn session(generations: &Generations) -> Arc<Service> {
        Arc::clone(&generations.current().services[0])
    }

    #[test]
    fn tables_of_before_are_bounded_until_their_sessions_end() {
        let (small, large, other) = (table(1), table(800_000), table(800_001));
        assert!(large.bytes() < OLD_TABLES_BYTES_MAX && 2 * large.bytes() > OLD_TABLES_BYTES_MAX);
        let mut generations = Generations::new(generation(1, &large), Tables::default());
        let session = session(&generations);
        assert!(generations.may_have_table(&other).is_ok());
        generations.begin(generation(2, &other));
        let why = generations.may_have_table(&small).expect_err("two large ones");
        assert!(why.contains("session_without_mail_max"), "{why}");
        assert!(generations.may_have_table(&other).is_ok(), "no more than twice the new one");
        assert!(!generations.retire());
        drop(session);
        assert!(generations.retire(), "whoever waits tries again");
        assert!(generations.may_have_table(&small).is_ok());
    }

    #[test]
    fn a_large_list_can_become_a_small_one() {
        let large = table(1_600_000);
        assert!(large.bytes() > OLD_TABLES_BYTES_MAX);
        let generations = Generations::new(generation(1, &large), Tables::default());
        assert!(generations.may_have_table(&table(1)).is_ok());
    }

    #[test]
    fn generations_are_bounded_until_their_sessions_end() {
        let table = table(1);
        let mut generations = Generations::new(generation(1, &table), Tables::default());
        let mut sessions = Vec::new();
        for number in 0..OLD_MAX as u64 {
            assert!(generations.may_grow().is_ok(), "{number}");
            sessions.push(session(&generations));
            generations.begin(generation(number + 2, &table));
        }
        assert!(generations.may_grow().is_err());
        sessions.pop();
        assert!(generations.retire() && generations.may_grow().is_ok());
    }
}
