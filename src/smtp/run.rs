//! Mail data whose ranges are short, condensed into runs of octets as they are to be stored.
//!
//! To hand on a range costs as much as a hundred octets, so mail data in which every few octets begin another
//! one (lines of dots, bare line ends to be normalised) would cost fifty times what plain text costs. A run
//! takes it octet by octet at the same cost whatever the octets are: no branch depends on them. What each
//! octet does in each state stands in a table whose rows are words, so that the next state is one shift away.

/// Places for octets of a run: as many as an index of one octet reaches.
const SLOTS: usize = 256;

/// The most octets that one octet of input gives: a CR that was held back, the LF put after it, and the octet
/// itself.
const GIVEN_MAX: u8 = 3;

/// With more octets than these a run has no room for what one more octet may give.
const ROOM_UP_TO: u8 = u8::MAX - GIVEN_MAX;

/// Some octets of mail data that do not stand in the input as they are to be stored.
#[derive(Clone)]
pub struct Run {
    octets: [u8; SLOTS],
    count: u8,
}

impl Run {
    /// Nothing.
    pub fn new() -> Self {
        Self { octets: [0; SLOTS], count: 0 }
    }

    /// Holds this octet and no other.
    pub(super) fn hold(&mut self, octet: u8) {
        self.octets[0] = octet;
        self.count = 1;
    }

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.count)).unwrap_or_default()
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.octets().escape_ascii())
    }
}

/// Where in mail data we are. The value is where a row of the table has the entry of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Place {
    /// Not at the start of a line.
    Middle = 0,
    /// At the start of a line.
    LineStart = 12,
    /// After a CR, which was given.
    Cr = 24,
    /// After a dot that began a line, which is no mail data.
    Dot = 36,
    /// After a dot that began a line and a CR, which was not given.
    DotCr = 48,
}

const PLACES: [Place; 5] = [Place::Middle, Place::LineStart, Place::Cr, Place::Dot, Place::DotCr];

/// What becomes of an octet in a place.
#[derive(Clone, Copy)]
struct Entry {
    next: Place,
    /// What is given in front of it: nothing, CR, LF, or both.
    before: Given,
    /// Whether the octet is given.
    gives: bool,
}

#[derive(Clone, Copy)]
enum Given {
    Nothing,
    Cr,
    Lf,
    CrLf,
}

/// Bits of an entry above its next state (6 bits): how many octets are given in front of the octet, how many
/// are given with it, whether the first of those in front is LF, and whether the run ends before it.
const BEFORE_AT: u64 = 6;
const GIVEN_AT: u64 = 8;
const LF_AT: u64 = 10;
const STOP: u64 = 1 << 11;
const NEXT: u64 = 0x3f;

/// What an octet is.
#[derive(Clone, Copy)]
enum Class {
    Other = 0,
    Cr = 1,
    Lf = 2,
    Dot = 3,
}

/// The class of every octet.
static CLASSES: [u8; 256] = {
    let mut classes = [Class::Other as u8; 256];
    classes[b'\r' as usize] = Class::Cr as u8;
    classes[b'\n' as usize] = Class::Lf as u8;
    classes[b'.' as usize] = Class::Dot as u8;
    classes
};

/// What is done with bare CR and LF, and whether a dot that begins a line is special. A run ends before a
/// bare one that is not normalised, and before the end of the mail data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) normalize_lf: bool,
    pub(super) normalize_cr: bool,
    pub(super) dots: bool,
}

/// Rows by class of octet, of entries by place.
#[derive(Debug)]
pub(super) struct Table {
    rows: [u64; 4],
    /// Whether any entry gives something in front of the octet.
    inserts: bool,
}

static TABLES: [Table; 8] = {
    let mut tables = [const { Table { rows: [0; 4], inserts: false } }; 8];
    let mut index = 0;
    while index < tables.len() {
        let rules =
            Rules { normalize_lf: index & 1 != 0, normalize_cr: index & 2 != 0, dots: index & 4 != 0 };
        tables[index] = Table::new(rules);
        index += 1;
    }
    tables
};

impl Table {
    /// The table of these rules.
    pub(super) fn of(rules: Rules) -> &'static Self {
        let Rules { normalize_lf, normalize_cr, dots } = rules;
        &TABLES[usize::from(normalize_lf) | usize::from(normalize_cr) << 1 | usize::from(dots) << 2]
    }

    const fn new(rules: Rules) -> Self {
        let mut rows = [0; 4];
        let mut place = 0;
        while place < PLACES.len() {
            let at = PLACES[place];
            rows[Class::Other as usize] |= word(entry(rules, at, Class::Other)) << at as u64;
            rows[Class::Cr as usize] |= word(entry(rules, at, Class::Cr)) << at as u64;
            rows[Class::Lf as usize] |= word(entry(rules, at, Class::Lf)) << at as u64;
            rows[Class::Dot as usize] |= word(entry(rules, at, Class::Dot)) << at as u64;
            place += 1;
        }
        Self { rows, inserts: rules.normalize_lf || rules.normalize_cr }
    }

    /// Takes octets from `place` on until the run is full, the input ends, or something comes that is not for
    /// a run. The run holds what they give then. Gives how many were taken, and whether any of them was not
    /// simply given.
    pub(super) fn condense(&self, place: &mut Place, input: &[u8], run: &mut Run) -> (usize, bool) {
        if self.inserts {
            self.condense_with::<true>(place, input, run)
        } else {
            self.condense_with::<false>(place, input, run)
        }
    }

    /// Where nothing is ever given in front of an octet (`INSERTS` is false), it costs half as much.
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    fn condense_with<const INSERTS: bool>(
        &self,
        place: &mut Place,
        input: &[u8],
        run: &mut Run,
    ) -> (usize, bool) {
        let octets = &mut run.octets;
        let (mut count, mut taken, mut state) = (0_u8, 0, *place as u64);
        let mut irregular = 0;
        for &octet in input {
            // An index of one octet is always within the slots, so nothing is checked here but that there is
            // room.
            if count > ROOM_UP_TO {
                break;
            }
            let entry = self.rows[usize::from(CLASSES[usize::from(octet)] & 3)] >> state;
            if entry & STOP != 0 {
                break;
            }
            // What is not given is written over by the next octet.
            if INSERTS {
                octets[usize::from(count)] = b'\r' - (b'\r' - b'\n') * ((entry >> LF_AT) as u8 & 1);
                octets[usize::from(count + 1)] = b'\n';
                let before = (entry >> BEFORE_AT) as u8 & 3;
                octets[usize::from(count + before)] = octet;
            } else {
                octets[usize::from(count)] = octet;
            }
            let given = (entry >> GIVEN_AT) as u8 & 3;
            count += given;
            irregular |= given ^ 1;
            state = entry & NEXT;
            taken += 1;
        }
        run.count = count;
        *place = PLACES.into_iter().find(|place| *place as u64 == state).unwrap_or(Place::Middle);
        (taken, irregular != 0)
    }
}

const fn word(entry: Option<Entry>) -> u64 {
    let Some(Entry { next, before, gives }) = entry else { return STOP };
    let (count, lf) = match before {
        Given::Nothing => (0, 0),
        Given::Cr => (1, 0),
        Given::Lf => (1, 1),
        Given::CrLf => (2, 0),
    };
    let given = count + gives as u64;
    next as u64 | count << BEFORE_AT | given << GIVEN_AT | lf << LF_AT
}

#[allow(clippy::unnecessary_wraps, reason = "all entries of the table are built alike")]
const fn given(next: Place, before: Given) -> Option<Entry> {
    Some(Entry { next, before, gives: true })
}

/// None: the run ends before it.
const fn entry(rules: Rules, place: Place, class: Class) -> Option<Entry> {
    match (place, class) {
        (Place::Dot, Class::Cr) => Some(Entry { next: Place::DotCr, before: Given::Nothing, gives: false }),
        (Place::LineStart, Class::Dot) if rules.dots => {
            Some(Entry { next: Place::Dot, before: Given::Nothing, gives: false })
        }
        (Place::Middle | Place::LineStart, Class::Cr) => given(Place::Cr, Given::Nothing),
        (Place::Middle | Place::LineStart | Place::Dot, Class::Other | Class::Dot) => {
            given(Place::Middle, Given::Nothing)
        }
        (Place::Middle | Place::LineStart | Place::Dot, Class::Lf) if rules.normalize_lf => {
            given(Place::Middle, Given::Cr)
        }
        (Place::Cr, Class::Lf) => given(Place::LineStart, Given::Nothing),
        // The CR was bare, and what follows begins no line.
        (Place::Cr, Class::Cr) if rules.normalize_cr => given(Place::Cr, Given::Lf),
        (Place::Cr, Class::Other | Class::Dot) if rules.normalize_cr => given(Place::Middle, Given::Lf),
        (Place::DotCr, Class::Cr) if rules.normalize_cr => given(Place::Cr, Given::CrLf),
        (Place::DotCr, Class::Other | Class::Dot) if rules.normalize_cr => given(Place::Middle, Given::CrLf),
        // A bare line end that is not normalised, or the end.
        (Place::Middle | Place::LineStart | Place::Dot, Class::Lf)
        | (Place::Cr, Class::Cr | Class::Other | Class::Dot)
        | (Place::DotCr, Class::Cr | Class::Lf | Class::Other | Class::Dot) => None,
    }
}
