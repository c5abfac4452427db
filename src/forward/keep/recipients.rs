//! Some of the recipients of a message, by their index in its envelope.

/// The most recipients of one message: far more than a transaction can have.
pub const RECIPIENTS_MAX: u32 = 8 * 65_535;

const WORD_BITS: u32 = u64::BITS;

/// A set of indices. Up to index 63 it takes no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recipients(Bits);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bits {
    /// Index 0 is the lowest bit.
    Low(u64),
    /// Lowest first. The last one is not zero, and there are two at least: one form for each set.
    High(Box<[u64]>),
}

// A million of them are kept.
const _: () = assert!(size_of::<Recipients>() == 16);

impl Default for Recipients {
    fn default() -> Self {
        Self::none()
    }
}

impl Recipients {
    /// No recipient.
    pub const fn none() -> Self {
        Self(Bits::Low(0))
    }

    /// This one. Indices from [`RECIPIENTS_MAX`] on are nobody's and left out.
    pub fn one(index: u32) -> Self {
        [index].into_iter().collect()
    }

    /// The first so many: all of a message with that many recipients.
    pub fn first(count: u32) -> Self {
        let count = count.min(RECIPIENTS_MAX);
        let mut words = vec![u64::MAX; (count / WORD_BITS) as usize];
        words.push((1 << (count % WORD_BITS)) - 1);
        Self::of_words(words)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0 == Bits::Low(0)
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.words().iter().map(|word| word.count_ones()).sum()
    }

    /// Whether this one is in it.
    pub fn contains(&self, index: u32) -> bool {
        let word = self.words().get(index as usize / WORD_BITS as usize);
        word.is_some_and(|word| word >> (index % WORD_BITS) & 1 == 1)
    }

    /// Whether all of the others are in it.
    pub fn contains_all(&self, others: &Self) -> bool {
        others.without(self).is_empty()
    }

    /// The indices, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).zip(self.words()).flat_map(|(at, word)| {
            (0..WORD_BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * WORD_BITS + bit)
        })
    }

    /// These and those.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        self.by_word(others, |ours, others| ours | others)
    }

    /// These but not those.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        self.by_word(others, |ours, others| ours & !others)
    }

    /// Those that are in both.
    #[must_use]
    pub fn both(&self, others: &Self) -> Self {
        self.by_word(others, |ours, others| ours & others)
    }

    /// As octets, index 0 the lowest bit of the first, without zeros at the end.
    pub fn to_octets(&self) -> Vec<u8> {
        let mut octets: Vec<u8> = self.words().iter().flat_map(|word| word.to_le_bytes()).collect();
        octets.truncate(octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1));
        octets
    }

    /// From octets as [`Self::to_octets`] gives them; none for any others.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        if octets.last() == Some(&0) || octets.len() as u64 > u64::from(RECIPIENTS_MAX / 8) {
            return None;
        }
        let words = octets.chunks(8).map(|part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(word)
        });
        Some(Self::of_words(words.collect()))
    }

    /// Octets of memory beside its own.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Bits::Low(_) => 0,
            Bits::High(words) => size_of_val::<[u64]>(words),
        }
    }

    fn words(&self) -> &[u64] {
        match &self.0 {
            Bits::Low(word) => std::slice::from_ref(word),
            Bits::High(words) => words,
        }
    }

    fn of_words(mut words: Vec<u64>) -> Self {
        words.truncate(words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
        match *words {
            [] => Self::none(),
            [word] => Self(Bits::Low(word)),
            [..] => Self(Bits::High(words.into())),
        }
    }

    fn by_word(&self, others: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        if let (Bits::Low(ours), Bits::Low(others)) = (&self.0, &others.0) {
            return Self(Bits::Low(of(*ours, *others)));
        }
        let (ours, others) = (self.words(), others.words());
        let at = |words: &[u64], index| words.get(index).copied().unwrap_or_default();
        let count = ours.len().max(others.len());
        Self::of_words((0..count).map(|index| of(at(ours, index), at(others, index))).collect())
    }
}

impl FromIterator<u32> for Recipients {
    fn from_iter<I: IntoIterator<Item = u32>>(indices: I) -> Self {
        let mut words = Vec::new();
        for index in indices.into_iter().filter(|index| *index < RECIPIENTS_MAX) {
            let at = (index / WORD_BITS) as usize;
            if words.len() <= at {
                words.resize(at + 1, 0);
            }
            words[at] |= 1 << (index % WORD_BITS);
        }
        Self::of_words(words)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_it_was_made_of(
            ours in prop::collection::btree_set(0_u32..300, 0..20),
            others in prop::collection::btree_set(0_u32..70, 0..20),
        ) {
            let set = |indices: &BTreeSet<u32>| indices.iter().copied().collect::<Recipients>();
            let (a, b) = (set(&ours), set(&others));
            prop_assert_eq!(a.iter().collect::<BTreeSet<_>>(), ours.clone());
            prop_assert_eq!(a.count() as usize, ours.len());
            prop_assert_eq!(a.with(&b), set(&(&ours | &others)));
            prop_assert_eq!(a.without(&b), set(&(&ours - &others)));
            prop_assert_eq!(a.both(&b), set(&(&ours & &others)));
            prop_assert_eq!(a.contains_all(&b), others.is_subset(&ours));
            prop_assert!((0..300).all(|index| a.contains(index) == ours.contains(&index)));
            prop_assert_eq!(Recipients::from_octets(&a.to_octets()), Some(a));
        }

        #[test]
        fn octets_have_one_form(octets: Vec<u8>) {
            if let Some(set) = Recipients::from_octets(&octets) {
                prop_assert_eq!(set.to_octets(), octets);
            }
        }
    }

    #[test]
    fn all_of_a_message_are_its_first_ones() {
        for count in [0, 1, 63, 64, 65, 1000] {
            let all = Recipients::first(count);
            assert_eq!(all.count(), count);
            assert_eq!(all.iter().max(), count.checked_sub(1));
        }
        assert_eq!(Recipients::one(RECIPIENTS_MAX), Recipients::none());
    }
}
