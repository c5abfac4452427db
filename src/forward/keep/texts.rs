//! Texts that many messages share, each kept once: destinations and replies.

use std::collections::HashMap;
use std::rc::Rc;

/// Octets that all replies may take. Most next hops say the same to everybody; where one puts a number of its
/// own into each reply, the later ones are cut to their beginning.
const OCTETS_MAX: usize = 16 * 1024 * 1024;

/// What is left of a text when there is no room: reply code and enhanced status code.
const CUT_BYTES: usize = 12;

/// The number of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextId(u32);

/// Texts by number, and how often each is used.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// By number; none where the number is free.
    texts: Vec<Option<(Rc<str>, u32)>>,
    free: Vec<u32>,
    numbers: HashMap<Rc<str>, u32>,
    octets: usize,
}

impl Texts {
    /// Keeps a text, for one use more.
    pub(super) fn keep(&mut self, text: &str) -> TextId {
        if self.octets > OCTETS_MAX && text.len() > CUT_BYTES && !self.numbers.contains_key(text) {
            let cut = (0..=CUT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            return self.keep_whole(&text[..cut]);
        }
        self.keep_whole(text)
    }

    /// Keeps a text that must not be cut, for one use more.
    pub(super) fn keep_whole(&mut self, text: &str) -> TextId {
        if let Some(number) = self.numbers.get(text) {
            if let Some(Some((_, uses))) = self.texts.get_mut(*number as usize) {
                *uses += 1;
            }
            return TextId(*number);
        }
        let text: Rc<str> = Rc::from(text);
        self.octets += text.len();
        let number = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            u32::try_from(self.texts.len() - 1).expect("fewer texts than messages, and those are in memory")
        });
        self.texts[number as usize] = Some((Rc::clone(&text), 1));
        self.numbers.insert(text, number);
        TextId(number)
    }

    /// One use less.
    pub(super) fn release(&mut self, id: TextId) {
        let Some(place) = self.texts.get_mut(id.0 as usize) else { return };
        let Some((text, uses)) = place else { return };
        *uses -= 1;
        if *uses == 0 {
            self.octets -= text.len();
            self.numbers.remove(text);
            *place = None;
            self.free.push(id.0);
        }
    }

    /// The text.
    pub(super) fn text(&self, id: TextId) -> &str {
        self.texts.get(id.0 as usize).and_then(Option::as_ref).map_or("", |(text, _)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_while_it_is_used() {
        let mut texts = Texts::default();
        let (first, second) = (texts.keep("451 no"), texts.keep("451 no"));
        assert_eq!((first, texts.octets), (second, 6));
        texts.release(first);
        assert_eq!(texts.text(second), "451 no");
        texts.release(second);
        assert_eq!((texts.octets, texts.numbers.len()), (0, 0));
        assert_eq!(texts.keep("other"), first, "the number is used again");
    }

    #[test]
    fn texts_without_end_are_cut() {
        let mut texts = Texts::default();
        for number in 0..200_000 {
            let text = format!("451 4.7.1 {number:0>100}");
            let id = texts.keep(&text);
            assert!(texts.text(id) == text || texts.text(id) == &text[..CUT_BYTES]);
        }
        assert!(texts.octets < OCTETS_MAX + 200_000 * CUT_BYTES);
        assert_eq!(texts.numbers.len(), texts.texts.len());
        assert!(texts.numbers.len() < 180_000);
    }
}
