//! What the control thread does while the others work: it waits for signals and for threads that end, has
//! what was changed read again, and stops everything in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select_biased, tick};

use super::confinement::Confinement;
use super::error::ServeError;
use super::event::ThreadEvent;
use super::forwarded_by::ForwardedBy;
use super::log_report::LogReport;
use super::reloader::{Asker, Reloader};
use super::report;
use super::watch::Watched;
use crate::admin::Admin;
use crate::admin::control_socket::Request;
use crate::admin::health::Health;
use crate::limits::{MINDER_END_MAX, SHARDS_END_MAX, WORKERS_END_MAX};
use crate::log::Log;
use crate::metrics::Registry;
use crate::service_manager::ServiceManager;
use crate::shutdown::{Asked, Shutdown};
use crate::threads::Threads;

/// How often is looked at what errors were counted, and which generations have ended.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often is told what the stop waits for.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// Everything that was started.
pub(super) struct Control {
    pub(super) reloader: Reloader,
    /// From the thread that looks at files.
    pub(super) changed: Receiver<Watched>,
    /// From the control socket.
    pub(super) requests: Receiver<Request>,
    pub(super) report: Arc<LogReport>,
    pub(super) shutdown: Arc<Shutdown>,
    /// While it is there, it is kept what is known of clients; none where that is not kept.
    pub(super) remembering: Option<Sender<Infallible>>,
    /// All that is counted.
    pub(super) registry: Arc<Registry>,
    pub(super) shards: Threads,
    pub(super) workers: Threads,
    /// From every thread of `shards` and `workers`.
    pub(super) events: Receiver<ThreadEvent>,
    /// What is given up once all serve.
    pub(super) confinement: Confinement,
    /// Learns when all threads serve.
    pub(super) health: Arc<Health>,
    pub(super) service_manager: Arc<ServiceManager>,
    /// Goes on until everything else has ended.
    pub(super) admin: Option<Admin>,
}

impl Control {
    /// Waits for a signal or for a thread that could not go on, then stops everything in order.
    pub(super) fn run(mut self, mut forwarded_by: ForwardedBy, log: &mut Log) -> Result<(), ServeError> {
        let result = self.wait(&mut forwarded_by, log);
        // It has as long as all else here. What is stored meanwhile goes on after the next start.
        forwarded_by.begin_end();
        self.reloader.stop(log);
        // Whoever asks from now on is told of the stop.
        self.requests = never();
        report::stopping(result.is_ok(), &self.registry, log);
        self.service_manager.stopping("ending the sessions under way");
        self.shutdown.begin();
        // Shards first: the workers end when the last shard has dropped its way to them, and have stored all
        // by then.
        let begun = Instant::now();
        let mut tell = |what| {
            self.service_manager.tell_again();
            report::waiting(what, &self.registry, begun.elapsed(), log);
        };
        let mut left = self.shards.join_and_tell(SHARDS_END_MAX, TELL_EVERY, || tell("sessions"));
        drop(self.remembering.take());
        left.extend(self.workers.join_and_tell(WORKERS_END_MAX, TELL_EVERY, || tell("the sink")));
        if left.is_empty() {
            self.shutdown.only_forwards();
        }
        let forwarder = forwarded_by.end(begun + MINDER_END_MAX, TELL_EVERY, || tell("the forwarder"));
        self.report.finish();
        drop(self.admin.take());
        report::stopped(&self.registry, log);
        let ended = all_have_ended(&left);
        if let (Err(_), Err(left)) = (&result, &ended) {
            report::error(&left.to_string(), log);
        }
        result.and(ended).and_then(|()| failed_at_last(&self.events)).and(forwarder)
    }

    /// Returns when the stop was asked for, or with why nothing can go on.
    fn wait(&mut self, forwarded_by: &mut ForwardedBy, log: &mut Log) -> Result<(), ServeError> {
        let look = tick(LOOK_EVERY);
        let (mut forwarder_ended, mut forwarder_due) = (forwarded_by.ended(), never());
        let mut starting = self.shards.count() + self.workers.count();
        loop {
            select_biased! {
                recv(self.shutdown.asked()) -> asked => match asked {
                    Ok(Asked::Reload) => {
                        self.reloader.ask(Asker::Signal, log);
                        // `ringmx reload` asks it by itself, and has its answer.
                        forwarded_by.renew();
                    }
                    Ok(Asked::ReopenLog) => log.reopen(),
                    Ok(Asked::Stop) => return Ok(()),
                    Err(_) => return Err(ServeError::new("the thread of the signals ended; this is a bug of ringmx")),
                },
                recv(self.events) -> event => match event {
                    Ok(ThreadEvent::Ready) => {
                        starting -= 1;
                        if starting == 0 {
                            self.confinement.close(log);
                            self.health.serves();
                            report::ready(log);
                            self.service_manager.ready("accepting mail");
                            self.reloader.serve(log);
                            forwarder_due = forwarded_by.due();
                        }
                    }
                    Ok(ThreadEvent::Ended(Err(text))) => return Err(ServeError::new(text)),
                    // The shards may learn of a stop before this thread does.
                    Ok(ThreadEvent::Ended(Ok(()))) if self.shutdown.has_begun() => return Ok(()),
                    Ok(ThreadEvent::Ended(Ok(()))) | Err(_) => {
                        return Err(ServeError::new("a thread ended before it was told to; this is a bug of ringmx"));
                    }
                },
                recv(self.reloader.done()) -> done => self.reloader.handle_done(done.ok(), log),
                recv(self.reloader.due()) -> _ => self.reloader.look(log),
                recv(self.requests) -> asked => match asked {
                    Ok(Request::Reload(tell)) => self.reloader.ask(Asker::Waiting(tell), log),
                    // Nobody can ask any more.
                    Err(_) => self.requests = never(),
                },
                recv(forwarder_ended) -> _ => {
                    // Mail is taken all the same.
                    forwarder_ended = never();
                    report::error(&forwarded_by.lost(), log);
                }
                recv(forwarder_due) -> _ => forwarded_by.look(Arc::clone(&self.report) as _),
                recv(self.changed) -> changed => {
                    // Its thread lives as long as the reloader.
                    if let Ok(watched) = changed {
                        self.reloader.handle_changed(watched, log);
                    }
                }
                recv(look) -> _ => {
                    self.service_manager.tell_again();
                    self.report.look();
                    self.reloader.look(log);
                }
            }
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
