//! What those say of a recipient who have the last word: a map, next hops, the store. They are asked as a
//! server asks them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Config, RecipientMap};
use crate::handoff::mailbox::Standing;
use crate::handoff::recipient_map::Found;
use crate::mail::envelope::Mailbox;
use crate::recipient_map::{self, Asked};
use crate::shard::mailboxes::{Places, places_of, verdict_of};
use crate::sink::mailbox::{Keeper, Naming};
use crate::sink::{self, Report, Site, Surroundings};
use crate::smtp::policy::{Policy, Verdict};

/// Why somebody said nothing.
#[derive(Default)]
pub(super) struct Why(Mutex<String>);

impl Why {
    /// Takes what was told last.
    pub(super) fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Report for Why {
    fn machine_error(&self, _: &str, _: Site<'_>, error: &io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
    }
}

/// Who has the last word on a recipient.
pub(super) struct Others {
    why: Arc<Why>,
    /// A map or next hops, and how they are called; none where nobody is asked.
    asked: Option<(Asked, String)>,
    store: Store,
}

/// Who looks into the store.
enum Store {
    /// Nobody: all recipients have one place.
    OnePlace,
    /// The names of places, and who looks at them.
    Mailboxes(Arc<dyn Naming>, Box<dyn Keeper>),
    /// Why nobody can, as this user.
    Closed(String),
}

impl Others {
    /// As the configuration says. An error is what keeps them from being asked.
    pub(super) fn of(config: &Config) -> Result<Self, String> {
        let why = Arc::new(Why::default());
        let asked = config.recipient_map.as_ref().map(|map| {
            let name = match map {
                RecipientMap::Socketmap(_) => map.to_string(),
                RecipientMap::NextHops(_) => "the next hop".to_owned(),
            };
            Ok::<_, String>((Asked::new(map, &config.hostname)?, name))
        });
        let surroundings = Surroundings {
            hostname: config.hostname.clone(),
            local_part_case_sensitive: config.local_part_case_sensitive,
            recipient_delimiter: config.recipient_delimiter,
            report: Arc::clone(&why) as _,
            spool: Arc::default(),
            is_named: Arc::new(|_| false),
        };
        let store = match sink::look_into(&config.sink, &surroundings) {
            Ok(None) => Store::OnePlace,
            Ok(Some(sink::mailbox::Mailboxes { naming, make_keeper })) => match make_keeper() {
                Ok(keeper) => Store::Mailboxes(naming, keeper),
                Err(error) => Store::Closed(error.to_string()),
            },
            Err(error) => Store::Closed(error.to_string()),
        };
        Ok(Self { why, asked: asked.transpose()?, store })
    }

    /// What a recipient is told whom the policy accepts, and what each of those says who are asked.
    pub(super) fn ask(&mut self, recipient: Mailbox<'_>, policy: &dyn Policy) -> (Verdict, Vec<String>) {
        let mut notes = Vec::new();
        let mut by_domain = false;
        let mut keys = Vec::new();
        if policy.map_keys(recipient, &mut |key| keys.push(key.into()))
            && let Some((asked, name)) = &self.asked
        {
            let found = recipient_map::ask_by_hand(asked, recipient, keys, &*self.why);
            let why = self.why.take();
            let because = if why.is_empty() { why } else { format!(": {why}") };
            notes.push(format!("{name} {}{because}", said_of(found)));
            match found {
                Found::Listed => {}
                Found::ByDomain | Found::Supposed => by_domain = true,
                Found::Unlisted => return (Verdict::UnknownRecipient, notes),
                Found::Unknown => return (Verdict::TryAgain, notes),
            }
        }
        let (naming, keeper) = match &mut self.store {
            Store::OnePlace => return (Verdict::Accept, notes),
            Store::Mailboxes(naming, keeper) => (naming, keeper),
            Store::Closed(why) => {
                notes.push(format!("the store, which has the last word, is not asked: {why}"));
                return (Verdict::Accept, notes);
            }
        };
        let Places { places, of_alias } = match places_of(&**naming, recipient, by_domain, policy) {
            Ok(places) => places,
            Err(verdict) => {
                notes.push("the store can have no mailbox of this name".to_owned());
                return (verdict, notes);
            }
        };
        let mut worst = Standing::Ready;
        for place in &places {
            let standing = keeper.look(place);
            let why = self.why.take();
            let because = if why.is_empty() { why } else { format!(": {why}") };
            notes.push(format!("mailbox {} {}{because}", place.name, found_so(standing, place.may_make)));
            worst = worst.max(standing);
        }
        (verdict_of(worst, of_alias), notes)
    }
}

fn said_of(found: Found) -> &'static str {
    match found {
        Found::Listed => "has it",
        Found::ByDomain => "has its domain, and not its name",
        Found::Unlisted => "does not have it",
        Found::Unknown => "gives no answer",
        Found::Supposed => "cannot be asked, and it is taken all the same",
    }
}

/// A mailbox as the user sees it who explains.
fn found_so(standing: Standing, may_make: bool) -> &'static str {
    match (standing, may_make) {
        (Standing::Ready, true) => "can take mail, or can be made",
        (Standing::Ready, false) => "can take mail",
        (Standing::Unknown, _) => "is not there, and none is made (`create`)",
        (Standing::Full, _) => "is full",
        (Standing::Trouble, _) => "cannot be used",
    }
}
