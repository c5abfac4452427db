//! What operators ask for: the schedule is changed at once, the office makes it durable, then it is answered.
//!
//! A command is done in steps, one for each message. A step asks the office who waits for the message. Then
//! it changes the schedule and tells the office the same at once, and ends with the answer; what the schedule
//! did for a step that fails is undone. Of a message of which something is under way nothing is changed: what
//! is said of it later would undo that.

use std::rc::Rc;
use std::time::Duration;

use super::Engine;
use super::hand::{Kind, Pending, key_of, seconds};
use super::under_way::{Command, Step, What};
use crate::forward::desk::OPERATIONS_MAX;
use crate::forward::keep::{Change, NOTICES, Place, RECIPIENTS_MAX, Recipients, Refused, Suspended, Wait};
use crate::forward::office::{Known, Letter};
use crate::forward::operations::{Asked, Chosen, Done, HELD_BY_OPERATOR, Operation, Target};
use crate::forward::schedule::{self, Answer, Deferred, Delivery, DestinationId, HostState, Waits};
use crate::log::events;
use crate::ring::Ring;
use crate::sink::spool::envelope::OWN_PROTOCOL;
use crate::timestamp;

/// What a message that is tried again after it was given up shows until then.
const TRIED_AGAIN: &str = "an operator has it tried again";

pub(super) const BUSY: &str = "something is under way with it: ask again";
const NOT_FOR_ONE: &str = "nobody can say who of a message that cannot be read waits for one destination";
pub(super) const GONE: &str = "nobody waits for it there any more";
const UNROUTED: &str = "nobody tries it: give its domain a [[forward]], or notices their dsn_via, and reload";

const UNSCHEDULED: &str = "nobody tries it just now: ask again, or start the forwarder again if it stays so";

/// A message of a command.
struct Picked {
    place: Place,
    /// The same, as the operator has it.
    told: Place,
    of: Option<Rc<str>>,
}

/// Some who wait for a message, under one name in the journal, with one destination.
struct Part<'a> {
    name: &'a str,
    recipients: Recipients,
    /// None: nobody tries them.
    destination: Option<DestinationId>,
}

impl<R: Ring> Engine<R> {
    /// Takes what operators want, so many commands at a time.
    pub(super) fn take_operations(&mut self) {
        while self.takes_operations()
            && let Some(Asked { operation, tell }) = self.ends.asked.next()
        {
            if operation == Operation::Unreadable {
                let _ = tell.send(Ok(self.all_unreadable()));
                continue;
            }
            let number = self.number();
            let word = operation.word();
            self.operations.commands.insert(number, Command { tell, word, open: 0, done: Done::default() });
            let begun = match operation {
                Operation::Retry(Target::All) => self.retry_all(None),
                Operation::Retry(Target::Destination(name)) => match self.routes.named(&name) {
                    Some(id) => self.retry_all(Some(id)),
                    None => Err(self.unknown(&name)),
                },
                Operation::Retry(Target::Places(places)) => {
                    Ok(self.each(number, Chosen { places, destination: None }, What::Retry))
                }
                Operation::Hold(chosen) => Ok(self.each(number, chosen, What::Hold)),
                Operation::Release(chosen) => Ok(self.each(number, chosen, What::Release)),
                Operation::Remove(chosen) => Ok(self.each(number, chosen, What::Remove)),
                Operation::Suspend(name) => self.suspend(number, &name, true),
                Operation::Resume(name) => self.suspend(number, &name, false),
                Operation::Unreadable => Ok(0),
            };
            match begun {
                Ok(count) => {
                    if let Some(command) = self.operations.commands.get_mut(&number) {
                        command.done.count += count;
                    }
                    self.answer_if_done(number);
                }
                Err(why) => self.refuse(number, why),
            }
        }
    }

    /// Whether another command is begun.
    pub(super) fn takes_operations(&self) -> bool {
        !self.is_ending && self.operations.commands.len() < OPERATIONS_MAX
    }

    /// Begins a step for each of these; how many were done at once.
    fn each(&mut self, command: u64, chosen: Chosen, what: What) -> u64 {
        let Chosen { places, destination } = chosen;
        let of = destination.map(Rc::from);
        let in_hand = self.places_in_hand();
        let mut count = 0;
        for told in places {
            let picked = Picked { place: self.moves.known(told), told, of: of.clone() };
            if in_hand.contains(&picked.place) || in_hand.contains(&told) {
                self.fail(command, told, BUSY.to_owned());
                continue;
            }
            match (what, picked.place) {
                (_, Place::Log(_)) if picked.of.is_some() => self.fail(command, told, NOT_FOR_ONE.to_owned()),
                (what, Place::Log(at)) => match self.may_change(what, at) {
                    Ok(()) => self.ask(command, what, picked),
                    Err(why) => self.fail(command, told, why.to_owned()),
                },
                (What::Retry, Place::Dead(_)) => self.ask(command, What::Revive, picked),
                (What::Retry, place) => match self.retry_place(place) {
                    Some(Ok(())) => count += 1,
                    Some(Err(why)) => self.fail(command, told, why),
                    None => self.ask(command, what, picked),
                },
                (what, _) => self.ask(command, what, picked),
            }
        }
        count
    }

    fn fail(&mut self, command: u64, place: Place, why: String) {
        if let Some(command) = self.operations.commands.get_mut(&command) {
            command.done.failed.push((place, why));
        }
    }

    /// Nothing of it was begun, or the disk has nothing of it. Somebody who has gone is told nothing.
    fn refuse(&mut self, number: u64, why: String) {
        let Some(Command { tell, word, .. }) = self.operations.commands.remove(&number) else { return };
        let record = self.log.record(&events::OPERATION, self.wall_clock).plain("operation", word);
        record.text("why", why.as_bytes()).end();
        let _ = tell.send(Err(why));
    }

    fn answer_if_done(&mut self, number: u64) {
        if self.operations.commands.get(&number).is_some_and(|command| command.open == 0)
            && let Some(Command { tell, word, done, .. }) = self.operations.commands.remove(&number)
        {
            let record = self.log.record(&events::OPERATION, self.wall_clock).plain("operation", word);
            record.number("done", done.count).number("failed", done.failed.len() as u64).end();
            let _ = tell.send(Ok(done));
        }
    }

    /// Mail of this destination, or of all, that waits for its time or for a next hop.
    fn retry_all(&mut self, of: Option<DestinationId>) -> Result<u64, String> {
        let all = self.schedule.destinations().filter(|(id, _)| of.is_none_or(|of| of == *id));
        let count = all.map(|(_, destination)| u64::from(destination.waiting + destination.due)).sum();
        let target = of.map_or(schedule::Target::All, schedule::Target::Destination);
        match self.schedule.retry(target, self.now) {
            Answer::Busy => Err("others are being retried already: ask again".to_owned()),
            Answer::Done | Answer::Moving | Answer::Unknown => Ok(count),
        }
    }

    /// None where the schedule has nothing of it.
    fn retry_place(&mut self, place: Place) -> Option<Result<(), String>> {
        let deliveries = self.deliveries_at(place);
        if deliveries.is_empty() {
            return None;
        }
        let is_held = |delivery: &Delivery| {
            let view = self.schedule.delivery(*delivery, self.now);
            view.is_some_and(|view| view.waits == Waits::Operator)
        };
        if deliveries.iter().all(is_held) {
            return Some(Err("it is held: release it".to_owned()));
        }
        let mut is_done = false;
        for delivery in deliveries {
            is_done |= self.schedule.retry(schedule::Target::One(delivery), self.now) == Answer::Done;
        }
        Some(if is_done { Ok(()) } else { Err(BUSY.to_owned()) })
    }

    fn deliveries_at(&self, place: Place) -> Vec<Delivery> {
        let Place::Later(cursor) = place else { return Vec::new() };
        self.schedule.deliveries_at(key_of(cursor)).collect()
    }

    /// What the schedule has of a message for these destinations; why it cannot be changed, if it is on a
    /// connection.
    fn waiting_at(&self, place: Place, of: &[DestinationId]) -> Result<Vec<Deferred>, String> {
        let mut all = Vec::new();
        for delivery in self.deliveries_at(place).into_iter().filter(|one| of.contains(&one.destination)) {
            let Some(view) = self.schedule.delivery(delivery, self.now) else { continue };
            let due_in = match view.waits {
                Waits::Reply | Waits::Copy => return Err(BUSY.to_owned()),
                Waits::Time(due_in) => due_in,
                Waits::Turn | Waits::Operator => Duration::ZERO,
            };
            all.push(Deferred {
                cursor: key_of(place.cursor()),
                destination: delivery.destination,
                due_in,
                expires_in: view.expires_in,
                attempts: view.attempts,
                poison: view.poison,
                is_held: view.waits == Waits::Operator,
            });
        }
        Ok(all)
    }

    fn ask(&mut self, command: u64, what: What, picked: Picked) {
        let number = self.number();
        let Picked { place, told, of } = picked;
        let (destinations, undo) = (Vec::new(), Vec::new());
        let step =
            Step { command, what, place, told, of, destinations, undo, open: 0, failed: None, instead: None };
        self.operations.steps.insert(number, step);
        if let Some(command) = self.operations.commands.get_mut(&command) {
            command.open += 1;
        }
        self.unsent.push_back(Letter::Ask(number, place));
    }

    /// The office says what it knows of the message of a step.
    pub(super) fn handle_known(&mut self, number: u64, known: Known) {
        let Some(Step { what, place, of, .. }) = self.operations.steps.get(&number) else { return };
        let (what, place, of) = (*what, *place, of.clone());
        if let Place::Log(at) = place {
            return self.handle_examined(number, at, known);
        }
        if what == What::Revive {
            return self.revive(number, place, known);
        }
        match self.plan(what, place, of.as_deref(), &known) {
            Err(why) => self.end_step(number, Some(why)),
            Ok((change, destinations, undo)) => {
                for one in &undo {
                    match what {
                        What::Hold => _ = self.schedule.hold_one(name_of(one)),
                        What::Remove => _ = self.schedule.remove(name_of(one)),
                        // When it is durable.
                        What::Release | What::Retry | What::Revive => {}
                    }
                }
                if let Some(step) = self.operations.steps.get_mut(&number) {
                    (step.destinations, step.undo) = (destinations, undo);
                }
                self.tell_step(number, change);
            }
        }
    }

    /// What a step tells the office, the destinations whose deliveries it changes, and what the schedule has
    /// of these.
    fn plan(
        &self,
        what: What,
        place: Place,
        of: Option<&str>,
        known: &Known,
    ) -> Result<(Change, Vec<DestinationId>, Vec<Deferred>), String> {
        let parts = self.parts_of(known);
        let is_meant = |part: &&Part<'_>| of.is_none_or(|of| part.name == of);
        let of_parts = |all: &mut dyn Iterator<Item = &Part<'_>>| {
            all.fold(Recipients::none(), |all, part| all.with(&part.recipients))
        };
        let meant = of_parts(&mut parts.iter().filter(is_meant));
        if meant.is_empty() {
            return Err(GONE.to_owned());
        }
        let mut destinations: Vec<DestinationId> =
            parts.iter().filter(is_meant).filter_map(|part| part.destination).collect();
        // An error where one of them is on a connection.
        let mut undo = self.waiting_at(place, &destinations)?;
        let has = |id: &DestinationId, part: &Part<'_>| part.destination == Some(*id);
        let at = match (what, place) {
            (What::Remove, place) => {
                // A delivery stays that others are left for.
                let is_left = |id: &DestinationId| parts.iter().any(|part| has(id, part) && !is_meant(&part));
                destinations.retain(|id| !is_left(id));
                undo.retain(|one| destinations.contains(&one.destination));
                return Ok((Change::Remove { place, recipients: meant }, destinations, undo));
            }
            (What::Retry, _) => return Err(why_untried(&destinations)),
            (What::Hold | What::Release | What::Revive, Place::Later(at)) => at,
            (What::Hold | What::Release | What::Revive, _) => {
                return Err("it was given up: nothing holds it".to_owned());
            }
        };
        // All for whom these deliveries are.
        let is_of = |part: &&Part<'_>| destinations.iter().any(|id| has(id, part));
        let recipients = of_parts(&mut parts.iter().filter(is_of));
        if undo.is_empty() {
            return Err(why_untried(&destinations));
        }
        if what == What::Hold {
            undo.retain(|one| !one.is_held);
            let change = Change::Hold { at, recipients, why: HELD_BY_OPERATOR.to_owned() };
            return Ok((change, destinations, undo));
        }
        if !undo.iter().any(|one| one.is_held) {
            return Err("it is not held".to_owned());
        }
        let next_at = seconds(timestamp::seconds(self.wall_clock));
        Ok((Change::Release { at, recipients, next_at }, destinations, undo))
    }

    /// Who waits for a message, by where they go now.
    fn parts_of<'a>(&self, known: &'a Known) -> Vec<Part<'a>> {
        let mut all = Vec::new();
        for (name, recipients) in &known.waits {
            let named = self.routes.named(name);
            let part = |recipients, destination| Part { name, recipients, destination };
            match &known.stored {
                Ok(stored) if named.is_none() && **name != *NOTICES => {
                    let parts = self.routes.parts(&stored.envelope, |index| recipients.contains(index));
                    let destined = parts.destined.into_iter().map(|(id, some)| part(some, Some(id)));
                    all.extend(destined.chain([part(parts.unrouted, None)]));
                }
                Ok(_) | Err(_) => all.push(part(recipients.clone(), named)),
            }
        }
        all
    }

    pub(super) fn tell_step(&mut self, step: u64, change: Change) {
        if let Some(step) = self.operations.steps.get_mut(&step) {
            step.open += 1;
        }
        self.tell(Pending { kind: Kind::Operation(step), change });
    }

    /// Those who did not get a message that was given up wait where they would go now.
    fn revive(&mut self, step: u64, place: Place, known: Known) {
        let stored = match known.stored {
            Ok(stored) => stored,
            Err(why) => return self.end_step(step, Some(why)),
        };
        let recipients = known.waits.iter().fold(Recipients::none(), |all, (_, some)| all.with(some));
        if recipients.is_empty() {
            return self.end_step(step, Some(GONE.to_owned()));
        }
        let parts = match &*stored.protocol {
            OWN_PROTOCOL => self.routes.notice_parts(recipients),
            _ => self.routes.parts(&stored.envelope, |index| recipients.contains(index)),
        };
        if parts.destined.is_empty() {
            return self.end_step(step, Some(UNROUTED.to_owned()));
        }
        if !parts.unrouted.is_empty()
            && let Some(step) = self.operations.steps.get_mut(&step)
        {
            step.failed = Some(UNROUTED.to_owned());
        }
        for (destination, recipients) in parts.destined {
            let wait = self.tried_again(destination);
            self.tell_step(step, Change::Later { place, recipients, wait });
        }
    }

    /// What is known of those who wait for this destination as if the message had come now.
    pub(super) fn tried_again(&self, destination: DestinationId) -> Wait {
        let now = seconds(timestamp::seconds(self.wall_clock));
        Wait {
            destination: self.routes.name(destination).to_owned(),
            attempts: 0,
            next_at: now,
            // What has expired is not to expire at once.
            received_at: now,
            reply: TRIED_AGAIN.to_owned(),
            held: false,
        }
    }

    /// What a step told the office is durable, or was not taken.
    pub(super) fn handle_step(&mut self, number: u64, change: Change, kept: Result<Option<Place>, Refused>) {
        let Some(step) = self.operations.steps.get_mut(&number) else { return };
        step.open -= 1;
        let what = step.what;
        match kept {
            Ok(Some(Place::Later(cursor))) if what == What::Revive => {
                if let Change::Later { wait, .. } = &change {
                    self.enlist(cursor, &wait.destination);
                }
            }
            Ok(_) => {
                if let Change::Remove { place, recipients } = &change {
                    let record = self.log.record(&events::REMOVED, self.wall_clock);
                    let record = record.text("place", place.to_string().as_bytes());
                    match recipients.count() {
                        // Nobody knows how many it has.
                        RECIPIENTS_MAX => record.end(),
                        count => record.number("recipients", count.into()).end(),
                    }
                }
            }
            // Something else was said of some of them in between.
            Err(Refused::Unknown) => step.failed = Some(BUSY.to_owned()),
            Err(why) => step.failed = Some(why.to_string()),
        }
        if self.operations.steps.get(&number).is_some_and(|step| step.open == 0) {
            self.end_step(number, None);
        }
    }

    pub(super) fn end_step(&mut self, number: u64, why: Option<String>) {
        let Some(step) = self.operations.steps.remove(&number) else { return };
        let failed = why.or(step.failed);
        match (step.what, failed.is_some()) {
            (What::Hold | What::Remove, true) => {
                for one in step.undo {
                    // Held: as it waited before, not at once.
                    self.schedule.remove(name_of(&one));
                    self.schedule.restore(one, self.now);
                }
            }
            (What::Release, false) => {
                let all = self.deliveries_at(step.place).into_iter();
                for delivery in all.filter(|one| step.destinations.contains(&one.destination)) {
                    self.schedule.release(delivery, self.now);
                }
            }
            (What::Hold | What::Remove, false) | (What::Release | What::Revive | What::Retry, _) => {}
        }
        if let (Place::Log(at), None) = (step.place, &failed) {
            self.forget_unreadable(at);
        }
        match failed.or_else(|| step.instead.map(str::to_owned)) {
            Some(why) => self.fail(step.command, step.told, why),
            None => {
                if let Some(command) = self.operations.commands.get_mut(&step.command) {
                    command.done.count += 1;
                }
            }
        }
        if let Some(command) = self.operations.commands.get_mut(&step.command) {
            command.open -= 1;
        }
        self.answer_if_done(step.command);
    }

    /// Stops, or lets go on, a destination or a next hop; how many next hops that are. It is answered when
    /// the disk has it.
    fn suspend(&mut self, command: u64, name: &str, is_stopped: bool) -> Result<u64, String> {
        let hosts = self.hosts_named(name);
        if hosts.is_empty() {
            return Err(self.unknown(name));
        }
        for (id, host) in &hosts {
            if is_stopped {
                self.schedule.suspend(*id, Some(*host), self.now);
            } else {
                self.schedule.resume(*id, Some(*host), self.now);
            }
        }
        let number = self.number();
        self.unsent.push_back(Letter::Suspend(number, self.suspended()));
        self.operations.suspends.insert(number, command);
        if let Some(command) = self.operations.commands.get_mut(&command) {
            command.open += 1;
        }
        Ok(hosts.len() as u64)
    }

    /// The office has noted what is suspended, or could not.
    pub(super) fn handle_suspended(&mut self, number: u64, kept: Result<Option<Place>, Refused>) {
        let Some(number) = self.operations.suspends.remove(&number) else { return };
        let Some(command) = self.operations.commands.get_mut(&number) else { return };
        command.open -= 1;
        match kept {
            Ok(_) => self.answer_if_done(number),
            Err(why) => {
                let why = format!("it is so now, but cannot be noted, and the next start forgets it: {why}");
                self.refuse(number, why);
            }
        }
    }

    /// What was suspended before this process.
    pub(super) fn restore_suspended(&mut self, all: &[Suspended]) {
        for Suspended { destination, next_hop } in all {
            let hosts = self.hosts_of(|id, hop| self.routes.name(id) == destination && hop == next_hop);
            if hosts.is_empty() {
                self.report.note(&format!(
                    "{next_hop} was suspended, and no [[forward]] to {destination} names it any more"
                ));
            }
            for (id, host) in hosts {
                self.schedule.suspend(id, Some(host), self.now);
            }
        }
    }

    /// The hosts of a destination of this name, and those that are this next hop, wherever they stand.
    fn hosts_named(&self, name: &str) -> Vec<(DestinationId, usize)> {
        self.hosts_of(|id, hop| self.routes.name(id) == name || hop == name)
    }

    fn hosts_of(&self, is_meant: impl Fn(DestinationId, &str) -> bool) -> Vec<(DestinationId, usize)> {
        let all = (0..).zip(self.routes.all()).map(|(number, route)| (DestinationId(number), route));
        let hosts = all.flat_map(|(id, route)| (0..).zip(&route.to).map(move |(host, hop)| (id, host, hop)));
        hosts.filter(|(id, _, hop)| is_meant(*id, &hop.to_string())).map(|(id, host, _)| (id, host)).collect()
    }

    fn suspended(&self) -> Vec<Suspended> {
        let mut all = Vec::new();
        for (id, view) in self.schedule.destinations() {
            let hops = &self.routes.all()[usize::from(id.0)].to;
            for (hop, _) in hops.iter().zip(&view.hosts).filter(|(_, host)| host.state == HostState::Stopped)
            {
                let destination = self.routes.name(id).to_owned();
                all.push(Suspended { destination, next_hop: hop.to_string() });
            }
        }
        all
    }

    fn unknown(&self, name: &str) -> String {
        let ids = (0..).zip(self.routes.all()).map(|(number, _)| DestinationId(number));
        let names: Vec<String> = ids.map(|id| format!("{:?}", self.routes.name(id))).collect();
        format!("{name:?} is no destination; there are {}", names.join(", "))
    }
}

/// Why the schedule has nothing of a message that waits for these.
fn why_untried(destinations: &[DestinationId]) -> String {
    if destinations.is_empty() { UNROUTED.to_owned() } else { UNSCHEDULED.to_owned() }
}

fn name_of(deferred: &Deferred) -> Delivery {
    Delivery { place: schedule::Place::Later(deferred.cursor), destination: deferred.destination }
}
