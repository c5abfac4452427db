//! What a reload reads and checks, on a thread of its own, before anything is changed.
//!
//! Nothing here touches what runs: a reload that fails leaves no trace but its answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::addresses::{Bound, Unbound, bind_more};
use super::generation::{Generation, table_of};
use super::watch::{self, Seen, Watch, Watched};
use crate::check;
use crate::config::{Config, Listener, NeedsRestart, Problem, Warning};
use crate::mail::address_table::Key;
use crate::smtp::policy::Recipients;
use crate::tls::context::{Renewed, TlsContext};

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The configuration file and all that it names.
    Everything,
    /// One kind of file that the configuration names, which stays.
    Only(Watched),
}

/// What a reload goes by.
pub(super) struct Plan {
    pub(super) what: What,
    /// The configuration file, if there is one.
    pub(super) file: Option<PathBuf>,
    pub(super) running: Arc<Generation>,
    /// The number of the next new listener.
    pub(super) next_listener: u64,
    pub(super) certificates: TlsContext,
    pub(super) watch: Arc<Watch>,
}

/// A generation that can begin.
pub(super) struct Prepared {
    pub(super) generation: Generation,
    /// Sockets of new listeners, bound.
    pub(super) bound: Bound,
    pub(super) certificates: Renewed,
    /// Whether the table of recipients is another one.
    pub(super) has_new_table: bool,
    pub(super) warnings: Vec<Warning>,
    /// What an operator should know and need not cure.
    pub(super) notes: Vec<String>,
    pub(super) needs_restart: Vec<NeedsRestart>,
    /// When reading began.
    pub(super) begun: SystemTime,
    /// The files as they are now; `None` where only some were read.
    pub(super) seen: Option<Vec<Seen>>,
}

/// Why nothing can be changed: problems, each with its place and cure.
pub(super) type Refused = Vec<String>;

impl Plan {
    /// Reads, checks and binds.
    pub(super) fn prepare(self) -> Result<Prepared, Refused> {
        let begun = SystemTime::now();
        match self.what {
            What::Everything => self.prepare_everything(begun),
            What::Only(watched) => {
                // Also what turns out to be bad is not read again before it changes.
                self.watch.see(watched);
                self.prepare_only(watched, begun)
            }
        }
    }

    fn prepare_everything(&self, begun: SystemTime) -> Result<Prepared, Refused> {
        let read_at = watch::now();
        let mut checked = check::check_again(self.file.as_deref(), &self.running.config, self.key());
        let places = checked.places;
        let told = |problem: Problem| problem.to_string();
        let Some(config) = checked.config else {
            return Err(checked.problems.into_iter().map(told).collect());
        };
        if let Err(text) = config.check_cut_through(&self.running.config) {
            return Err(vec![told(Problem(places.finding("forward", text)))]);
        }
        let (mut config, mut needs_restart) = config.taken_over(&self.running.config);
        let is_given =
            |listener: &Listener| config.listeners.iter().any(|one| one.address == listener.address);
        for listener in self.lent_listeners().filter(|listener| !is_given(listener)).collect::<Vec<_>>() {
            let kept = config.keep_listener(listener);
            let kept = kept.map_err(|text| vec![told(Problem(places.finding("listener.address", text)))])?;
            needs_restart.push(kept);
        }
        if let Err(text) = config.check_memory_of_messages() {
            return Err(vec![told(Problem(places.finding("limits.message_size_max", text)))]);
        }
        if let Err(text) = config.check_asks_dns() {
            return Err(vec![told(Problem(places.finding("dns.threads", text)))]);
        }
        if let Err(text) = config.check_domains_of_sink(&self.running.config, &needs_restart) {
            return Err(vec![told(Problem(places.finding("domains", text)))]);
        }
        if let Err(text) = config.check_recipient_map() {
            return Err(vec![told(Problem(places.finding("recipients", text)))]);
        }
        let of_sink = config.warnings_of_sink(&needs_restart).into_iter();
        checked.warnings.extend(of_sink.map(|(key, text)| Warning(places.finding(key, text))));
        let renewed = self.certificates.renewed(&config.tls, &config.hostname);
        let certificates = renewed.map_err(|text| vec![told(Problem(places.finding("tls", text)))])?;
        let bound = bind_more(&config, &self.running.places, self.next_listener);
        let bound = bound.map_err(|Unbound { index, text }| {
            vec![told(Problem(places.finding_in("listener.address", index, text)))]
        })?;
        let table = table_of(&config, checked.lists).map_err(|error| vec![error.to_string()])?;
        // What a certificate lets an operator know is among the warnings on the configuration.
        let read = Read { warnings: checked.warnings, notes: Vec::new(), needs_restart, begun };
        let seen = Watch::look_at(&config, read_at);
        let prepared = self.prepared(config, Some(table), bound, certificates, read)?;
        Ok(Prepared { seen: Some(seen), ..prepared })
    }

    /// The key of the table in use: the same recipients make the same table with it.
    fn key(&self) -> Option<Key> {
        self.running.table.listed().map(|listed| listed.table().key())
    }

    /// Those that run on sockets of the service manager's.
    fn lent_listeners(&self) -> impl Iterator<Item = &Listener> {
        let listeners = self.running.config.listeners.iter().zip(&self.running.places);
        listeners.filter(|(_, place)| place.is_lent).map(|(listener, _)| listener)
    }

    fn prepare_only(&self, watched: Watched, begun: SystemTime) -> Result<Prepared, Refused> {
        let config = self.running.config.clone();
        let mut read = Read::begun(begun);
        let (table, certificates) = match watched {
            Watched::Recipients => {
                let told =
                    |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>();
                let (lists, warnings) = check::lists(&config, self.key()).map_err(told)?;
                read.warnings = warnings;
                let table = table_of(&config, lists).map_err(|error| vec![error.to_string()])?;
                if let Some(text) = emptied(&config, &self.running.table, &table) {
                    return Err(vec![text]);
                }
                (Some(table), self.certificates.kept())
            }
            Watched::Certificates => {
                let renewed = self.certificates.renewed(&config.tls, &config.hostname);
                let mut certificates = renewed.map_err(|text| vec![text])?;
                read.notes = std::mem::take(&mut certificates.notes);
                (None, certificates)
            }
        };
        let bound = bind_more(&config, &self.running.places, self.next_listener);
        let bound = bound.map_err(|unbound| vec![unbound.text])?;
        self.prepared(config, table, bound, certificates, read)
    }

    /// One table serves as long as it says the same: memory for another one is not for nothing.
    fn prepared(
        &self,
        config: Config,
        table: Option<Recipients>,
        bound: Bound,
        certificates: Renewed,
        read: Read,
    ) -> Result<Prepared, Refused> {
        let table = table.filter(|table| *table != *self.running.table).map(Arc::new);
        let has_new_table = table.is_some();
        let table = table.unwrap_or_else(|| Arc::clone(&self.running.table));
        let (number, places) = (self.running.number + 1, bound.places.clone());
        let tls_of = |listener: &_| certificates.server_config(listener);
        let generation = Generation::new(
            number,
            config,
            table,
            Some(&self.running),
            self.running.greylist.clone(),
            places,
            &tls_of,
        )
        .map_err(|text| vec![text])?;
        let Read { warnings, notes, needs_restart, begun } = read;
        let seen = None;
        Ok(Prepared {
            generation,
            bound,
            certificates,
            has_new_table,
            warnings,
            notes,
            needs_restart,
            begun,
            seen,
        })
    }
}

/// That a file names nobody any more, if so. It was perhaps cut off to be written anew, or on a disk that is
/// full; whoever means it says so.
fn emptied(config: &Config, running: &Recipients, table: &Recipients) -> Option<String> {
    let recipients = (&config.recipients, running.count().unwrap_or(0), table.count().unwrap_or(0));
    let aliases = (&config.aliases, running.aliases().count(), table.aliases().count());
    [(recipients, "recipient"), (aliases, "alias")].into_iter().find_map(|((path, before, now), what)| {
        let path = path.as_ref().filter(|_| before > 0 && now == 0)?.display();
        Some(format!(
            "{path} holds no {what} any more, and {before} before, so those before stay: write it beside and rename it; if nobody is \
             meant, reload with `ringmx reload`"
        ))
    })
}

/// What was found on the way.
struct Read {
    warnings: Vec<Warning>,
    notes: Vec<String>,
    needs_restart: Vec<NeedsRestart>,
    begun: SystemTime,
}

impl Read {
    fn begun(begun: SystemTime) -> Self {
        Self { warnings: Vec::new(), notes: Vec::new(), needs_restart: Vec::new(), begun }
    }
}
