//! Canonical forms of header fields and bodies (RFC 6376 §3.4).
//!
//! A body comes in pieces of any size and is never put together. What may yet turn out to be at the end of a
//! line, or of the body, is held back as a count. Between irregular places pieces go on as they are.

/// Forms of a header section or a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Octet for octet.
    Simple,
    /// Blanks are brought into one form.
    Relaxed,
}

/// A body on its way into a hash.
#[derive(Debug)]
pub struct Body {
    form: Form,
    /// A CR came last, whose LF may follow.
    cr: bool,
    /// Relaxed: blanks came last that are one blank, or nothing at the end of a line.
    blank: bool,
    /// Line ends that came last and are one at the end of the body.
    line_ends: u64,
    /// Something went on.
    is_begun: bool,
}

/// Line ends that go on with one call.
const LINE_ENDS: &[u8] = b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";

impl Body {
    /// An empty one.
    pub fn new(form: Form) -> Self {
        Self { form, cr: false, blank: false, line_ends: 0, is_begun: false }
    }

    /// The body goes on. `hash` takes its canonical form.
    pub fn update(&mut self, mut piece: &[u8], hash: &mut impl FnMut(&[u8])) {
        if piece.is_empty() {
            return;
        }
        if std::mem::take(&mut self.cr) {
            if let Some(rest) = piece.strip_prefix(b"\n") {
                self.end_line();
                piece = rest;
            } else {
                self.go_on(b"\r", hash);
            }
        }
        match self.form {
            Form::Simple => self.update_simple(piece, hash),
            Form::Relaxed => self.update_relaxed(piece, hash),
        }
    }

    /// The body is over.
    pub fn finish(mut self, hash: &mut impl FnMut(&[u8])) {
        if self.cr {
            self.go_on(b"\r", hash);
        }
        // An empty body is a line end in the simple form, and nothing in the relaxed one (§3.4.3, §3.4.4).
        if self.is_begun || self.form == Form::Simple {
            hash(b"\r\n");
        }
    }

    fn update_simple(&mut self, piece: &[u8], hash: &mut impl FnMut(&[u8])) {
        let mut before = piece;
        let cr = before.strip_suffix(b"\r");
        before = cr.unwrap_or(before);
        let mut line_ends = 0;
        while let Some(rest) = before.strip_suffix(b"\r\n") {
            before = rest;
            line_ends += 1;
        }
        if !before.is_empty() {
            self.go_on(before, hash);
        }
        self.line_ends += line_ends;
        self.cr = cr.is_some();
    }

    fn update_relaxed(&mut self, piece: &[u8], hash: &mut impl FnMut(&[u8])) {
        // From here on the piece goes on as it is.
        let (mut start, mut at) = (0, 0);
        let is_plain = |octet: Option<&u8>| octet.is_some_and(|octet| !matches!(octet, b' ' | b'\t' | b'\r'));
        while let Some(found) = piece.get(at..).and_then(|rest| memchr::memchr3(b' ', b'\t', b'\r', rest)) {
            let place = at + found;
            let rest = piece.get(place..).unwrap_or_default();
            // One blank between words, and a line end between them, are as they have to be.
            let is_regular = |length: usize| place > start && is_plain(piece.get(place + length));
            if rest.starts_with(b" ") && is_regular(1) {
                at = place + 1;
            } else if rest.starts_with(b"\r\n") && is_regular(2) {
                at = place + 2;
            } else {
                self.go_on(piece.get(start..place).unwrap_or_default(), hash);
                start = place + self.take_irregular(rest, hash);
                at = start;
            }
        }
        self.go_on(piece.get(start..).unwrap_or_default(), hash);
    }

    /// Takes what stands at a blank or CR; gives how many octets.
    fn take_irregular(&mut self, rest: &[u8], hash: &mut impl FnMut(&[u8])) -> usize {
        match rest {
            [b' ' | b'\t', ..] => {
                self.blank = true;
                1
            }
            [b'\r', b'\n', ..] => {
                self.end_line();
                2
            }
            [b'\r'] => {
                self.cr = true;
                1
            }
            _ => {
                self.go_on(rest.get(..1).unwrap_or_default(), hash);
                1
            }
        }
    }

    fn end_line(&mut self) {
        self.blank = false;
        self.line_ends += 1;
    }

    /// Octets that are in the canonical form, and all before them.
    fn go_on(&mut self, octets: &[u8], hash: &mut impl FnMut(&[u8])) {
        if octets.is_empty() {
            return;
        }
        while self.line_ends > 0 {
            let count = self.line_ends.min(LINE_ENDS.len() as u64 / 2);
            hash(LINE_ENDS.get(..2 * usize::try_from(count).unwrap_or(0)).unwrap_or_default());
            self.line_ends -= count;
        }
        if std::mem::take(&mut self.blank) {
            hash(b" ");
        }
        hash(octets);
        self.is_begun = true;
    }
}

/// A header field in its canonical form. `whole` ends with its CRLF, which stays.
pub fn field(form: Form, name: &[u8], value: &[u8], whole: &[u8], hash: &mut impl FnMut(&[u8])) {
    match form {
        Form::Simple => hash(whole),
        Form::Relaxed => {
            let mut octets = name.to_ascii_lowercase();
            octets.push(b':');
            relax_into(value, &mut octets);
            octets.extend_from_slice(b"\r\n");
            hash(&octets);
        }
    }
}

/// Unfolds, makes one blank of each run, and leaves none at the ends.
fn relax_into(value: &[u8], into: &mut Vec<u8>) {
    let mut blank = false;
    let mut is_begun = false;
    let mut rest = value;
    while let Some((octet, after)) = rest.split_first() {
        rest = match octet {
            b' ' | b'\t' => {
                blank = true;
                after
            }
            // The value has no line end but those of its folds.
            b'\r' if after.starts_with(b"\n") => after.get(1..).unwrap_or_default(),
            _ => {
                if std::mem::take(&mut blank) && is_begun {
                    into.push(b' ');
                }
                into.push(*octet);
                is_begun = true;
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text of RFC 6376 §3.4.3 and §3.4.4, word for word, over a whole body.
    fn naive(form: Form, body: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut rest = body;
        while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
            lines.push(rest[..end].to_vec());
            rest = &rest[end + 2..];
        }
        if !rest.is_empty() {
            lines.push(rest.to_vec());
        }
        if form == Form::Relaxed {
            for line in &mut lines {
                let mut relaxed: Vec<u8> = Vec::new();
                for octet in line.iter().map(|octet| if *octet == b'\t' { b' ' } else { *octet }) {
                    if octet != b' ' || relaxed.last() != Some(&b' ') {
                        relaxed.push(octet);
                    }
                }
                if relaxed.last() == Some(&b' ') {
                    relaxed.pop();
                }
                *line = relaxed;
            }
        }
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        let mut canonical: Vec<u8> =
            lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect();
        if canonical.is_empty() && form == Form::Simple {
            canonical.extend_from_slice(b"\r\n");
        }
        canonical
    }

    fn streamed(form: Form, pieces: &[&[u8]]) -> Vec<u8> {
        let mut canonical = Vec::new();
        let mut body = Body::new(form);
        for piece in pieces {
            body.update(piece, &mut |octets| canonical.extend_from_slice(octets));
        }
        body.finish(&mut |octets| canonical.extend_from_slice(octets));
        canonical
    }

    #[test]
    fn the_example_of_the_standard() {
        // §3.4.5
        let body = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(streamed(Form::Relaxed, &[body]), b" C\r\nD E\r\n");
        assert_eq!(streamed(Form::Simple, &[body]), b" C \r\nD \t E\r\n");
        let canonical = |form, name: &[u8], value: &[u8], whole: &[u8]| {
            let mut octets = Vec::new();
            field(form, name, value, whole, &mut |part| octets.extend_from_slice(part));
            octets
        };
        assert_eq!(canonical(Form::Relaxed, b"A", b" X", b"A: X\r\n"), b"a:X\r\n");
        let whole = b"B : Y\t\r\n\tZ  \r\n";
        assert_eq!(canonical(Form::Relaxed, b"B", b" Y\t\r\n\tZ  ", whole), b"b:Y Z\r\n");
        assert_eq!(canonical(Form::Simple, b"B", b" Y\t\r\n\tZ  ", whole), whole);
    }

    #[test]
    fn empty_bodies_and_bodies_of_blank_lines() {
        for (body, simple, relaxed) in [
            (&b""[..], &b"\r\n"[..], &b""[..]),
            (b"\r\n", b"\r\n", b""),
            (b"\r\n\r\n", b"\r\n", b""),
            (b" \t\r\n \r\n", b" \t\r\n \r\n", b""),
            (b"a", b"a\r\n", b"a\r\n"),
            (b"a \r\n \r\nb", b"a \r\n \r\nb\r\n", b"a\r\n\r\nb\r\n"),
            (b"\r", b"\r\r\n", b"\r\r\n"),
            (b"a\nb\n", b"a\nb\n\r\n", b"a\nb\n\r\n"),
        ] {
            assert_eq!(streamed(Form::Simple, &[body]), simple, "{}", body.escape_ascii());
            assert_eq!(streamed(Form::Relaxed, &[body]), relaxed, "{}", body.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_split_of_a_body_has_one_form(
            body in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'\t'), Just(b'\r'), Just(b'\n'), Just(b'a')], 0..24),
            cuts in proptest::collection::vec(0_usize..24, 0..4),
            lines in any::<bool>(),
        ) {
            let body: Vec<u8> = if lines {
                body.iter().flat_map(|octet| if *octet == b'\n' { vec![b'\r', b'\n'] } else { vec![*octet] }).collect()
            } else {
                body
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&body[start..cut]);
                start = cut;
            }
            pieces.push(&body[start..]);
            for form in [Form::Simple, Form::Relaxed] {
                prop_assert_eq!(streamed(form, &pieces), naive(form, &body), "{:?} {:?}", form, pieces);
            }
        }
    }
}
