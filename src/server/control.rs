//! What the control thread does while the others work: it waits for signals and for threads that end, reads
//! certificates again, and stops everything in order.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, select_biased, tick};

use super::error::ServeError;
use super::event::ThreadEvent;
use super::log_report::LogReport;
use super::report;
use crate::limits::{SHARDS_END_MAX, WORKERS_END_MAX};
use crate::log::Log;
use crate::metrics::Registry;
use crate::shutdown::{Asked, Shutdown};
use crate::threads::Threads;
use crate::tls::context::TlsContext;

/// How often the files of certificates are looked at, and what errors were counted.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Everything that was started.
pub(super) struct Control {
    pub(super) certificates: TlsContext,
    pub(super) report: Arc<LogReport>,
    pub(super) shutdown: Arc<Shutdown>,
    /// All that is counted.
    pub(super) registry: Arc<Registry>,
    pub(super) shards: Threads,
    pub(super) workers: Threads,
    /// From every thread of `shards` and `workers`.
    pub(super) events: Receiver<ThreadEvent>,
}

impl Control {
    /// Waits for a signal or for a thread that could not go on, then stops everything in order.
    pub(super) fn run(mut self, log: &mut Log) -> Result<(), ServeError> {
        let result = self.wait(log);
        report::stopping(result.is_ok(), log);
        self.shutdown.begin();
        // Shards first: the workers end when the last shard has dropped its way to them, and have stored all
        // by then.
        let mut left = self.shards.join(SHARDS_END_MAX);
        left.extend(self.workers.join(WORKERS_END_MAX));
        self.report.finish();
        report::stopped(&self.registry, log);
        let ended = all_have_ended(&left);
        if let (Err(_), Err(left)) = (&result, &ended) {
            report::error(&left.to_string(), log);
        }
        result.and(ended).and_then(|()| failed_at_last(&self.events))
    }

    /// Returns when the stop was asked for, or with why nothing can go on.
    fn wait(&mut self, log: &mut Log) -> Result<(), ServeError> {
        let look = tick(LOOK_EVERY);
        let mut starting = self.shards.count() + self.workers.count();
        loop {
            select_biased! {
                recv(self.shutdown.asked()) -> asked => match asked {
                    Ok(Asked::Reload) => self.reload_certificates(log),
                    Ok(Asked::Stop) => return Ok(()),
                    Err(_) => return Err(ServeError::new("the thread of the signals ended; this is a bug of ringmx")),
                },
                recv(self.events) -> event => match event {
                    Ok(ThreadEvent::Ready) => {
                        starting -= 1;
                        if starting == 0 {
                            report::ready(log);
                        }
                    }
                    Ok(ThreadEvent::Ended(Err(text))) => return Err(ServeError::new(text)),
                    // The shards may learn of a stop before this thread does.
                    Ok(ThreadEvent::Ended(Ok(()))) if self.shutdown.has_begun() => return Ok(()),
                    Ok(ThreadEvent::Ended(Ok(()))) | Err(_) => {
                        return Err(ServeError::new("a thread ended before it was told to; this is a bug of ringmx"));
                    }
                },
                recv(look) -> _ => {
                    self.report.look();
                    if self.certificates.has_changed() {
                        self.reload_certificates(log);
                    }
                }
            }
        }
    }

    /// Reads the certificates again. Connections keep what they have; a bad file changes nothing.
    fn reload_certificates(&self, log: &mut Log) {
        match self.certificates.reload() {
            Ok(notes) => report::certificates(&notes, log),
            Err(why) => report::error(&format!("{why}; the certificates stay as they were"), log),
        }
    }
}

/// Says what was not waited for.
fn all_have_ended(left: &[String]) -> Result<(), ServeError> {
    if left.is_empty() {
        return Ok(());
    }
    Err(ServeError::new(format!(
        "ended without waiting for {}, which stood still for too long: does the disk of the sink answer (`dmesg`)? Messages that \
         were handed to it and not answered 250 may be stored or not; none that was answered is lost",
        left.join(", ")
    )))
}

/// What a thread could not do while all was stopping.
fn failed_at_last(events: &Receiver<ThreadEvent>) -> Result<(), ServeError> {
    let failed = events.try_iter().find_map(|event| match event {
        ThreadEvent::Ready => None,
        ThreadEvent::Ended(result) => result.err(),
    });
    failed.map_or(Ok(()), |text| Err(ServeError::new(text)))
}
