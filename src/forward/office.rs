//! The thread of the keeper: what happened to messages comes in, is made durable many at a time, and is
//! answered; messages that wait are read for the engine, which so waits for no disk.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keep::{Change, Examined, Fetched, Keeper, Moved, NOTICES, Place, Recipients, Refused, Suspended};
use super::operations::HELD_BY_OPERATOR;
use super::routes::Routes;
use super::schedule::DestinationId;
use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::metrics::OfficeMetrics;
use crate::sink::spool::cursor::Cursor;
use crate::sink::spool::envelope::StoredEnvelope;
use crate::sink::{Report, Site};

/// Changes wait so long for others, which are made durable with them.
const GATHER: Duration = Duration::from_millis(20);

/// So many are not waited for any more.
pub const CHANGES_MAX: usize = 1000;

/// How often `consumed` is moved, and the places of messages are tidied.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// Letters to the office; past it the engine keeps them.
pub const LETTERS_MAX: usize = 4096;

/// What the engine wants.
#[derive(Debug)]
pub enum Letter {
    /// This happened. The answer has the same number.
    Change(u64, Change),
    /// This message is to be delivered.
    Fetch(u64, Place),
    /// Who waits for this message, or did not get it? The answer has the same number.
    Ask(u64, Place),
    /// These next hops are suspended, and no others. The answer has the same number.
    Suspend(u64, Vec<Suspended>),
    /// Nothing names a message by this place any more, from which it was moved.
    Confirm(Place),
}

impl Letter {
    /// Whether somebody waits for the answer, and not only for its being durable.
    pub fn is_urgent(&self) -> bool {
        match self {
            Self::Fetch(..) | Self::Ask(..) | Self::Suspend(..) => true,
            Self::Change(..) | Self::Confirm(_) => false,
        }
    }
}

/// What it is told.
#[derive(Debug)]
pub enum Answer {
    /// The change of this number is durable, and the message is there now, if it is anywhere; or it was not
    /// taken.
    Kept(u64, Result<Option<Place>, Refused>),
    /// The message that was asked for.
    Fetched(u64, Result<Box<Fetched>, String>),
    /// What is known of a message.
    Known(u64, Box<Known>),
    /// These messages lie somewhere else now.
    Moved(Vec<Moved>),
}

/// Who waits for a message, or did not get it.
#[derive(Debug)]
pub struct Known {
    /// With the names of their destinations, as the journal has them; of one that was given up, under none.
    pub waits: Vec<(Box<str>, Recipients)>,
    /// Its envelope, or why it cannot be read.
    pub stored: Result<StoredEnvelope, String>,
    /// Of a message of the log, which is read whole for this: why it cannot be read.
    pub unreadable: Option<String>,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Left {
    /// The log is read on after this record.
    pub consumed: Option<Cursor>,
    /// What was settled of messages of the log after it.
    pub settled: HashMap<Cursor, Recipients>,
    /// What waits in `later/`.
    pub waits: Vec<LeftWait>,
    /// Recipients that no route takes.
    pub unrouted: u64,
    /// Notices that nobody takes.
    pub notices: u64,
    /// Messages that were given up.
    pub dead: usize,
    /// Next hops that an operator suspended.
    pub suspended: Vec<Suspended>,
}

/// A delivery that waits.
#[derive(Debug, Clone, Copy)]
pub struct LeftWait {
    /// Where the message is in `later/`.
    pub cursor: Cursor,
    /// Where it goes.
    pub destination: DestinationId,
    /// When it is tried next, in seconds since 1970-01-01 UTC.
    pub next_at: u32,
    /// When it was received, the same.
    pub received_at: u32,
    /// How often it was tried, as the journal has it.
    pub tries: u16,
    /// It waits for an operator.
    pub is_held: bool,
    /// It was held for what it lacked, and lacks it no more.
    pub is_freed: bool,
}

/// What an earlier process left. What waits for a destination that is none any more goes where its recipients
/// would go now.
pub fn left(keeper: &Keeper, routes: &Routes, report: &dyn Report) -> Left {
    let state = keeper.state();
    let settled = state.settled_in_log().map(|(cursor, settled)| (cursor, settled.clone())).collect();
    let mut waits = Vec::with_capacity(state.waiting_count());
    let (mut unrouted, mut notices) = (0, 0);
    for waiting in state.waiting() {
        let wait = &waiting.wait;
        // It was held for want of a route, or of somebody who takes notices.
        let is_held = wait.held
            && wait.reply != NO_WAY_FOR_NOTICES
            && (!wait.destination.is_empty() || wait.reply == HELD_BY_OPERATOR);
        let left = |destination| LeftWait {
            cursor: waiting.place.cursor(),
            destination,
            next_at: wait.next_at,
            received_at: wait.received_at,
            tries: wait.attempts,
            is_held,
            is_freed: wait.held && !is_held,
        };
        if let Some(named) = routes.named(&wait.destination) {
            waits.push(left(named));
            continue;
        }
        if wait.destination == NOTICES {
            notices += 1;
            continue;
        }
        let rerouted = keeper
            .envelope(waiting.place)
            .map(|stored| routes.parts(&stored.envelope, |index| waiting.recipients.contains(index)));
        match rerouted {
            Ok(parts) => {
                waits.extend(parts.destined.into_iter().map(|(destination, _)| left(destination)));
                unrouted += u64::from(parts.unrouted.count());
            }
            Err(error) => report.note(&format!("{} cannot be read: {error}", waiting.place)),
        }
    }
    if unrouted > 0 {
        report.note(&format!(
            "{unrouted} recipients are held, because no route takes them: name their domains in a [[forward]], and \
             reload"
        ));
    }
    let suspended = keeper.suspended().unwrap_or_else(|error| {
        report.machine_error("read which next hops are suspended", Site::Named("forward/suspended"), &error);
        Vec::new()
    });
    let (consumed, dead) = (state.consumed(), state.dead_count());
    Left { consumed, settled, waits, unrouted, notices, dead, suspended }
}

/// Why a notice is held that an earlier process left.
const NO_WAY_FOR_NOTICES: &str = "there is no dsn_via in [forward_queue]: name one, and reload";

/// Holds notices that wait where nobody takes them any more, and says so: they go nowhere else.
pub fn hold_notices(keeper: &mut Keeper, routes: &Routes, report: &dyn Report) {
    if routes.named(NOTICES).is_some() {
        return;
    }
    let notices = keeper.state().waiting().filter(|waiting| waiting.wait.destination == NOTICES);
    let (held, new): (Vec<_>, Vec<_>) = notices.partition(|waiting| waiting.wait.held);
    if held.is_empty() && new.is_empty() {
        return;
    }
    report.note(&format!("{} notices are held: {NO_WAY_FOR_NOTICES}", held.len() + new.len()));
    let hold = |waiting: super::keep::Waiting| Change::Hold {
        at: waiting.place.cursor(),
        recipients: waiting.recipients,
        why: NO_WAY_FOR_NOTICES.to_owned(),
    };
    let changes: Vec<Change> = new.into_iter().map(hold).collect();
    // What could not be noted is held all the same, as long as there is no way.
    if let Some(Err(why)) = keeper.commit(&changes).into_iter().find(Result::is_err) {
        report.note(&format!("it could not be noted that notices are held: {why}"));
    }
}

/// What happened and is not durable yet, in its order.
struct Gathered {
    numbers: Vec<u64>,
    changes: Vec<Change>,
    since: Option<Instant>,
}

/// Runs until the engine has gone and all that it said is durable.
pub fn run(
    mut keeper: Keeper,
    consumer: &Consumer,
    letters: &Receiver<Letter>,
    answers: &Sender<Answer>,
    report: &Arc<dyn Report>,
    metrics: &OfficeMetrics,
) {
    let mut gathered = Gathered { numbers: Vec::new(), changes: Vec::new(), since: None };
    // What the engine had no room for.
    let mut unsent = VecDeque::new();
    let mut tidied_at = Instant::now();
    count(&keeper, metrics);
    loop {
        let has_ended = gathered.take(letters, &mut keeper, &mut unsent, metrics);
        if has_ended || gathered.is_due() {
            gathered.commit(&mut keeper, &mut unsent, metrics);
        }
        send(&mut unsent, answers);
        if has_ended {
            break;
        }
        if tidied_at.elapsed() >= TIDY_EVERY {
            tidied_at = Instant::now();
            metrics.pulse.begin();
            let moved = tidy(&mut keeper, &**report);
            metrics.pulse.end();
            count(&keeper, metrics);
            if !moved.is_empty() {
                unsent.push_back(Answer::Moved(moved));
            }
        }
        let wait = if unsent.is_empty() { gathered.wait() } else { Duration::from_millis(1) };
        if gathered.since.is_some() {
            consumer.doze(wait);
        } else {
            consumer.sleep(Some(wait), || letters.is_empty());
        }
    }
    if let Err(error) = keeper.publish() {
        report.machine_error("say how far the spool is delivered", Site::Named("consumed"), &error);
    }
}

impl Gathered {
    /// Takes what came, but no more than is committed at once; true when nothing more will come.
    fn take(
        &mut self,
        letters: &Receiver<Letter>,
        keeper: &mut Keeper,
        answers: &mut VecDeque<Answer>,
        metrics: &OfficeMetrics,
    ) -> bool {
        while self.changes.len() < CHANGES_MAX {
            match letters.take() {
                Waiting::Item(Letter::Change(number, change)) => {
                    // What was read is no reason to write.
                    if !matches!(change, Change::Read { .. }) {
                        self.since.get_or_insert_with(Instant::now);
                    }
                    self.numbers.push(number);
                    self.changes.push(change);
                }
                Waiting::Item(Letter::Fetch(number, place)) => {
                    metrics.pulse.begin();
                    let fetched = keeper.fetch(place).map(Box::new).map_err(|error| error.to_string());
                    metrics.pulse.end();
                    answers.push_back(Answer::Fetched(number, fetched));
                }
                Waiting::Item(Letter::Ask(number, place)) => {
                    // That it was read may wait for long to be known, because nothing is written for it.
                    if matches!(place, Place::Log(_)) && !self.changes.is_empty() {
                        self.commit(keeper, answers, metrics);
                    }
                    metrics.pulse.begin();
                    let (stored, unreadable) = match place {
                        Place::Log(cursor) => {
                            let Examined { envelope, why } = keeper.examine(cursor);
                            (envelope, why)
                        }
                        Place::Later(_) | Place::Dead(_) => {
                            (keeper.envelope(place).map_err(|error| error.to_string()), None)
                        }
                    };
                    metrics.pulse.end();
                    let known = Known { waits: keeper.waits(place), stored, unreadable };
                    answers.push_back(Answer::Known(number, Box::new(known)));
                }
                Waiting::Item(Letter::Suspend(number, all)) => {
                    metrics.pulse.begin();
                    let kept = keeper.suspend(&all).map(|()| None);
                    metrics.pulse.end();
                    let kept = kept.map_err(|error| Refused::Disk(error.kind(), error.to_string()));
                    answers.push_back(Answer::Kept(number, kept));
                }
                Waiting::Item(Letter::Confirm(place)) => keeper.confirm_move(place),
                Waiting::Nothing => return false,
                Waiting::Ended => return true,
            }
        }
        false
    }

    fn is_due(&self) -> bool {
        self.changes.len() >= CHANGES_MAX || self.since.is_some_and(|since| since.elapsed() >= GATHER)
    }

    fn wait(&self) -> Duration {
        self.since.map_or(TIDY_EVERY, |since| GATHER.saturating_sub(since.elapsed()))
    }

    fn commit(&mut self, keeper: &mut Keeper, answers: &mut VecDeque<Answer>, metrics: &OfficeMetrics) {
        let begun = Instant::now();
        metrics.pulse.begin();
        let results = keeper.commit(&self.changes);
        metrics.pulse.end();
        // What was read is no reason to write.
        if self.since.is_some() {
            metrics.sync_duration.add_duration(begun.elapsed());
            let fails = |result: &Result<_, Refused>| matches!(result, Err(Refused::Disk(..)));
            metrics.failures.add(u64::from(results.iter().any(fails)));
            let written = results.iter().zip(&self.changes);
            let mut written = written.filter(|(_, change)| !matches!(change, Change::Read { .. }));
            metrics.pulse.see_whole(written.all(|(result, _)| fails(result)));
        }
        debug_assert_eq!(results.len(), self.numbers.len(), "one result a change");
        let kept = self.numbers.drain(..).zip(results).zip(self.changes.drain(..));
        // Nobody waits for what is only read.
        let told = kept.filter(|(_, change)| !matches!(change, Change::Read { .. }));
        answers.extend(told.map(|((number, result), _)| Answer::Kept(number, result)));
        self.since = None;
    }
}

fn send(unsent: &mut VecDeque<Answer>, answers: &Sender<Answer>) {
    let mut has_sent = false;
    while let Some(answer) = unsent.pop_front() {
        match answers.try_send(answer) {
            Ok(_) => has_sent = true,
            Err(answer) => {
                unsent.push_front(answer);
                break;
            }
        }
    }
    if has_sent {
        answers.ring();
    }
}

/// Counts what is kept.
fn count(keeper: &Keeper, metrics: &OfficeMetrics) {
    let state = keeper.state();
    metrics.dead.set(state.dead_count() as u64);
    let (later, dead) = state.bytes();
    metrics.later_bytes.set(later);
    metrics.dead_bytes.set(dead);
}

fn tidy(keeper: &mut Keeper, report: &dyn Report) -> Vec<Moved> {
    let tell = |what: &str, error: &io::Error| report.machine_error(what, Site::Named("forward"), error);
    if let Err(error) = keeper.publish() {
        tell("say how far the spool is delivered", &error);
    }
    keeper.tidy().unwrap_or_else(|error| {
        tell("tidy up", &error);
        Vec::new()
    })
}
