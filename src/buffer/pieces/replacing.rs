//! The beginning of mail data is replaced, wherever its octets lie.

use proptest::prelude::*;

use super::tests::{pool, receive, whole};
use super::*;
use crate::limits::FIRST_BLOCK_BYTES;

/// What mail data is made of: octets in a buffer of which some are left out, and octets that are copied.
#[derive(Debug, Clone)]
enum Part {
    /// So many octets in a new buffer, in runs of so many, after each of which one is left out.
    Received(usize, usize),
    /// The next octets of the buffer that was received last.
    Continued(usize),
    Copied(usize),
}

/// Pieces, what they should be, and what of the last buffer is not taken yet.
struct Draft {
    pieces: Pieces,
    expected: Vec<u8>,
    /// Buffers that were received, up to where they were taken and filled.
    held: Vec<(BufferId, usize, usize)>,
    octet: u8,
}

impl Draft {
    fn new(pool: &Pool) -> Self {
        let pieces = Pieces::new(Arc::clone(pool.arena()));
        Self { pieces, expected: Vec::new(), held: Vec::new(), octet: 0 }
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        let next = || {
            self.octet = self.octet.wrapping_add(1);
            self.octet
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    fn append_all(&mut self, parts: &[Part], pool: &mut Pool) {
        for part in parts {
            self.append(part, pool);
        }
    }

    fn append(&mut self, part: &Part, pool: &mut Pool) {
        match *part {
            Part::Received(count, run) => {
                let octets = self.octets(count);
                let filled = (count + 100).min(1024);
                let mut whole = octets.clone();
                whole.resize(filled, b'-');
                let id = receive(pool, &whole);
                let mut at = 0;
                while at < count {
                    let range = at..(at + run).min(count);
                    self.expected.extend_from_slice(&octets[range.clone()]);
                    self.pieces.append(pool, id, range.clone(), filled).expect("memory");
                    at = range.end + 1;
                }
                self.held.push((id, count, filled));
            }
            Part::Continued(count) => {
                let Some((id, at, filled)) = self.held.last_mut() else { return };
                let range = *at..(*at + count).min(*filled);
                *at = range.end;
                self.expected.extend(std::iter::repeat_n(b'-', range.len()));
                self.pieces.append(pool, *id, range, *filled).expect("memory");
            }
            Part::Copied(count) => {
                let octets = self.octets(count);
                self.pieces.append_copied(pool, &octets).expect("memory");
                self.expected.extend(octets);
            }
        }
    }

    fn replace_beginning(&mut self, count: usize, by: &[u8], pool: &mut Pool) {
        self.pieces.replace_beginning(count, by, pool).expect("memory");
        self.expected.splice(..count, by.iter().copied());
    }

    fn check(&self) {
        assert_eq!(whole(&self.pieces), self.expected);
        assert_eq!(self.pieces.bytes(), self.expected.len() as u64);
    }

    /// All memory comes back.
    fn end(mut self, pool: &mut Pool) {
        for (id, ..) in self.held.drain(..) {
            pool.unpin(id);
        }
        self.pieces.release(pool);
        assert_eq!((pool.pinned(), pool.block_bytes_used(), self.pieces.bytes()), (0, 0, 0));
        assert!(self.pieces.iter().next().is_none());
    }
}

#[test]
fn a_beginning_is_replaced_at_every_place() {
    let mut pool = pool(16);
    let parts = [
        Part::Received(40, 15),
        Part::Copied(3),
        Part::Continued(5),
        Part::Copied(FIRST_BLOCK_BYTES + 10),
        Part::Received(20, 20),
    ];
    let total = |draft: &Draft| draft.expected.len();
    let mut last = usize::MAX;
    for count in 0.. {
        for by in [&b""[..], b"shorter", &[b'l'; 700]] {
            let mut draft = Draft::new(&pool);
            draft.append_all(&parts, &mut pool);
            last = total(&draft);
            draft.replace_beginning(count, by, &mut pool);
            draft.check();
            for part in [Part::Continued(7), Part::Copied(9), Part::Received(30, 4), Part::Continued(1)] {
                draft.append(&part, &mut pool);
                draft.check();
            }
            draft.end(&mut pool);
        }
        if count == last {
            break;
        }
    }
    assert!(last < usize::MAX);
}

#[test]
fn a_beginning_that_finds_no_memory_leaves_nothing_behind() {
    let mut pool = Pool::new(8, 1024, FIRST_BLOCK_BYTES).expect("memory");
    let mut draft = Draft::new(&pool);
    draft.append(&Part::Received(600, 600), &mut pool);
    assert_eq!(draft.pieces.replace_beginning(10, &[b'x'; FIRST_BLOCK_BYTES + 1], &mut pool), Err(NoMemory));
    draft.end(&mut pool);
    let mut draft = Draft::new(&pool);
    draft.append(&Part::Copied(FIRST_BLOCK_BYTES), &mut pool);
    draft.check();
    draft.end(&mut pool);
}

/// Whoever leaves out much of a beginning holds no more pieces than before.
#[test]
fn a_beginning_in_a_thousand_parts_is_one_piece() {
    let mut pool = pool(8);
    let mut draft = Draft::new(&pool);
    (0..6).for_each(|_| draft.append(&Part::Received(1000, 60), &mut pool));
    let (before, count) = (draft.pieces.pieces.len(), draft.expected.len() - 10);
    let kept: Vec<u8> = draft.expected[..count].iter().copied().step_by(2).collect();
    draft.replace_beginning(count, &kept, &mut pool);
    draft.check();
    assert!(draft.pieces.pieces.len() <= 4, "{before} became {}", draft.pieces.pieces.len());
    draft.end(&mut pool);
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        (1_usize..900, 1_usize..300).prop_map(|(count, run)| Part::Received(count, run)),
        (1_usize..60).prop_map(Part::Continued),
        (0_usize..1200).prop_map(Part::Copied),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_keep_what_follows_their_beginning(
        parts in proptest::collection::vec(part(), 0..10),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..900), 1..3),
        more in proptest::collection::vec(part(), 0..6),
    ) {
        let mut pool = pool(40);
        let mut draft = Draft::new(&pool);
        draft.append_all(&parts, &mut pool);
        draft.check();
        for (count, by) in cuts {
            let (count, by) = (count.index(draft.expected.len() + 1), draft.octets(by));
            draft.replace_beginning(count, &by, &mut pool);
            draft.check();
        }
        draft.append_all(&more, &mut pool);
        draft.check();
        draft.end(&mut pool);
    }
}
