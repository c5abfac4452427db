//! Mailboxes in their one comparable spelling, where local-parts are compared without case: case-folded and
//! composed.
//!
//! ASCII is its lower case. All else is folded as Unicode's canonical caseless matching has it (D145 in §3.13
//! of the standard: NFD, then full case folding), and composed (NFC), as RFC 6532 §3.1 asks of what is
//! stored. So `JOSÉ` is `josé`, and an accent is the same whether it is part of its letter or comes after it;
//! RFC 6531 §3.3 leaves to the receiver which local-parts are the same.

use std::borrow::Cow;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::{
    ComposingNormalizer, ComposingNormalizerBorrowed, DecomposingNormalizer, DecomposingNormalizerBorrowed,
};

const DECOMPOSE: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizer::new_nfd();
const FOLD: CaseMapperBorrowed<'static> = CaseMapper::new();
const COMPOSE: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfc();

/// The comparable spelling of a text that is not ASCII. None for ASCII, which is compared without case as it
/// is, and for what is not UTF-8, which no address holds. The length may be another one.
pub fn folded(text: &[u8]) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let folded = FOLD.fold_string(&DECOMPOSE.normalize(text)).into_owned();
    // Folding can put marks where normal order has them elsewhere; composing puts all in order.
    Some(COMPOSE.normalize(&folded).into_owned())
}

/// The comparable spelling of any text.
pub fn comparable(text: &[u8]) -> Cow<'_, [u8]> {
    match folded(text) {
        Some(folded) => Cow::Owned(folded.into_bytes()),
        None if text.iter().any(u8::is_ascii_uppercase) => Cow::Owned(text.to_ascii_lowercase()),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        comparable(one.as_bytes()) == comparable(other.as_bytes())
    }

    #[test]
    fn spellings_of_one_local_part_are_one() {
        for spellings in [
            &["anna", "ANNA", "aNNa"][..],
            &["jos\u{e9}", "JOS\u{c9}", "jose\u{301}", "JOSE\u{301}"],
            // Angstrom and Kelvin signs are letters by decomposition.
            &["\u{e5}k", "\u{c5}K", "A\u{30a}k", "\u{212b}\u{212a}"],
            &["stra\u{df}e", "STRASSE", "STRA\u{1e9e}E"],
            &[
                "\u{3b3}\u{3b9}\u{3ce}\u{3c1}\u{3b3}\u{3bf}\u{3c2}",
                "\u{393}\u{399}\u{38f}\u{3a1}\u{393}\u{39f}\u{3a3}",
            ],
            &["\u{438}\u{432}\u{430}\u{43d}", "\u{418}\u{412}\u{410}\u{41d}"],
            // Two marks below and above, in either order.
            &["q\u{323}\u{307}", "Q\u{307}\u{323}"],
            // The mark that folds to a letter (U+0345), before and after another one.
            &["\u{1f80}", "\u{3b1}\u{345}\u{313}", "\u{391}\u{313}\u{399}"],
            &["\u{ac00}", "\u{1100}\u{1161}"],
            &["\u{10d0}", "\u{1c90}"],
            &["i\u{307}", "\u{130}"],
        ] {
            for spelling in spellings {
                assert!(same(spellings[0], spelling), "{:?} is {spelling:?}", spellings[0]);
            }
        }
    }

    #[test]
    fn different_local_parts_stay_different() {
        for (one, other) in [
            ("jose", "jos\u{e9}"),
            ("jos\u{e8}", "jos\u{e9}"),
            ("\u{131}", "i"),
            ("\u{430}nna", "anna"),
            ("\u{ff41}nna", "anna"),
            ("\u{fb01}n", "f\u{131}n"),
            ("\u{b2}", "2"),
            ("an\u{200d}na", "anna"),
        ] {
            assert!(!same(one, other), "{one:?} is not {other:?}");
        }
    }

    #[test]
    fn ascii_is_compared_as_it_is() {
        assert_eq!(folded(b"Anna@X.test"), None);
        assert!(matches!(comparable(b"anna@x.test"), Cow::Borrowed(_)));
        assert_eq!(&*comparable(b"\xff\xfeA"), b"\xff\xfea", "no UTF-8");
    }

    proptest::proptest! {
        #[test]
        fn case_and_composition_make_no_difference(text: String) {
            let spelled = |text: &str| comparable(text.as_bytes()).into_owned();
            let expected = spelled(&text);
            let again = String::from_utf8(expected.clone()).expect("UTF-8");
            proptest::prop_assert_eq!(&spelled(&again), &expected, "it is its own spelling");
            let (decomposed, composed) = (DECOMPOSE.normalize(&text), COMPOSE.normalize(&text));
            proptest::prop_assert_eq!(&spelled(&decomposed), &expected);
            proptest::prop_assert_eq!(&spelled(&composed), &expected);
            proptest::prop_assert_eq!(&spelled(&FOLD.fold_string(&decomposed)), &expected);
        }
    }
}
