//! The threads that work for shards because a shard never waits: the sink's workers, the spiller, the keeper of mailboxes.
//!
//! Each is started with the ways to and from the shards, and each tells the control thread that it serves and that it ended.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::error::ServeError;
use super::event::ThreadEvent;
use crate::buffer::SpillBudget;
use crate::config::Config;
use crate::handoff::channel::{ToShard, ToSink, messages};
use crate::handoff::doorbell::Doorbell;
use crate::handoff::errand::{done, errands};
use crate::limits::{HANDOFF_MESSAGES_MAX, INQUIRIES_AWAY_MAX, SPILLS_AWAY_MAX};
use crate::shard::{mailboxes, spill};
use crate::sink::space::Space;
use crate::sink::spill::{SpillTo, Spiller};
use crate::sink::{self, Report};
use crate::threads::Threads;

/// Starts the threads that work for shards.
pub(super) struct Workers<'a> {
    pub(super) threads: Threads,
    /// One a shard.
    pub(super) bells: &'a [Arc<Doorbell>],
    pub(super) report: Arc<dyn Report>,
    pub(super) tell: Sender<ThreadEvent>,
}

impl Workers<'_> {
    /// Starts the sink's workers and gives the way to each.
    pub(super) fn start_sink(
        &mut self,
        workers: Vec<sink::Worker>,
        to_shards: &[ToShard],
    ) -> Result<Vec<ToSink>, ServeError> {
        let mut ends = Vec::new();
        // A shard keeps to one worker, so that its messages stay in order; more workers than shards would have nothing to do.
        for (number, make) in workers.into_iter().take(to_shards.len()).enumerate() {
            let (to_sink, from_shards) = messages(HANDOFF_MESSAGES_MAX).map_err(|error| channel(&error))?;
            let (to_shards, report) = (to_shards.to_vec(), Arc::clone(&self.report));
            self.start(format!("sink-{number}"), move |ready| {
                let sink = make().map_err(|error| format!("the sink cannot start: {error}"))?;
                ready();
                sink::worker::run(sink, &from_shards, &to_shards, &*report);
                Ok(())
            })?;
            ends.push(to_sink);
        }
        Ok(ends)
    }

    /// Starts the spiller, if the sink needs one, and gives each shard its way to it.
    pub(super) fn start_spiller(
        &mut self,
        config: &Config,
        spill_to: SpillTo,
        space: Option<Arc<Space>>,
    ) -> Result<Vec<spill::Route>, ServeError> {
        let directory = match spill_to {
            SpillTo::Nowhere => return Ok(self.bells.iter().map(|_| spill::Route::Nowhere).collect()),
            SpillTo::Directory(directory) => directory,
        };
        let limits = &config.limits;
        let budget = SpillBudget::new(limits.spill_bytes_max, limits.spill_files_max);
        let spiller = Spiller::new(directory, budget, Arc::clone(&self.report)).with_space(space);
        let (to_spiller, from_shards) = errands(SPILLS_AWAY_MAX).map_err(|error| channel(&error))?;
        let (to_origins, routes) = self
            .bells
            .iter()
            .map(|bell| {
                let (to_origin, written) = done(SPILLS_AWAY_MAX, Arc::clone(bell));
                (to_origin, spill::Route::Files(to_spiller.clone(), written))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        self.start("spill".to_owned(), move |ready| {
            ready();
            spiller.run(&from_shards, &to_origins);
            Ok(())
        })?;
        Ok(routes)
    }

    /// Starts the thread that looks into mailboxes, if the sink has some, and gives each shard its way to it.
    pub(super) fn start_keeper(
        &mut self,
        mailboxes: Option<sink::mailbox::Mailboxes>,
    ) -> Result<Vec<mailboxes::Route>, ServeError> {
        let Some(sink::mailbox::Mailboxes { naming, make_keeper }) = mailboxes else {
            return Ok(self.bells.iter().map(|_| mailboxes::Route::Everybody).collect());
        };
        let (to_keeper, inquiries) = errands(INQUIRIES_AWAY_MAX).map_err(|error| channel(&error))?;
        let (to_askers, routes) = self
            .bells
            .iter()
            .map(|bell| {
                let (to_asker, found) = done(INQUIRIES_AWAY_MAX, Arc::clone(bell));
                (to_asker, mailboxes::Route::Keeper(Arc::clone(&naming), to_keeper.clone(), found))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        self.start("mailboxes".to_owned(), move |ready| {
            let keeper =
                make_keeper().map_err(|error| format!("the sink cannot look into its mailboxes: {error}"))?;
            ready();
            sink::mailbox::run(keeper, &inquiries, &to_askers);
            Ok(())
        })?;
        Ok(routes)
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

fn channel(error: &std::io::Error) -> ServeError {
    ServeError::of_machine("making a channel", error)
}
