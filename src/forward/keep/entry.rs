//! What the journal says, one entry a change. `docs/forward.md` has the octets.
//!
//! An entry is a fact, and each means the same whatever was said before: so the state is the entries applied
//! one after the other, while the forwarder runs as when it starts.

use super::place::Place;
use super::recipients::Recipients;
use crate::sink::spool::cursor::Cursor;

/// Octets of a reply that are kept.
pub const REPLY_BYTES_MAX: usize = 120;

/// Octets of the name of a destination.
pub const DESTINATION_BYTES_MAX: usize = 255;

/// Octets before the fields of an entry: kind, and how many octets the fields have.
const HEAD_BYTES: usize = 5;

/// Why nobody gets a message any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The next hop refused it for good (5yz).
    Refused,
    /// It waited too long.
    Expired,
    /// No next hop that there is may have it: it needs an extension, or its envelope cannot be read.
    Undeliverable,
    /// An operator said so.
    Operator,
}

/// What is known of recipients that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wait {
    /// The name of the destination; empty where it has to be looked up. At most [`DESTINATION_BYTES_MAX`].
    pub destination: String,
    /// How often it was tried.
    pub attempts: u16,
    /// When it is tried next, in seconds since 1970-01-01 UTC.
    pub next_at: u32,
    /// When the message was received, the same.
    pub received_at: u32,
    /// What the next hop said last, or why it is held. At most [`REPLY_BYTES_MAX`].
    pub reply: String,
    /// Whether it waits for an operator, whatever `next_at` says.
    pub held: bool,
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// These recipients of the message there are with the next hop.
    Sent { place: Place, recipients: Recipients },
    /// These recipients of the message at `from` wait. The message is at `to` in `later/`, and takes so many
    /// octets there. `from` may be the same record: then only what is known of them has changed.
    Later { from: Place, to: Cursor, octets: u64, recipients: Recipients, wait: Wait },
    /// These recipients of the message at `from` do not get it. It is at `at` in `dead/`.
    Dead {
        from: Place,
        at: Cursor,
        octets: u64,
        recipients: Recipients,
        died_at: u32,
        why: Why,
        reply: String,
    },
    /// These recipients wait in `later/` until an operator says more.
    Held { at: Cursor, recipients: Recipients, why: String },
    /// They wait for a next hop again.
    Released { at: Cursor, recipients: Recipients, next_at: u32 },
    /// An operator took the message away from these recipients.
    Removed { place: Place, recipients: Recipients },
    /// Nothing of the log up to this record is needed any more: `consumed` may say so.
    Consumed { cursor: Cursor },
    /// Ends a snapshot: how many waits, dead ones and messages of the log it holds, and which segments of
    /// `later/` and `dead/` come next.
    Whole { waits: u64, dead: u64, log: u64, next_later: u64, next_dead: u64 },
}

mod kind {
    pub(super) const SENT: u8 = 1;
    pub(super) const LATER: u8 = 2;
    pub(super) const DEAD: u8 = 3;
    pub(super) const HELD: u8 = 4;
    pub(super) const RELEASED: u8 = 5;
    pub(super) const REMOVED: u8 = 6;
    pub(super) const CONSUMED: u8 = 7;
    pub(super) const WHOLE: u8 = 8;
}

impl Entry {
    /// Appends the octets of the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        let kind = match self {
            Self::Sent { place, recipients } => {
                put_place(out, *place);
                put_recipients(out, recipients);
                kind::SENT
            }
            Self::Later { from, to, octets, recipients, wait } => {
                put_place(out, *from);
                put_cursor(out, *to);
                out.extend_from_slice(&octets.to_le_bytes());
                put_recipients(out, recipients);
                out.extend_from_slice(&wait.attempts.to_le_bytes());
                out.extend_from_slice(&wait.next_at.to_le_bytes());
                out.extend_from_slice(&wait.received_at.to_le_bytes());
                out.push(u8::from(wait.held));
                put_text(out, &wait.destination, DESTINATION_BYTES_MAX);
                put_text(out, &wait.reply, REPLY_BYTES_MAX);
                kind::LATER
            }
            Self::Dead { from, at, octets, recipients, died_at, why, reply } => {
                put_place(out, *from);
                put_cursor(out, *at);
                out.extend_from_slice(&octets.to_le_bytes());
                put_recipients(out, recipients);
                out.extend_from_slice(&died_at.to_le_bytes());
                out.push(why.number());
                put_text(out, reply, REPLY_BYTES_MAX);
                kind::DEAD
            }
            Self::Held { at, recipients, why } => {
                put_cursor(out, *at);
                put_recipients(out, recipients);
                put_text(out, why, REPLY_BYTES_MAX);
                kind::HELD
            }
            Self::Released { at, recipients, next_at } => {
                put_cursor(out, *at);
                put_recipients(out, recipients);
                out.extend_from_slice(&next_at.to_le_bytes());
                kind::RELEASED
            }
            Self::Removed { place, recipients } => {
                put_place(out, *place);
                put_recipients(out, recipients);
                kind::REMOVED
            }
            Self::Consumed { cursor } => {
                put_cursor(out, *cursor);
                kind::CONSUMED
            }
            Self::Whole { waits, dead, log, next_later, next_dead } => {
                for number in [waits, dead, log, next_later, next_dead] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                kind::WHOLE
            }
        };
        let bytes = u32::try_from(out.len() - start - HEAD_BYTES).expect("recipients and texts are bounded");
        out[start] = kind;
        out[start + 1..start + HEAD_BYTES].copy_from_slice(&bytes.to_le_bytes());
    }

    /// Reads the entry at the beginning, and gives what follows it. None for one that this program does not
    /// know.
    pub fn decode(octets: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, octets) = octets.split_first()?;
        let (bytes, octets) = octets.split_first_chunk()?;
        let (fields, rest) = octets.split_at_checked(u32::from_le_bytes(*bytes) as usize)?;
        let mut fields = Fields(fields);
        let entry = match *kind {
            kind::SENT => Self::Sent { place: fields.place()?, recipients: fields.recipients()? },
            kind::LATER => Self::Later {
                from: fields.place()?,
                to: fields.cursor()?,
                octets: fields.number64()?,
                recipients: fields.recipients()?,
                wait: fields.wait()?,
            },
            kind::DEAD => Self::Dead {
                from: fields.place()?,
                at: fields.cursor()?,
                octets: fields.number64()?,
                recipients: fields.recipients()?,
                died_at: fields.number32()?,
                why: Why::of_number(fields.octet()?)?,
                reply: fields.text()?,
            },
            kind::HELD => {
                Self::Held { at: fields.cursor()?, recipients: fields.recipients()?, why: fields.text()? }
            }
            kind::RELEASED => Self::Released {
                at: fields.cursor()?,
                recipients: fields.recipients()?,
                next_at: fields.number32()?,
            },
            kind::REMOVED => Self::Removed { place: fields.place()?, recipients: fields.recipients()? },
            kind::CONSUMED => Self::Consumed { cursor: fields.cursor()? },
            kind::WHOLE => Self::Whole {
                waits: fields.number64()?,
                dead: fields.number64()?,
                log: fields.number64()?,
                next_later: fields.number64()?,
                next_dead: fields.number64()?,
            },
            _ => return None,
        };
        fields.0.is_empty().then_some((entry, rest))
    }
}

impl Why {
    /// As the journal has it.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Refused => 0,
            Self::Expired => 1,
            Self::Undeliverable => 2,
            Self::Operator => 3,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        [Self::Refused, Self::Expired, Self::Undeliverable, Self::Operator]
            .into_iter()
            .find(|why| why.number() == number)
    }
}

/// The beginning of a text that has at most so many octets.
pub(super) fn beginning(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn put_cursor(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(&cursor.sequence.to_le_bytes());
    out.extend_from_slice(&cursor.offset.to_le_bytes());
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    out.push(match place {
        Place::Log(_) => 0,
        Place::Later(_) => 1,
        Place::Dead(_) => 2,
    });
    put_cursor(out, place.cursor());
}

fn put_recipients(out: &mut Vec<u8>, recipients: &Recipients) {
    let octets = recipients.to_octets();
    let bytes = u16::try_from(octets.len()).expect("RECIPIENTS_MAX is eight times as many as u16 counts");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&octets);
}

fn put_text(out: &mut Vec<u8>, text: &str, bytes_max: usize) {
    let text = beginning(text, bytes_max);
    out.push(u8::try_from(text.len()).expect("the bounds of texts are below 256"));
    out.extend_from_slice(text.as_bytes());
}

/// Fields of an entry, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*value)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take().map(|[octet]| octet)
    }

    fn number16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn number32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn number64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn cursor(&mut self) -> Option<Cursor> {
        Some(Cursor { sequence: self.number64()?, offset: self.number64()? })
    }

    fn place(&mut self) -> Option<Place> {
        let of: fn(Cursor) -> Place = match self.octet()? {
            0 => Place::Log,
            1 => Place::Later,
            2 => Place::Dead,
            _ => return None,
        };
        self.cursor().map(of)
    }

    fn octets(&mut self, count: usize) -> Option<&[u8]> {
        let (value, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(value)
    }

    fn recipients(&mut self) -> Option<Recipients> {
        let count = usize::from(self.number16()?);
        Recipients::from_octets(self.octets(count)?)
    }

    fn text(&mut self) -> Option<String> {
        let count = usize::from(self.octet()?);
        String::from_utf8(self.octets(count)?.to_vec()).ok()
    }

    fn wait(&mut self) -> Option<Wait> {
        let (attempts, next_at, received_at) = (self.number16()?, self.number32()?, self.number32()?);
        let held = match self.octet()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Wait { attempts, next_at, received_at, held, destination: self.text()?, reply: self.text()? })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any entry.
    pub(in super::super) fn entries() -> impl Strategy<Value = Entry> {
        let cursor = || (0..9_u64, any::<u64>()).prop_map(|(sequence, offset)| Cursor { sequence, offset });
        let place = move || {
            prop_oneof![
                cursor().prop_map(Place::Log),
                cursor().prop_map(Place::Later),
                cursor().prop_map(Place::Dead)
            ]
        };
        let recipients = || prop::collection::vec(0_u32..200, 0..9).prop_map(Recipients::from_iter);
        let wait = (any::<u16>(), any::<u32>(), any::<u32>(), any::<bool>(), "[ -~]{0,200}", ".{0,30}")
            .prop_map(|(attempts, next_at, received_at, held, destination, reply)| Wait {
                destination,
                attempts,
                next_at,
                received_at,
                reply,
                held,
            });
        prop_oneof![
            (place(), recipients()).prop_map(|(place, recipients)| Entry::Sent { place, recipients }),
            (place(), cursor(), any::<u64>(), recipients(), wait).prop_map(
                |(from, to, octets, recipients, wait)| Entry::Later { from, to, octets, recipients, wait }
            ),
            (place(), cursor(), any::<u64>(), recipients(), any::<u32>(), 0..4_u8, ".{0,30}").prop_map(
                |(from, at, octets, recipients, died_at, why, reply)| {
                    let why = Why::of_number(why).expect("one of four");
                    Entry::Dead { from, at, octets, recipients, died_at, why, reply }
                }
            ),
            (cursor(), recipients(), ".{0,30}").prop_map(|(at, recipients, why)| Entry::Held {
                at,
                recipients,
                why
            }),
            (cursor(), recipients(), any::<u32>()).prop_map(|(at, recipients, next_at)| Entry::Released {
                at,
                recipients,
                next_at
            }),
            (place(), recipients()).prop_map(|(place, recipients)| Entry::Removed { place, recipients }),
            cursor().prop_map(|cursor| Entry::Consumed { cursor }),
            any::<[u64; 5]>().prop_map(|[waits, dead, log, next_later, next_dead]| Entry::Whole {
                waits,
                dead,
                log,
                next_later,
                next_dead
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_entry_reads_back(entry in entries(), after: Vec<u8>) {
            let mut octets = Vec::new();
            entry.encode(&mut octets);
            let bytes = octets.len();
            octets.extend_from_slice(&after);
            prop_assert_eq!(Entry::decode(&octets), Some((entry, &after[..])));
            prop_assert!((0..bytes).all(|cut| Entry::decode(&octets[..cut]).is_none()), "no part is one");
        }

        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            let _ = Entry::decode(&octets);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(beginning("a\u{e9}", 2), "a");
        let wait = Wait { reply: "\u{e9}".repeat(100), ..Wait::default() };
        let to = Cursor { sequence: 1, offset: 4096 };
        let recipients = Recipients::first(1);
        let entry = Entry::Later { from: Place::Log(to), to, octets: 512, recipients, wait };
        let mut octets = Vec::new();
        entry.encode(&mut octets);
        let Some((Entry::Later { wait, .. }, [])) = Entry::decode(&octets) else { panic!("it reads back") };
        assert_eq!(wait.reply, "\u{e9}".repeat(60));
        // 4096 of them have to be one write that a disk does at once.
        assert!(octets.len() <= 200, "{}", octets.len());
    }
}
