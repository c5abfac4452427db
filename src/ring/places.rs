//! Which slot the send of a token is in, found without a search.
//!
//! A table with one place for each token, chosen by the low bits of the token. Callers number their connections from 0, so tokens under way
//! differ there; where two would share a place the table grows until they do not.

use super::Token;

/// Places at first.
const LEAST: usize = 64;

/// Places at most. Tokens that share one of them are searched for.
const MOST: usize = 1 << 20;

/// Tokens and their slots.
#[derive(Debug)]
pub(super) struct Places {
    /// A power of two of them.
    places: Vec<Option<(Token, u32)>>,
    /// Those that share a place with another one of the largest table.
    crowded: Vec<(Token, u32)>,
}

impl Places {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { places: vec![None; LEAST], crowded: Vec::new() }
    }

    /// From now on the token's send is in this slot. A token has one at a time.
    pub(super) fn insert(&mut self, token: Token, slot: u32) {
        while !self.put(token, slot) {
            if self.places.len() >= MOST {
                self.crowded.push((token, slot));
                return;
            }
            self.grow();
        }
    }

    /// The token's send has ended.
    pub(super) fn remove(&mut self, token: Token) {
        let place = self.place(token);
        match self.places.get_mut(place) {
            Some(held) if held.is_some_and(|(other, _)| other == token) => *held = None,
            _ => self.crowded.retain(|(other, _)| *other != token),
        }
    }

    /// Where the token's send is, if one is under way.
    pub(super) fn find(&self, token: Token) -> Option<u32> {
        let held = self.places.get(self.place(token)).copied().flatten();
        let crowded = self.crowded.iter().copied();
        held.into_iter().chain(crowded).find(|(other, _)| *other == token).map(|(_, slot)| slot)
    }

    /// False when another token has the place.
    fn put(&mut self, token: Token, slot: u32) -> bool {
        let place = self.place(token);
        match self.places.get_mut(place) {
            Some(free @ None) => {
                *free = Some((token, slot));
                true
            }
            Some(Some((other, held))) if *other == token => {
                *held = slot;
                true
            }
            Some(Some(_)) | None => false,
        }
    }

    /// Twice the places. Tokens that differed in fewer bits differ in more.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.places);
        self.places = vec![None; old.len() * 2];
        for (token, slot) in old.into_iter().flatten() {
            let is_put = self.put(token, slot);
            assert!(is_put, "tokens that had places of their own keep them");
        }
    }

    fn place(&self, token: Token) -> usize {
        let mask = self.places.len() as u64 - 1;
        // Below the length of a table in memory.
        usize::try_from(token.value() & mask).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn tokens_that_differ_in_high_bits_only_are_found_as_well() {
        let mut places = Places::new();
        let token = |number: u32| Token::new(u64::from(number) << 24 | 5);
        for number in 0..10 {
            places.insert(token(number), number);
        }
        assert_eq!(places.places.len(), MOST);
        assert!((0..10).all(|number| places.find(token(number)) == Some(number)));
        for number in (0..10).step_by(2) {
            places.remove(token(number));
        }
        assert!((0..10).all(|number| places.find(token(number)) == (number % 2 == 1).then_some(number)));
    }

    #[test]
    fn numbers_from_0_need_no_more_places_than_there_are_numbers() {
        let mut places = Places::new();
        for number in 0..20_000_u32 {
            // As a shard's keys: a generation above 24 bits.
            places.insert(Token::new(u64::from(number % 7) << 24 | u64::from(number)), number);
        }
        assert_eq!((places.places.len(), places.crowded.len()), (32 * 1024, 0));
    }

    proptest! {
        #[test]
        fn places_are_a_map(steps in proptest::collection::vec((0_u64..300, 0_u64..3, any::<bool>()), 0..300)) {
            let (mut places, mut map) = (Places::new(), HashMap::new());
            for (slot, (number, generation, insert)) in (0..).zip(steps) {
                let token = Token::new(generation << 9 | number);
                if insert {
                    places.insert(token, slot);
                    map.insert(token, slot);
                } else {
                    places.remove(token);
                    map.remove(&token);
                }
                prop_assert_eq!(places.find(token), map.get(&token).copied());
            }
            for (token, slot) in map {
                prop_assert_eq!(places.find(token), Some(slot));
            }
        }
    }
}
