//! The content on its way out, some octets at a time, in the form that the next hop takes.

use crate::client::Form;
use crate::client::transparency::{Transparency, Unsendable};

/// Octets that leave at once: the memory of a connection is bounded by them.
const PORTION_BYTES: usize = 256 * 1024;

/// How far a content is.
#[derive(Debug)]
pub(super) struct Outflow {
    at: usize,
    /// None where it goes in a chunk.
    transparency: Option<Transparency>,
}

impl Outflow {
    pub(super) fn new(form: Form) -> Self {
        let transparency = match form {
            Form::Dot => Some(Transparency::new()),
            Form::Chunk => None,
        };
        Self { at: 0, transparency }
    }

    /// Appends the next portion; true when that was the last one, with the end of the mail data.
    pub(super) fn take(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<bool, Unsendable> {
        let end = self.at.saturating_add(PORTION_BYTES).min(content.len());
        let portion = content.get(self.at..end).unwrap_or_default();
        self.at = end;
        match &mut self.transparency {
            None => out.extend_from_slice(portion),
            Some(transparency) => {
                for slice in transparency.slices(portion) {
                    out.extend_from_slice(slice?);
                }
            }
        }
        if end < content.len() {
            return Ok(false);
        }
        if let Some(transparency) = self.transparency.take() {
            out.extend_from_slice(transparency.end()?);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_of_many_portions_is_whole_in_both_forms() {
        let content = b"a line\r\n.dots\r\n".repeat(60_000);
        for (form, expected) in [
            (Form::Chunk, content.clone()),
            (Form::Dot, [b"a line\r\n..dots\r\n".repeat(60_000), b".\r\n".to_vec()].concat()),
        ] {
            let (mut outflow, mut out, mut portions) = (Outflow::new(form), Vec::new(), 1);
            while !outflow.take(&content, &mut out).expect("it can be sent") {
                portions += 1;
            }
            assert_eq!(out, expected, "{form:?}");
            assert!(portions > 1);
        }
        let mut nothing = Vec::new();
        assert_eq!(Outflow::new(Form::Chunk).take(b"", &mut nothing), Ok(true));
        assert_eq!(
            (Outflow::new(Form::Dot).take(b"x", &mut nothing), &*nothing),
            (Ok(true), &b"x\r\n.\r\n"[..])
        );
    }
}
