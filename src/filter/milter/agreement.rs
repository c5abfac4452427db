//! What server and milter agree upon at first (`SMFIC_OPTNEG`).

use super::code::{VERSION, VERSION_MIN, command};
use super::fault::Fault;
use super::macro_names::MacroNames;
use super::packet::{self, DATA_BYTES_MAX};

/// The first version with `SMFIC_DATA`.
const VERSION_OF_DATA: u32 = 4;

/// The first version with `SMFIC_QUIT_NC`, and with macros for the end of the header section.
const VERSION_OF_KEEPING: u32 = 6;

/// Adding and inserting header fields (`SMFIF_ADDHDRS`).
const ADD_FIELDS: u32 = 1;
/// `SMFIF_QUARANTINE`.
const QUARANTINE: u32 = 1 << 5;
/// It says which macros it wants (`SMFIF_SETSYMLIST`).
const SET_SYMBOLS: u32 = 1 << 8;

const ACTIONS_OFFERED: u32 = ADD_FIELDS | QUARANTINE | SET_SYMBOLS;

/// What is not said (`SMFIP_NO…`), and what is not answered (`SMFIP_NR_…`), of each command.
const SILENCES: [(u8, u32, u32); 9] = [
    (command::CONNECT, 1, 1 << 12),
    (command::HELO, 1 << 1, 1 << 13),
    (command::MAIL, 1 << 2, 1 << 14),
    (command::RECIPIENT, 1 << 3, 1 << 15),
    (command::BODY, 1 << 4, 1 << 19),
    (command::FIELD, 1 << 5, 1 << 7),
    (command::END_OF_HEADER, 1 << 6, 1 << 18),
    (command::DATA, 1 << 9, 1 << 16),
    // Commands that are unknown: none of them is ever told.
    (b'U', 1 << 8, 1 << 17),
];

/// `SMFIP_SKIP`
const SKIP: u32 = 1 << 10;
/// A space after the colon of a header field belongs to its value (`SMFIP_HDR_LEADSPC`).
const LEADING_SPACE: u32 = 1 << 20;
/// Data may be longer (`SMFIP_MDS_256K`).
const LONG_DATA: u32 = 1 << 28;
const LONG_DATA_BYTES_MAX: usize = 256 * 1024 - 1;

/// All but the recipients that were refused (`SMFIP_RCPT_REJ`), who are in no envelope, and data of a
/// mebibyte (`SMFIP_MDS_1M`), which would be too much memory for each message that is with a milter.
const fn protocol_offered() -> u32 {
    let mut all = SKIP | LEADING_SPACE | LONG_DATA;
    let mut at = 0;
    while at < SILENCES.len() {
        all |= SILENCES[at].1 | SILENCES[at].2;
        at += 1;
    }
    all
}

const PROTOCOL_OFFERED: u32 = protocol_offered();

/// The places of macros, in the order of their numbers (`SMFIM_`).
const MACRO_PLACES: [u8; 7] = [
    command::CONNECT,
    command::HELO,
    command::MAIL,
    command::RECIPIENT,
    command::DATA,
    command::END,
    command::END_OF_HEADER,
];

/// Says what is offered.
pub(super) fn push_offer(output: &mut Vec<u8>) {
    packet::push(output, command::NEGOTIATE, |data| {
        for word in [VERSION, ACTIONS_OFFERED, PROTOCOL_OFFERED] {
            data.extend_from_slice(&word.to_be_bytes());
        }
    });
}

/// What a milter wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Agreement {
    version: u32,
    actions: u32,
    protocol: u32,
    /// The macros that it wants at each place; none where it says nothing.
    macros: [Option<MacroNames>; MACRO_PLACES.len()],
}

impl Agreement {
    /// Reads the milter's options.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Fault> {
        let malformed = Fault::Malformed(command::NEGOTIATE);
        let (version, rest) = word(data).ok_or(malformed)?;
        let (actions, rest) = word(rest).ok_or(malformed)?;
        let (protocol, mut rest) = word(rest).ok_or(malformed)?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(Fault::Version(version));
        }
        if actions & !ACTIONS_OFFERED != 0 {
            return Err(Fault::Actions(actions & !ACTIONS_OFFERED));
        }
        if protocol & !PROTOCOL_OFFERED != 0 {
            return Err(Fault::Protocol(protocol & !PROTOCOL_OFFERED));
        }
        let mut agreement = Self { version, actions, protocol, ..Self::default() };
        while !rest.is_empty() {
            let (place, after) = word(rest).ok_or(malformed)?;
            let (names, after) = packet::split_text(after).ok_or(malformed)?;
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            // Of a place that nobody knows nothing is said.
            if let Some(kept) = agreement.macros.get_mut(place) {
                *kept = Some(MacroNames::of_list(names));
            }
            rest = after;
        }
        Ok(agreement)
    }

    /// Whether this command is said.
    pub(super) fn wants(&self, code: u8) -> bool {
        let is_known = code != command::DATA || self.version >= VERSION_OF_DATA;
        is_known && SILENCES.iter().all(|(of, unwanted, _)| *of != code || self.protocol & unwanted == 0)
    }

    /// Whether this command, which is said, has a reply.
    pub(super) fn answers(&self, code: u8) -> bool {
        SILENCES.iter().all(|(of, _, unanswered)| *of != code || self.protocol & unanswered == 0)
    }

    /// Whether it may be told macros at this place.
    pub(super) fn takes_macros(&self, code: u8) -> bool {
        match code {
            command::DATA => self.version >= VERSION_OF_DATA,
            command::END_OF_HEADER => self.version >= VERSION_OF_KEEPING,
            _ => true,
        }
    }

    /// The macros that it wants at this place, if it says so.
    pub(super) fn macros(&self, code: u8) -> Option<MacroNames> {
        let place = MACRO_PLACES.iter().position(|of| *of == code)?;
        *self.macros.get(place)?
    }

    /// Whether it may add header fields.
    pub(super) fn adds_fields(&self) -> bool {
        self.actions & ADD_FIELDS != 0
    }

    /// Whether it may put a message into quarantine.
    pub(super) fn quarantines(&self) -> bool {
        self.actions & QUARANTINE != 0
    }

    /// Whether values of header fields have what stands after the colon, both ways.
    pub(super) fn keeps_leading_space(&self) -> bool {
        self.protocol & LEADING_SPACE != 0
    }

    /// Whether a connection may serve another message (`SMFIC_QUIT_NC`).
    pub(super) fn keeps_connections(&self) -> bool {
        self.version >= VERSION_OF_KEEPING
    }

    /// Octets of a chunk of the body.
    pub(super) fn data_bytes_max(&self) -> usize {
        if self.protocol & LONG_DATA != 0 { LONG_DATA_BYTES_MAX } else { DATA_BYTES_MAX }
    }
}

/// The number that data begins with, and what comes after it.
pub(super) fn word(data: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = data.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}
