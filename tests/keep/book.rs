//! The book of a run: what was asked for each recipient and when it was told as durable. Held against what a
//! disk holds after a power cut.

use std::collections::BTreeMap;

use ringmx::forward::keep::{Place, Waiting, read};
use ringmx::sink::executor::simulated::Image;
use ringmx::sink::spool::cursor::Cursor;
use support::sink::Sent;

use crate::image;

/// What becomes of a recipient of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Nothing yet.
    Log,
    /// It waits.
    Later,
    /// It is given up.
    Dead,
    /// The next hop has it, or an operator took it away.
    Gone,
}

/// A recipient of a message, both by index.
pub type Recipient = (usize, u32);

/// Something that was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    what: What,
    since: usize,
    /// When it was told as durable, if it was.
    durable: Option<usize>,
}

/// What was asked and told, by recipient.
#[derive(Debug, Clone, Default)]
pub struct Book {
    asked: BTreeMap<Recipient, Vec<Asked>>,
    /// Recipients that are dead, with the notice of that.
    notices: BTreeMap<Recipient, Recipient>,
}

impl Book {
    /// This was asked at one time and told as durable at another, if it was.
    pub fn note(&mut self, recipient: Recipient, what: What, since: usize, durable: Option<usize>) {
        self.asked.entry(recipient).or_default().push(Asked { what, since, durable });
    }

    /// This recipient is dead if and only if this notice is there.
    pub fn note_notice(&mut self, dead: Recipient, notice: Recipient) {
        self.notices.insert(dead, notice);
    }

    /// Whether no power cut has parted what is dead and its notices.
    fn check_notices(&self, found: &BTreeMap<Recipient, What>, cut: usize) -> Result<(), String> {
        for (dead, notice) in &self.notices {
            let (is, of_notice) = (found[dead], found[notice]);
            let asked = &self.asked[notice];
            let may_be_gone = asked.iter().any(|asked| asked.what != What::Later && asked.since <= cut);
            // An operator may have had it tried again.
            let of_dead = self.asked[dead].iter().skip_while(|asked| asked.what != What::Dead);
            let goes_on = of_dead.skip(1).any(|asked| asked.what != What::Dead && asked.since <= cut);
            let fits = match is {
                What::Log | What::Later => of_notice == What::Gone || goes_on,
                What::Dead => of_notice != What::Gone || may_be_gone,
                What::Gone => true,
            };
            if !fits {
                return Err(format!("{dead:?} is {is:?}, and its notice is {of_notice:?}"));
            }
        }
        Ok(())
    }

    /// How much was asked, and told as durable, up to a time.
    pub fn told_by(&self, cut: usize) -> (usize, usize) {
        let all = || self.asked.values().flatten();
        let told = all().filter(|asked| asked.durable.is_some_and(|durable| durable <= cut));
        (all().filter(|asked| asked.since <= cut).count(), told.count())
    }

    /// Where a recipient may be after the power was cut.
    fn possible(&self, recipient: Recipient, begins: What, cut: usize) -> Vec<What> {
        let mut possible = vec![begins];
        for Asked { what, since, durable } in self.asked.get(&recipient).into_iter().flatten() {
            if durable.is_some_and(|durable| durable <= cut) {
                possible = vec![*what];
            } else if *since <= cut && !possible.contains(what) {
                possible.push(*what);
            }
        }
        possible
    }

    /// Holds a disk against the book: a start finds each recipient where it may be and nowhere else, and its
    /// message there is whole. Gives where each is.
    pub fn check(
        &self,
        image: &Image,
        sent: &[Sent],
        log: &[Cursor],
        cut: usize,
    ) -> Result<BTreeMap<Recipient, What>, String> {
        let state = read(image).map_err(|error| error.to_string())?;
        let mut found: BTreeMap<Recipient, Vec<What>> = BTreeMap::new();
        let mut find = |place: Place, recipients: &mut dyn Iterator<Item = u32>, what| {
            let (envelope, content) =
                image::record(image, place).ok_or_else(|| format!("{place} cannot be read"))?;
            let of = sent.iter().position(|sent| sent.id == envelope.id && sent.content() == content);
            let of = of.ok_or_else(|| format!("{place} is altered"))?;
            for recipient in recipients {
                found.entry((of, recipient)).or_default().push(what);
            }
            Ok::<_, String>(())
        };
        for Waiting { place, recipients, .. } in state.waiting() {
            find(place, &mut recipients.iter(), What::Later)?;
        }
        for Waiting { place, recipients, .. } in state.dead() {
            find(place, &mut recipients.iter(), What::Dead)?;
        }
        for (cursor, message) in log.iter().zip(sent) {
            if Some(*cursor) > state.consumed() {
                let settled = state.settled(*cursor);
                let count = u32::try_from(message.recipients.len()).expect("few");
                let mut pending = (0..count).filter(|recipient| !settled.contains(*recipient));
                find(Place::Log(*cursor), &mut pending, What::Log)?;
            }
        }
        let mut all = BTreeMap::new();
        for (index, message) in sent.iter().enumerate() {
            for recipient in 0..u32::try_from(message.recipients.len()).expect("few") {
                let recipient = (index, recipient);
                let is = match found.get(&recipient).map_or(&[][..], Vec::as_slice) {
                    [] => What::Gone,
                    [what] => *what,
                    several => return Err(format!("{recipient:?} is in several places: {several:?}")),
                };
                // Notices are not in the log.
                let begins = if index < log.len() { What::Log } else { What::Gone };
                let possible = self.possible(recipient, begins, cut);
                if !possible.contains(&is) {
                    return Err(format!("{recipient:?} is {is:?}, and not {possible:?}"));
                }
                all.insert(recipient, is);
            }
        }
        self.check_notices(&all, cut)?;
        Ok(all)
    }
}
