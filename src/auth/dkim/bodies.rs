//! The hashes of a message's body that its signatures want, while the body comes.

use super::canonical::Form;
use super::verify::BodyHash;

/// At most one hash for each form: SHA-256 is the only one that is still good.
#[derive(Default)]
pub struct Bodies {
    under_way: [Option<BodyHash>; 2],
    done: [Option<[u8; 32]>; 2],
}

impl Bodies {
    /// From now on the body is hashed in this form, too. It has not begun.
    pub fn want(&mut self, form: Form) {
        let [simple, relaxed] = &mut self.under_way;
        let place = match form {
            Form::Simple => simple,
            Form::Relaxed => relaxed,
        };
        place.get_or_insert_with(|| BodyHash::new(form));
    }

    /// Whether nobody wants a hash.
    pub fn are_unwanted(&self) -> bool {
        self.under_way.iter().all(Option::is_none)
    }

    /// The body goes on.
    pub fn update(&mut self, piece: &[u8]) {
        for hash in self.under_way.iter_mut().flatten() {
            hash.update(piece);
        }
    }

    /// The body is over.
    pub fn finish(&mut self) {
        for (under_way, done) in self.under_way.iter_mut().zip(&mut self.done) {
            *done = under_way.take().map(BodyHash::finish).or(*done);
        }
    }

    /// The hash in this form; none where nobody wanted it, or as long as the body goes on.
    pub fn hash(&self, form: Form) -> Option<[u8; 32]> {
        let [simple, relaxed] = self.done;
        match form {
            Form::Simple => simple,
            Form::Relaxed => relaxed,
        }
    }
}

impl std::fmt::Debug for Bodies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bodies").field("done", &self.done).finish_non_exhaustive()
    }
}
