//! Reloads as the control thread sees them: one at a time, others wait and become one, each asker has an
//! answer.
//!
//! ```text
//!            asked               prepared: orders to the shards          all took it, or time is over
//!   idle ──────────► reading ─────────────────────────────────► taking ─────────────────────────────► idle
//!                       │ refused: all stays as it was                                                 ▲
//!                       └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Reading has a thread of its own, so that a disk that hangs holds up neither the stop nor anything else. No
//! shard is waited for without an end either: its channel is bounded, and orders that it has no room for wait
//! here.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never};
use tokio::sync::oneshot;

use super::generation::{Generation, Generations, drop_elsewhere};
use super::held_back::{Failures, HeldBack, Until};
use super::reload::{Plan, Prepared, Refused, What};
use super::report;
use super::watch::{Watch, Watched};
use crate::admin::control_socket::Answer;
use crate::buffer::SpillBudget;
use crate::config::Config;
use crate::front::checks::Checks;
use crate::handoff::channel::Sender as ToShard;
use crate::limits::{ORDERS_WAITING_MAX, RELOAD_TAKE_WAIT};
use crate::log::Log;
use crate::metrics::{AskLists, Registry};
use crate::service_manager::ServiceManager;
use crate::shard::clients::Clients;
use crate::shard::order::{Order, Service};
use crate::sink::space::Space;
use crate::threads::give_way;
use crate::tls::context::TlsContext;

/// How often shards are asked whether they took a generation over.
const TAKE_PAUSE: Duration = Duration::from_millis(2);

/// Who asked, and where the answer goes.
pub(super) enum Asker {
    /// SIGHUP: the log has the answer.
    Signal,
    /// A file has changed: likewise.
    Files,
    /// Somebody who waits.
    Waiting(oneshot::Sender<Answer>),
}

impl Asker {
    const fn name(&self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Files => "files",
            Self::Waiting(_) => "command",
        }
    }

    fn tell(self, answer: &Answer) {
        match self {
            Self::Signal | Self::Files => {}
            // Who has gone needs no answer.
            Self::Waiting(tell) => drop(tell.send(answer.clone())),
        }
    }
}

/// Whom reloads are told of.
pub(super) struct Audience {
    pub(super) registry: Arc<Registry>,
    pub(super) service_manager: Arc<ServiceManager>,
}

/// What is changed besides what shards are ordered: shared, and read where it is needed.
pub(super) struct Shared {
    pub(super) clients: Arc<Clients>,
    pub(super) space: Option<Arc<Space>>,
    pub(super) spill: Option<Arc<SpillBudget>>,
}

impl Shared {
    fn limit(&self, config: &Config) {
        let limits = &config.limits;
        self.clients.limit(config.limits_of_clients());
        if let Some(space) = &self.space {
            space.keep_in_reserve(config.sink.space_reserve);
        }
        if let Some(spill) = &self.spill {
            spill.limit(limits.spill_bytes_max, limits.spill_files_max);
        }
    }
}

/// One shard's orders.
struct Orders {
    shard: ToShard<Order>,
    /// Those that its channel had no room for. `len <= ORDERS_WAITING_MAX`
    waiting: VecDeque<Order>,
}

impl Orders {
    fn send(&mut self, order: Order) {
        self.waiting.push_back(order);
        self.go_on();
    }

    /// Whether the shard is ordered nothing more before it goes on.
    fn is_full(&self) -> bool {
        self.waiting.len() >= ORDERS_WAITING_MAX
    }

    fn go_on(&mut self) {
        while let Some(order) = self.waiting.pop_front() {
            if let Err(order) = order.send(&self.shard) {
                self.waiting.push_front(order);
                break;
            }
        }
    }
}

/// Why a generation does not begin.
enum Denied {
    /// What was read is bad, or cannot be served with.
    Bad(Refused),
    /// It is good, and there is no room for it before others have ended.
    NoRoom(String),
}

/// How far the reload under way is.
enum State {
    Idle,
    Reading {
        askers: Vec<Asker>,
        what: What,
        done: Receiver<Result<Prepared, Refused>>,
    },
    Taking {
        askers: Vec<Asker>,
        text: String,
        news: report::Reloaded,
        services: Vec<Arc<Service>>,
        until: Instant,
    },
}

/// Carries reloads out.
pub(super) struct Reloader {
    file: Option<PathBuf>,
    generations: Generations,
    certificates: TlsContext,
    shared: Shared,
    audience: Audience,
    watch: Arc<Watch>,
    orders: Vec<Orders>,
    next_listener: u64,
    state: State,
    /// Who waits for a reload of everything after the one under way.
    next: Vec<Asker>,
    /// What has changed since it was read.
    changed: Vec<Watched>,
    held_back: HeldBack,
    failures: Failures,
    /// All threads serve. Before that nothing is read again.
    serves: bool,
}

impl Reloader {
    /// Nothing is under way, and nothing begins before [`Reloader::serve`]. `shards`: the way to each.
    pub(super) fn new(
        file: Option<PathBuf>,
        generations: Generations,
        certificates: TlsContext,
        shared: Shared,
        audience: Audience,
        watch: Arc<Watch>,
        shards: Vec<ToShard<Order>>,
    ) -> Self {
        let orders = shards.into_iter().map(|shard| Orders { shard, waiting: VecDeque::new() });
        let next_listener = next_after(generations.current(), 0);
        Self {
            file,
            generations,
            certificates,
            shared,
            audience,
            watch,
            orders: orders.collect(),
            next_listener,
            state: State::Idle,
            next: Vec::new(),
            changed: Vec::new(),
            held_back: HeldBack::default(),
            failures: Failures::default(),
            serves: false,
        }
    }

    /// All threads serve: what was asked for in the meantime begins.
    pub(super) fn serve(&mut self, log: &mut Log) {
        self.serves = true;
        self.begin_next(log);
    }

    /// Asks for a reload of everything. One that is under way may have read already, so another one follows.
    pub(super) fn ask(&mut self, asker: Asker, log: &mut Log) {
        // Signals are as many as anybody likes, and one answer in the log is enough.
        let is_signal = |asker: &Asker| matches!(asker, Asker::Signal);
        if !(is_signal(&asker) && self.next.iter().any(is_signal)) {
            self.next.push(asker);
        }
        self.begin_next(log);
    }

    /// Files have changed.
    pub(super) fn handle_changed(&mut self, watched: Watched, log: &mut Log) {
        if self.held_back.handle_changed(watched) && !self.changed.contains(&watched) {
            self.changed.push(watched);
        }
        self.begin_next(log);
    }

    /// Where the reading that is under way tells what it found.
    pub(super) fn done(&self) -> Receiver<Result<Prepared, Refused>> {
        match &self.state {
            State::Reading { done, .. } => done.clone(),
            State::Idle | State::Taking { .. } => never(),
        }
    }

    /// When [`Reloader::look`] is to be called, if nothing happens.
    pub(super) fn due(&self) -> Receiver<Instant> {
        match &self.state {
            State::Taking { .. } => crossbeam_channel::after(TAKE_PAUSE),
            State::Idle | State::Reading { .. } => never(),
        }
    }

    /// Looks whether shards took over what they were ordered, and whether an old generation has ended.
    pub(super) fn look(&mut self, log: &mut Log) {
        self.orders.iter_mut().for_each(Orders::go_on);
        if let State::Taking { services, until, .. } = &self.state {
            let all = services.iter().all(|service| service.is_taken());
            if !all && Instant::now() < *until {
                return;
            }
            self.end_taking(log);
        }
        let has_ended = self.generations.retire();
        self.changed.extend(self.held_back.next(self.may_begin().is_ok(), has_ended));
        self.begin_next(log);
    }

    /// The reading has ended; none when its thread has gone without a word.
    pub(super) fn handle_done(&mut self, result: Option<Result<Prepared, Refused>>, log: &mut Log) {
        let State::Reading { askers, what, .. } = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        let bug = || Err(vec!["the thread that reads has panicked; this is a bug of ringmx".to_owned()]);
        match result.unwrap_or_else(bug).map_err(Denied::Bad).and_then(|prepared| self.admit(prepared)) {
            // It was touched, or what was broken is as it was before.
            Ok(prepared) if what == What::Only(Watched::Recipients) && !prepared.has_new_table => {
                self.note(what, true);
                let text = "the file of recipients was read again and says the same as before".to_owned();
                report::notes(&[text], log);
                self.audience.service_manager.ready(self.status());
            }
            Ok(prepared) => self.begin_generation(*prepared, askers, what, log),
            Err(Denied::Bad(problems)) => {
                self.held_back.forget(what);
                self.refuse(&problems, askers, what, log);
            }
            Err(Denied::NoRoom(why)) => self.refuse_for_now(why, Until::HasEnded, askers, what, log),
        }
        self.begin_next(log);
    }

    /// The server stops: whoever waits is told so. What shards were ordered, and their channels had no room
    /// for, is void.
    pub(super) fn stop(&mut self, log: &mut Log) {
        let under_way = match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Vec::new(),
            State::Reading { askers, .. } => askers,
            State::Taking { askers, text, news, .. } => {
                news.tell(log);
                let answer = Answer { is_good: true, text: text + "the server is stopping\n" };
                for asker in askers {
                    asker.tell(&answer);
                }
                Vec::new()
            }
        };
        self.orders.iter_mut().for_each(|orders| orders.waiting.clear());
        let text = "the server is stopping, and reads nothing again\n".to_owned();
        let answer = Answer { is_good: false, text };
        for asker in under_way.into_iter().chain(self.next.drain(..)) {
            asker.tell(&answer);
        }
    }

    fn begin_next(&mut self, log: &mut Log) {
        if !self.serves || !matches!(self.state, State::Idle) {
            return;
        }
        let (what, askers) = if !self.next.is_empty() {
            (What::Everything, std::mem::take(&mut self.next))
        } else if let Some(watched) = self.changed.pop() {
            (What::Only(watched), vec![Asker::Files])
        } else {
            return;
        };
        self.audience.service_manager.reloading();
        if let Err(why) = self.may_begin() {
            return self.refuse_for_now(why, Until::MayBegin, askers, what, log);
        }
        let plan = Plan {
            what,
            file: self.file.clone(),
            running: Arc::clone(self.generations.current()),
            next_listener: self.next_listener,
            certificates: self.certificates.share(),
            watch: Arc::clone(&self.watch),
        };
        let (tell, done) = bounded(1);
        let run = move || tell_when_done(plan, &tell);
        if let Err(error) = std::thread::Builder::new().name("ringmx-reload".to_owned()).spawn(run) {
            let why = format!("no thread can be started to read it: {error}; is there a limit on threads?");
            return self.refuse(&[why], askers, what, log);
        }
        self.state = State::Reading { askers, what, done };
    }

    fn may_begin(&self) -> Result<(), String> {
        let stands_still = self.orders.iter().position(Orders::is_full);
        match stands_still {
            Some(number) => Err(format!(
                "shard {number} stands still, and {ORDERS_WAITING_MAX} reloads wait for it already: restart the server"
            )),
            None => self.generations.may_grow(),
        }
    }

    /// The last step that can fail.
    fn admit(&mut self, prepared: Prepared) -> Result<Box<Prepared>, Denied> {
        self.generations.retire();
        let has_room = if prepared.has_new_table {
            self.generations.may_have_table(&prepared.generation.table).map_err(Denied::NoRoom)
        } else {
            Ok(())
        };
        let listens = || prepared.bound.listen().map_err(|why| Denied::Bad(vec![why]));
        match has_room.and_then(|()| listens()) {
            Ok(()) => Ok(Box::new(prepared)),
            Err(denied) => {
                drop_elsewhere(prepared);
                Err(denied)
            }
        }
    }

    /// From here on nothing fails: each shard is ordered its own service.
    fn begin_generation(&mut self, prepared: Prepared, askers: Vec<Asker>, what: What, log: &mut Log) {
        let by = askers.first().map_or("signal", Asker::name);
        report::prepared(&prepared, log);
        let news = report::Reloaded::of(&prepared, by);
        let text = report::reload_answer(&prepared);
        let Prepared { generation, bound, certificates, seen, .. } = prepared;
        if let Some(seen) = seen {
            self.watch.replace(seen);
            self.changed.clear();
        }
        self.note(what, true);
        self.certificates = certificates.show();
        let ends = self.certificates.ends(&generation.config.tls.certificates);
        self.audience.registry.set_certificates(ends);
        self.shared.limit(&generation.config);
        self.audience.registry.set_hostname(&generation.config.hostname);
        self.audience.registry.set_generation(generation.number);
        self.audience.registry.ask_lists(lists_of(&generation.checks));
        self.next_listener = next_after(&generation, self.next_listener);
        let services = generation.services.clone();
        for ((orders, service), sockets) in self.orders.iter_mut().zip(&services).zip(bound.sockets) {
            orders.send(Order::Serve(Arc::clone(service), sockets));
        }
        self.generations.begin(generation);
        let until = Instant::now() + RELOAD_TAKE_WAIT;
        self.state = State::Taking { askers, text, news, services, until };
    }

    fn end_taking(&mut self, log: &mut Log) {
        let State::Taking { askers, mut text, news, services, .. } =
            std::mem::replace(&mut self.state, State::Idle)
        else {
            return;
        };
        // Not before: who reads it may connect at once, and is not served by the generation before.
        news.tell(log);
        for (number, _) in services.iter().enumerate().filter(|(_, service)| !service.is_taken()) {
            let line =
                format!("shard {number} stands still and has not taken it over yet; it does when it goes on");
            report::notes(std::slice::from_ref(&line), log);
            text.push_str(&line);
            text.push('\n');
        }
        self.audience.service_manager.ready(self.status());
        let answer = Answer { is_good: true, text };
        for asker in askers {
            asker.tell(&answer);
        }
    }

    /// What became of the files that were read.
    fn note(&mut self, what: What, is_good: bool) {
        if is_good {
            self.held_back.forget(what);
        }
        self.failures.note(what, is_good);
        self.audience.registry.set_reload_success(self.failures.is_none());
    }

    /// What `systemctl status` shows.
    fn status(&self) -> &'static str {
        if self.failures.is_none() {
            "accepting mail"
        } else {
            "accepting mail; the last reload was refused, see the log"
        }
    }

    /// Changed files are tried again by themselves, and told of once.
    fn refuse_for_now(&mut self, why: String, until: Until, askers: Vec<Asker>, what: What, log: &mut Log) {
        let is_new = match what {
            What::Everything => true,
            What::Only(watched) => self.held_back.hold(watched, until),
        };
        if is_new {
            self.refuse(&[why], askers, what, log);
        } else {
            self.audience.service_manager.ready(self.status());
        }
    }

    fn refuse(&mut self, problems: &[String], askers: Vec<Asker>, what: What, log: &mut Log) {
        let number = self.generations.current().number;
        self.note(what, false);
        self.audience.service_manager.ready(self.status());
        report::not_reloaded(problems, what, number, log);
        let answer = Answer { is_good: false, text: report::refusal_answer(problems, what, number) };
        for asker in askers {
            asker.tell(&answer);
        }
    }
}

/// The control thread may have gone on without it: it stops.
fn tell_when_done(plan: Plan, tell: &Sender<Result<Prepared, Refused>>) {
    give_way();
    let _ = tell.send(plan.prepare());
}

/// Tells of the lists of these checks.
pub(super) fn lists_of(checks: &Arc<Checks>) -> AskLists {
    let checks = Arc::clone(checks);
    Box::new(move || checks.lists().map(|(name, is_used)| (name.to_owned(), is_used)).collect())
}

/// The number of the next new listener: none is ever used again, because one that was removed goes on for a
/// while.
fn next_after(generation: &Generation, next: u64) -> u64 {
    let numbers = generation.places.iter().map(|place| place.number + 1);
    numbers.chain([next]).max().unwrap_or(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::channel::Consumer;
    use crate::limits::ORDERS_MAX;

    #[test]
    fn a_shard_that_stands_still_is_ordered_so_much_and_goes_on_with_all_of_it() {
        let config = Config::embedded_default();
        let service = Arc::new(Service::new(Vec::new(), 1, config.log));
        let (shard, received) = Consumer::new().expect("a bell").channel(ORDERS_MAX);
        let mut orders = Orders { shard, waiting: VecDeque::new() };
        let mut sent = 0;
        while !orders.is_full() {
            orders.send(Order::Serve(Arc::clone(&service), Vec::new()));
            sent += 1;
        }
        // One place is that of the stop.
        assert_eq!(sent, ORDERS_WAITING_MAX + ORDERS_MAX - 1);
        let mut taken = 0;
        while received.next().is_some() {
            taken += 1;
            orders.go_on();
            assert!(!orders.is_full());
        }
        assert_eq!((taken, orders.waiting.len()), (sent, 0));
    }
}
