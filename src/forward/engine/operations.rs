//! What operators ask for: the schedule is changed at once, the office makes it durable, then it is answered.
//!
//! A command is done in steps, one for each message. A step asks the office who waits for the message, tells
//! it the change, and ends with its answer; what the schedule did for a step that fails is undone.

use std::time::Duration;

use super::Engine;
use super::hand::{Arrived, Fetch, Kind, Pending, cursor_of, key_of, seconds};
use super::under_way::{Command, Step, What};
use crate::forward::keep::{Change, Place, Recipients, Refused, Suspended, Wait};
use crate::forward::office::Letter;
use crate::forward::operations::{Asked, Done, Operation, Target};
use crate::forward::schedule::{self, Answer, Deferred, Delivery, DestinationId, HostState, Waits};
use crate::log::events;
use crate::ring::Ring;
use crate::sink::spool::envelope::OWN_PROTOCOL;
use crate::timestamp;

/// What a message that is tried again after it was given up shows until then.
const TRIED_AGAIN: &str = "an operator has it tried again";

/// What is shown of one that an operator holds.
const HELD_BY_OPERATOR: &str = "an operator holds it";

const BUSY: &str = "it is being delivered just now: ask again";
const GONE: &str = "nobody waits for it there any more";
const UNROUTED: &str = "no route takes its domain: name it in a [[forward]], and start the forwarder again";

impl<R: Ring> Engine<R> {
    /// Takes what operators want.
    pub(super) fn take_operations(&mut self) {
        while let Some(Asked { operation, tell }) = self.ends.asked.next() {
            let number = self.number();
            self.operations.commands.insert(number, Command { tell, open: 0, done: Done::default() });
            let word = operation.word();
            let begun = match operation {
                Operation::Retry(Target::All) => self.retry_all(None),
                Operation::Retry(Target::Destination(name)) => match self.routes.named(&name) {
                    Some(id) => self.retry_all(Some(id)),
                    None => Err(self.unknown(&name)),
                },
                Operation::Retry(Target::Places(places)) => Ok(self.each(number, &places, Self::retry_place)),
                Operation::Hold(places) => Ok(self.each(number, &places, Self::hold_place)),
                Operation::Release(places) => Ok(self.each(number, &places, Self::release_place)),
                Operation::Remove(places) => Ok(self.each(number, &places, Self::remove_place)),
                Operation::Suspend(name) => self.suspend(number, &name, true),
                Operation::Resume(name) => self.suspend(number, &name, false),
            };
            let record = self.log.record(&events::OPERATION, self.wall_clock).plain("operation", word);
            match begun {
                Ok(count) => {
                    record.end();
                    if let Some(command) = self.operations.commands.get_mut(&number) {
                        command.done.count += count;
                    }
                    self.answer_if_done(number);
                }
                Err(why) => {
                    record.text("why", why.as_bytes()).end();
                    if let Some(command) = self.operations.commands.remove(&number) {
                        let _ = command.tell.send(Err(why));
                    }
                }
            }
        }
    }

    /// Begins a step for each of these; how many were done at once.
    fn each(
        &mut self,
        command: u64,
        places: &[Place],
        begin: fn(&mut Self, u64, Place) -> Result<u64, String>,
    ) -> u64 {
        let mut count = 0;
        for told in places {
            match begin(self, command, self.moves.known(*told)) {
                Ok(done) => count += done,
                Err(why) => self.fail(command, *told, why),
            }
        }
        count
    }

    fn fail(&mut self, command: u64, place: Place, why: String) {
        if let Some(command) = self.operations.commands.get_mut(&command) {
            command.done.failed.push((place, why));
        }
    }

    /// Somebody who has gone is told nothing.
    fn answer_if_done(&mut self, number: u64) {
        if self.operations.commands.get(&number).is_some_and(|command| command.open == 0)
            && let Some(command) = self.operations.commands.remove(&number)
        {
            let _ = command.tell.send(Ok(command.done));
        }
    }

    /// Deferred mail of this destination, or of all.
    fn retry_all(&mut self, of: Option<DestinationId>) -> Result<u64, String> {
        let all = self.schedule.destinations().filter(|(id, _)| of.is_none_or(|of| of == *id));
        let count = all.map(|(_, destination)| u64::from(destination.waiting)).sum();
        let target = of.map_or(schedule::Target::All, schedule::Target::Destination);
        match self.schedule.retry(target, self.now) {
            Answer::Busy => Err("others are being retried already: ask again".to_owned()),
            Answer::Done | Answer::Moving | Answer::Unknown => Ok(count),
        }
    }

    fn retry_place(&mut self, command: u64, place: Place) -> Result<u64, String> {
        if let Place::Dead(_) = place {
            let step = self.begin_step(command, What::Revive, place, Vec::new());
            self.fetch(Kind::Operation(step), place);
            return Ok(0);
        }
        let deliveries = self.deliveries_at(place);
        if deliveries.is_empty() {
            return Err(GONE.to_owned());
        }
        let is_held = |delivery: &Delivery| {
            let view = self.schedule.delivery(*delivery, self.now);
            view.is_some_and(|view| view.waits == Waits::Operator)
        };
        if deliveries.iter().all(is_held) {
            return Err("it is held: release it".to_owned());
        }
        let mut is_done = false;
        for delivery in deliveries {
            is_done |= self.schedule.retry(schedule::Target::One(delivery), self.now) == Answer::Done;
        }
        if is_done { Ok(1) } else { Err(BUSY.to_owned()) }
    }

    fn hold_place(&mut self, command: u64, place: Place) -> Result<u64, String> {
        let waiting = self.waiting_at(place)?;
        for one in &waiting {
            self.schedule.hold_one(name_of(one));
        }
        let undo = waiting.into_iter().filter(|one| !one.is_held).collect();
        self.ask(command, What::Hold, place, undo);
        Ok(0)
    }

    fn release_place(&mut self, command: u64, place: Place) -> Result<u64, String> {
        let deliveries = self.deliveries_at(place);
        let view = |delivery: &Delivery| self.schedule.delivery(*delivery, self.now);
        let is_held = deliveries.iter().filter_map(view).any(|view| view.waits == Waits::Operator);
        if !deliveries.is_empty() && !is_held {
            return Err("it is not held".to_owned());
        }
        self.ask(command, What::Release, place, Vec::new());
        Ok(0)
    }

    fn remove_place(&mut self, command: u64, place: Place) -> Result<u64, String> {
        let waiting = self.waiting_at(place)?;
        for one in &waiting {
            self.schedule.remove(name_of(one));
        }
        self.ask(command, What::Remove, place, waiting);
        Ok(0)
    }

    fn deliveries_at(&self, place: Place) -> Vec<Delivery> {
        match place {
            Place::Later(cursor) => self.schedule.deliveries_at(key_of(cursor)).collect(),
            Place::Log(_) | Place::Dead(_) => Vec::new(),
        }
    }

    /// What the schedule has of a message; why it cannot be changed, if it is on a connection.
    fn waiting_at(&self, place: Place) -> Result<Vec<Deferred>, String> {
        let mut all = Vec::new();
        for delivery in self.deliveries_at(place) {
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

    fn begin_step(&mut self, command: u64, what: What, place: Place, undo: Vec<Deferred>) -> u64 {
        let number = self.number();
        self.operations.steps.insert(number, Step { command, what, place, undo, open: 0, failed: None });
        if let Some(command) = self.operations.commands.get_mut(&command) {
            command.open += 1;
        }
        number
    }

    fn ask(&mut self, command: u64, what: What, place: Place, undo: Vec<Deferred>) {
        let number = self.begin_step(command, what, place, undo);
        self.unsent.push_back(Letter::Ask(number, place));
    }

    /// The office says who waits for a message.
    pub(super) fn handle_waits(&mut self, step: u64, waits: &[(Box<str>, Recipients)]) {
        let Some(Step { what, place, .. }) = self.operations.steps.get(&step) else { return };
        let (what, place) = (*what, *place);
        let concerned = |name: &str| what != What::Release || !name.is_empty();
        let concerned = waits.iter().filter(|(name, _)| concerned(name));
        let recipients = concerned.fold(Recipients::none(), |all, (_, some)| all.with(some));
        if recipients.is_empty() {
            let why = if waits.is_empty() { GONE } else { UNROUTED };
            return self.end_step(step, Some(why.to_owned()));
        }
        let change = match (what, place) {
            (What::Hold, Place::Later(at)) => {
                Change::Hold { at, recipients, why: HELD_BY_OPERATOR.to_owned() }
            }
            (What::Release, Place::Later(at)) => {
                let next_at = seconds(timestamp::seconds(self.wall_clock));
                Change::Release { at, recipients, next_at }
            }
            (What::Remove, place) => Change::Remove { place, recipients },
            (What::Hold | What::Release | What::Revive, _) => {
                return self.end_step(step, Some("it was given up: nothing holds it".to_owned()));
            }
        };
        self.tell_step(step, change);
    }

    fn tell_step(&mut self, step: u64, change: Change) {
        if let Some(step) = self.operations.steps.get_mut(&step) {
            step.open += 1;
        }
        self.tell(Pending { kind: Kind::Operation(step), change });
    }

    /// A message that was given up was read: its recipients wait where they would go now.
    pub(super) fn handle_revived(&mut self, step: u64, fetch: &Fetch, fetched: Arrived) {
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(why) => return self.end_step(step, Some(why)),
        };
        let recipients = fetched.waits.iter().fold(Recipients::none(), |all, (_, some)| all.with(some));
        if recipients.is_empty() {
            return self.end_step(step, Some(GONE.to_owned()));
        }
        let parts = match &*fetched.envelope.protocol {
            OWN_PROTOCOL => self.routes.notice_parts(recipients),
            _ => self.routes.parts(&fetched.envelope.envelope, |index| recipients.contains(index)),
        };
        if parts.destined.is_empty() {
            return self.end_step(step, Some(UNROUTED.to_owned()));
        }
        if !parts.unrouted.is_empty()
            && let Some(step) = self.operations.steps.get_mut(&step)
        {
            step.failed = Some(UNROUTED.to_owned());
        }
        let now = seconds(timestamp::seconds(self.wall_clock));
        for (destination, recipients) in parts.destined {
            let wait = Wait {
                destination: self.routes.name(destination).to_owned(),
                attempts: 0,
                next_at: now,
                // What has expired is not to expire at once.
                received_at: now,
                reply: TRIED_AGAIN.to_owned(),
                held: false,
            };
            self.tell_step(step, Change::Later { place: fetch.place, recipients, wait });
        }
    }

    /// What a step told the office is durable, or was not taken.
    pub(super) fn handle_step(&mut self, number: u64, change: Change, kept: Result<Option<Place>, Refused>) {
        let Some(step) = self.operations.steps.get_mut(&number) else { return };
        step.open -= 1;
        let what = step.what;
        match kept {
            Ok(Some(Place::Later(cursor))) if what == What::Revive => self.revive(key_of(cursor), change),
            Ok(_) => {}
            Err(why) => step.failed = Some(why.to_string()),
        }
        if self.operations.steps.get(&number).is_some_and(|step| step.open == 0) {
            self.end_step(number, None);
        }
    }

    fn revive(&mut self, cursor: u64, change: Change) {
        let Change::Later { wait, .. } = change else { return };
        let Some(destination) = self.routes.named(&wait.destination) else { return };
        let deferred = Deferred {
            cursor,
            destination,
            due_in: Duration::ZERO,
            expires_in: self.expire,
            attempts: 0,
            poison: 0,
            is_held: false,
        };
        if !self.schedule.restore(deferred, self.now) {
            let place = Place::Later(cursor_of(cursor));
            self.report.note(&format!("{place}: the schedule has no room for it until the next start"));
        }
    }

    fn end_step(&mut self, number: u64, why: Option<String>) {
        let Some(step) = self.operations.steps.remove(&number) else { return };
        let failed = why.or(step.failed);
        match (step.what, failed.is_some()) {
            (What::Hold, true) => {
                for one in step.undo {
                    self.schedule.release(name_of(&one), self.now);
                }
            }
            (What::Remove, true) => {
                for one in step.undo {
                    self.schedule.restore(one, self.now);
                }
            }
            (What::Release, false) => {
                for delivery in self.deliveries_at(step.place) {
                    self.schedule.release(delivery, self.now);
                }
            }
            (What::Hold | What::Remove, false) | (What::Release | What::Revive, _) => {}
        }
        match failed {
            Some(why) => self.fail(step.command, step.place, why),
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
                if let Some(command) = self.operations.commands.remove(&number) {
                    let why =
                        format!("it is so now, but cannot be noted, and the next start forgets it: {why}");
                    let _ = command.tell.send(Err(why));
                }
            }
        }
    }

    /// What was suspended before this process.
    pub(super) fn restore_suspended(&mut self, all: &[Suspended]) {
        for Suspended { destination, next_hop } in all {
            let host = self.routes.named(destination).and_then(|id| {
                let hops = &self.routes.all().get(usize::from(id.0))?.to;
                Some((id, hops.iter().position(|hop| hop.to_string() == *next_hop)?))
            });
            match host {
                Some((id, host)) => self.schedule.suspend(id, Some(host), self.now),
                None => self.report.note(&format!(
                    "{next_hop} was suspended, and no [[forward]] to {destination} names it any more"
                )),
            }
        }
    }

    /// The hosts of a destination of this name; those that are this next hop otherwise, wherever they are.
    fn hosts_named(&self, name: &str) -> Vec<(DestinationId, usize)> {
        let all = (0..).zip(self.routes.all()).map(|(number, route)| (DestinationId(number), route));
        let hosts = all.flat_map(|(id, route)| (0..).zip(&route.to).map(move |(host, hop)| (id, host, hop)));
        match self.routes.named(name) {
            Some(named) => hosts.filter(|(id, ..)| *id == named).map(|(id, host, _)| (id, host)).collect(),
            None => {
                hosts.filter(|(.., hop)| hop.to_string() == name).map(|(id, host, _)| (id, host)).collect()
            }
        }
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

fn name_of(deferred: &Deferred) -> Delivery {
    Delivery { place: schedule::Place::Later(deferred.cursor), destination: deferred.destination }
}
