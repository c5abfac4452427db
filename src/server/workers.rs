//! The threads that work for shards because a shard never waits: the sink's workers, the spiller, the keeper
//! of mailboxes, those that ask the map of recipients and the DNS.
//!
//! Each is started with the ways to and from the shards, and each tells the control thread that it serves and
//! that it ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::client_state::Keeper;
use super::error::ServeError;
use super::event::ThreadEvent;
use crate::buffer::SpillBudget;
use crate::config::Config;
use crate::dns::lookup;
use crate::dns::table::QUESTIONS_OUT_MAX;
use crate::handoff::channel::{Consumer, Receiver, Sender as ToWorker};
use crate::handoff::lookup::Asked;
use crate::handoff::message::Message;
use crate::limits::{
    HANDOFF_MESSAGES_MAX, INQUIRIES_AWAY_MAX, MAP_INQUIRIES_AWAY_MAX, SPILLS_AWAY_MAX, STATION_MESSAGES_MAX,
};
use crate::metrics::{Registry, SpillValues};
use crate::recipient_map;
use crate::shard::inbox::Letterbox;
use crate::shard::mailboxes::Lookup;
use crate::shard::parts::Overflow;
use crate::shard::recipient_map::{Groups, ToThreads};
use crate::shard::stations::ToStation;
use crate::sink::space::Space;
use crate::sink::spill_file::SpillTo;
use crate::sink::spiller::Spiller;
use crate::sink::{self, Report};
use crate::station::{self, Station};
use crate::threads::Threads;

/// Starts the threads that work for shards.
pub(super) struct Workers {
    pub(super) threads: Threads,
    /// One a shard.
    pub(super) letterboxes: Vec<Letterbox>,
    pub(super) report: Arc<dyn Report>,
    pub(super) tell: Sender<ThreadEvent>,
    pub(super) registry: Arc<Registry>,
}

impl Workers {
    /// None yet.
    pub(super) fn new(
        letterboxes: Vec<Letterbox>,
        report: Arc<dyn Report>,
        tell: Sender<ThreadEvent>,
        registry: &Arc<Registry>,
    ) -> Self {
        Self { threads: Threads::new(), letterboxes, report, tell, registry: Arc::clone(registry) }
    }

    /// Starts the sink's workers and gives the way to each.
    pub(super) fn start_sink(
        &mut self,
        workers: Vec<sink::Worker>,
    ) -> Result<Vec<ToWorker<Box<Message>>>, ServeError> {
        let mut ends = Vec::new();
        // A shard keeps to one worker, so that its messages stay in order; more workers than shards would
        // have nothing to do.
        for (number, make) in workers.into_iter().take(self.letterboxes.len()).enumerate() {
            let (consumer, to_sink, from_shards) = channel(HANDOFF_MESSAGES_MAX)?;
            let receipts: Vec<_> = self.letterboxes.iter().map(|shard| shard.receipts.clone()).collect();
            let report = Arc::clone(&self.report);
            let metrics = self.registry.sinks().get(number).map(Arc::clone).unwrap_or_default();
            self.start(format!("sink-{number}"), move |ready| {
                let sink = make().map_err(|error| format!("the sink cannot start: {error}"))?;
                ready();
                sink::worker::run(sink, &consumer, &from_shards, &receipts, &*report, &metrics);
                Ok(())
            })?;
            ends.push(to_sink);
        }
        Ok(ends)
    }

    /// Starts the spiller, if the sink needs one, and gives the shards' way to it, and its budget.
    pub(super) fn start_spiller(
        &mut self,
        config: &Config,
        spill_to: SpillTo,
        space: Option<Arc<Space>>,
    ) -> Result<(Overflow, Option<Arc<SpillBudget>>), ServeError> {
        let directory = match spill_to {
            // Nobody reads what is in memory, but for programs that are asked about messages.
            SpillTo::Nowhere if config.stations() > 0 => return Ok((Overflow::Memory, None)),
            SpillTo::Nowhere => return Ok((Overflow::Nowhere, None)),
            SpillTo::Directory(directory) => directory,
        };
        let limits = &config.limits;
        let budget = SpillBudget::new(limits.spill_bytes_max, limits.spill_files_max);
        let counted = Arc::clone(&budget);
        self.registry.ask_spill(move || SpillValues { files: counted.files(), bytes: counted.bytes() });
        let spiller =
            Spiller::new(directory, Arc::clone(&budget), Arc::clone(&self.report)).with_space(space);
        let (consumer, to_spiller, errands) = channel(SPILLS_AWAY_MAX)?;
        let written: Vec<_> = self.letterboxes.iter().map(|shard| shard.written.clone()).collect();
        self.start("spill".to_owned(), move |ready| {
            ready();
            spiller.run(&consumer, &errands, &written);
            Ok(())
        })?;
        Ok((Overflow::Files(to_spiller), Some(budget)))
    }

    /// Starts the thread that looks into mailboxes, if the sink has some, and gives the shards' way to it.
    pub(super) fn start_keeper(
        &mut self,
        mailboxes: Option<sink::mailbox::Mailboxes>,
    ) -> Result<Lookup, ServeError> {
        let Some(sink::mailbox::Mailboxes { naming, make_keeper }) = mailboxes else {
            return Ok(Lookup::Everybody);
        };
        let (consumer, to_keeper, inquiries) = channel(INQUIRIES_AWAY_MAX)?;
        let found: Vec<_> = self.letterboxes.iter().map(|shard| shard.found.clone()).collect();
        self.start("mailboxes".to_owned(), move |ready| {
            let keeper =
                make_keeper().map_err(|error| format!("the sink cannot look into its mailboxes: {error}"))?;
            ready();
            sink::mailbox::run(keeper, &consumer, &inquiries, &found);
            Ok(())
        })?;
        Ok(Lookup::Keeper(naming, to_keeper))
    }

    /// Starts so many threads that ask these name servers, and gives the way to each.
    pub(super) fn start_lookups(
        &mut self,
        threads: usize,
        name_servers: &[SocketAddr],
    ) -> Result<Vec<ToWorker<Asked>>, ServeError> {
        let mut ends = Vec::new();
        for number in 0..threads {
            let (consumer, to_dns, asked) = channel(QUESTIONS_OUT_MAX)?;
            let answers: Vec<_> = self.letterboxes.iter().map(|shard| shard.answers.clone()).collect();
            let name_servers = name_servers.to_owned();
            self.start(format!("dns-{number}"), move |ready| {
                let ended = lookup::run(&consumer, &asked, answers, &name_servers, ready);
                ended.map_err(|error| format!("the DNS cannot be asked: {error}"))
            })?;
            ends.push(to_dns);
        }
        Ok(ends)
    }

    /// Starts the threads that ask somebody else about recipients, if they do, and gives the shards' ways to
    /// them.
    pub(super) fn start_map(
        &mut self,
        asked: Option<&recipient_map::Asked>,
    ) -> Result<ToThreads, ServeError> {
        let Some(asked) = asked else { return Ok(ToThreads::default()) };
        let start = |number| {
            let (consumer, to_map, inquiries) = channel(MAP_INQUIRIES_AWAY_MAX)?;
            let (asked, report) = (asked.clone(), Arc::clone(&self.report));
            let mapped: Vec<_> = self.letterboxes.iter().map(|shard| shard.mapped.clone()).collect();
            self.start(format!("map-{number}"), move |ready| {
                ready();
                recipient_map::run(&asked, &consumer, &inquiries, &mapped, &*report);
                Ok(())
            })?;
            Ok(to_map)
        };
        let (groups, each) = asked.map().thread_groups();
        let senders = (0..groups * each).map(start).collect::<Result<_, _>>()?;
        let map = asked.map().clone();
        let groups = Groups { count: groups, of_domain: Arc::new(move |domain| map.group_of(domain)) };
        Ok(ToThreads { senders, groups, is_asked_as_it_came: asked.minds_spelling() })
    }

    /// Starts the threads that ask other programs about messages, and gives the ways to them, in the order
    /// in which messages pass them.
    pub(super) fn start_stations(&mut self, stations: &[Station]) -> Result<Vec<ToStation>, ServeError> {
        let start = |(number, station): (usize, &Station)| {
            let (consumer, sender, visits) = channel(STATION_MESSAGES_MAX)?;
            let back: Vec<_> = self.letterboxes.iter().map(|shard| shard.back.clone()).collect();
            let (station, report) = (station.clone(), Arc::clone(&self.report));
            let metrics = self.registry.add_station(station.name());
            let rules = station.rules();
            self.start(format!("station-{number}"), move |ready| {
                let ended = station::run(&station, &consumer, &visits, back, (&report, &metrics), ready);
                ended.map_err(|error| format!("nobody can be asked about messages: {error}"))
            })?;
            Ok(ToStation { sender, rules })
        };
        stations.iter().enumerate().map(start).collect()
    }

    /// Starts the thread that keeps what is known of clients, if it is kept. It ends when what is given here
    /// is dropped.
    pub(super) fn start_remembering(
        &mut self,
        keeper: Option<Keeper>,
    ) -> Result<Option<Sender<Infallible>>, ServeError> {
        let Some(keeper) = keeper else { return Ok(None) };
        let (hold, goes_on) = bounded(0);
        self.start("clients".to_owned(), move |ready| {
            ready();
            keeper.run(&goes_on);
            Ok(())
        })?;
        Ok(Some(hold))
    }

    /// Starts a thread that calls its argument when it serves.
    fn start(
        &mut self,
        name: String,
        run: impl FnOnce(&dyn Fn()) -> Result<(), String> + Send + 'static,
    ) -> Result<(), ServeError> {
        let tell = self.tell.clone();
        let run = move || {
            // This cannot fail: the control thread listens while threads run.
            let result = run(&|| drop(tell.send(ThreadEvent::Ready)));
            let _ = tell.send(ThreadEvent::Ended(result));
        };
        self.threads.start(name, run).map_err(|error| ServeError::of_machine("starting a thread", &error))
    }
}

/// A consumer with one channel.
fn channel<T>(capacity: usize) -> Result<(Consumer, ToWorker<T>, Receiver<T>), ServeError> {
    let consumer = Consumer::new().map_err(|error| ServeError::of_machine("making a channel", &error))?;
    let (sender, receiver) = consumer.channel(capacity);
    Ok((consumer, sender, receiver))
}
