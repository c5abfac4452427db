//! Mail data in memory.

use std::collections::{HashMap, HashSet};

use super::checksum::Text;
use super::fingerprints::Fingerprints;
use super::id::{Id, find_id};
use super::text::TEXT_COLUMNS;
use super::*;

fn corpus(size: u64) -> Result<Corpus, TooSmall> {
    Corpus::new(&Recipe { size: Size::Fixed(size), run: 7, ..Recipe::for_tests() })
}

/// What a receiver makes of it: the lines up to the single dot, transparency removed.
fn received(corpus: &Corpus, number: u64) -> Vec<u8> {
    let mut sent = Vec::new();
    let rest = corpus.write_head(number, false, &mut sent);
    sent.extend_from_slice(rest);
    let lines = str::from_utf8(&sent).expect("ASCII").split("\r\n");
    assert!(corpus.senders.is_some() || lines.clone().all(|line| line.len() <= 1 + TEXT_COLUMNS.max(78)));
    text_of(&sent)
}

/// What was sent, without the single dot at its end and without transparency.
fn text_of(sent: &[u8]) -> Vec<u8> {
    let text = str::from_utf8(sent).expect("ASCII");
    let body = text.strip_suffix("\r\n.\r\n").expect("end of mail data");
    let lines = body.split("\r\n").map(|line| {
        assert!(line.len() <= 998 && line != "." && !line.contains(['\r', '\n']));
        line.strip_prefix('.').unwrap_or(line)
    });
    lines.flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}

#[test]
fn a_message_has_the_size_asked_for() {
    let TooSmall { minimum } = corpus(0).expect_err("no header fits");
    assert!(minimum < 512, "{minimum}");
    assert_eq!(corpus(minimum - 1).err(), Some(TooSmall { minimum }));
    for size in (minimum..minimum + 400).chain([4096, 65_536]) {
        let corpus = corpus(size).expect("large enough");
        assert_eq!(received(&corpus, 1).len() as u64, size);
        assert_eq!((corpus.size_of(1), corpus.size_mean(), corpus.size_max()), (size, size, size));
    }
}

#[test]
fn lines_that_begin_with_a_dot_get_another() {
    let corpus = corpus(65_536).expect("large enough");
    let stuffed = corpus.variants[0].octets.windows(4).filter(|at| at == b"\r\n..").count();
    assert!(stuffed > 30, "{stuffed}");
    assert_eq!(corpus.variants[0].octets.windows(5).filter(|at| at == b"\r\n.\r\n").count(), 1);
}

#[test]
fn every_message_can_be_told_apart() {
    let corpus = corpus(1024).expect("large enough");
    let heads: HashSet<Vec<u8>> = (0..1000).map(|number| received(&corpus, number)).collect();
    assert_eq!(heads.len(), 1000);
    let mut head = Vec::new();
    corpus.write_head(0xBEEF, false, &mut head);
    let id = "0000000000000007-000000000000beef";
    let expected = format!("X-Loadgen-Id: {id}\r\nMessage-ID: <{id}@loadgen.test>\r\n");
    assert_eq!(String::from_utf8_lossy(&head), expected);
}

#[test]
fn variants_differ_and_large_mail_has_fewer() {
    assert_eq!(corpus(25 << 20).expect("large enough").variants.len(), 2);
    let corpus = corpus(4096).expect("large enough");
    let texts: HashSet<&[u8]> = corpus.variants.iter().map(|variant| variant.octets).collect();
    assert_eq!(texts.len() as u64, VARIANTS_MAX);
    let body = |number| received(&corpus, number).split_off(300);
    assert_ne!(body(0), body(1));
    assert_eq!(body(0), body(VARIANTS_MAX));
}

#[test]
fn the_fingerprint_is_that_of_what_is_stored() {
    use super::checksum::Fingerprint;
    let corpus = corpus(6000).expect("large enough");
    let fingerprints = Fingerprints::new(&corpus);
    for number in [0, 1, 30, 31, HUGE - 1] {
        let crlf = received(&corpus, number);
        let lf = String::from_utf8(crlf.clone()).expect("ASCII").replace("\r\n", "\n").into_bytes();
        let text = Text { crlf: Fingerprint::of(&crlf), lf: Fingerprint::of(&lf) };
        assert_eq!(fingerprints.of(&corpus, number), text);
        assert_eq!(text.crlf.bytes, 6000);
        for stored in [crlf, lf] {
            let trace = b"Received: from x\n\tby y\n";
            let stored = [trace, &stored[..]].concat();
            assert_eq!(find_id(&stored), Some((Id { run: 7, number }, trace.len())));
        }
    }
    assert_eq!(find_id(b"X-Loadgen-Id: 12\n"), None);
}
#[test]
fn chunks_carry_the_text_as_it_is_and_the_fingerprint_is_the_same() {
    let texts = [b"Subject: x\r\n\r\n.dot\r\n".to_vec(), b"Subject: \xE4\r\n\r\n".to_vec()];
    let recipe = Recipe { samples: Some(&texts), next_group: b"MAIL", ..Recipe::for_tests() };
    let dotted = Corpus::new(&recipe).expect("a corpus");
    let chunked = Corpus::new(&Recipe { chunked: true, ..recipe }).expect("a corpus");
    let rest = |corpus: &Corpus, group| corpus.write_head(0, group, &mut Vec::new());
    assert_eq!(rest(&dotted, true), b"Subject: x\r\n\r\n..dot\r\n.\r\nMAIL");
    assert_eq!(rest(&dotted, false), b"Subject: x\r\n\r\n..dot\r\n.\r\n");
    assert_eq!(rest(&chunked, false), texts[0]);
    assert_eq!(Fingerprints::new(&dotted).of(&dotted, 0), Fingerprints::new(&chunked).of(&chunked, 0));
    assert!(dotted.is_8bit() && dotted.size_of(0) == chunked.size_of(0));
}

#[test]
fn sizes_may_vary_and_large_messages_have_numbers_of_their_own() {
    let recipe = Recipe { size: Size::Profile, huge: true, ..Recipe::for_tests() };
    let corpus = Corpus::new(&recipe).expect("a corpus");
    let mut sizes: Vec<u64> = (0..VARIANTS_VARYING).map(|number| corpus.size_of(number)).collect();
    assert!(!sizes.is_sorted());
    sizes.sort_unstable();
    assert!((50 << 10..75 << 10).contains(&sizes[63]));
    assert_eq!(corpus.size_of(HUGE | 5), HUGE_BYTES);
}

#[test]
fn signed_and_forged_messages_have_their_fingerprints_and_sizes() {
    use super::checksum::Fingerprint;
    let mix = "ed25519:3,none".parse().expect("a mix");
    let forgery = "mx.test:50".parse().expect("a forgery");
    for chunked in [false, true] {
        let recipe = Recipe {
            size: Size::Fixed(3000),
            sign: Some((&mix, 20)),
            forged: Some(&forgery),
            chunked,
            ..Recipe::for_tests()
        };
        let corpus = Corpus::new(&recipe).expect("large enough");
        let fingerprints = Fingerprints::new(&corpus);
        let mut cut = 0;
        for number in (0..300).chain([HUGE - 1]) {
            let mut stored = Vec::new();
            let rest = corpus.write_head(number, false, &mut stored);
            stored.extend_from_slice(rest);
            if !chunked {
                stored = text_of(&stored);
            }
            let known = |octets: &[u8]| {
                let lf: Vec<u8> = octets.iter().copied().filter(|octet| *octet != b'\r').collect();
                Text { crlf: Fingerprint::of(octets), lf: Fingerprint::of(&lf) }
            };
            assert_eq!(fingerprints.of(&corpus, number), known(&stored), "{number}");
            assert_eq!(corpus.size_of(number), stored.len() as u64);
            let mail = String::from_utf8_lossy(corpus.mail_of(number).expect("a sender")).into_owned();
            let mailbox = mail.trim_end().strip_prefix("MAIL FROM:").expect("MAIL");
            assert!(String::from_utf8_lossy(&stored).contains(&format!("From: loadgen {mailbox}\r\n")));
            let Some(left) = fingerprints.cut_of(&corpus, number) else {
                assert!(corpus.block_of(number).is_none_or(|block| block == 5));
                continue;
            };
            cut += 1;
            let block =
                &corpus.forged.as_ref().expect("forged").blocks()[corpus.block_of(number).expect("one")];
            let at = stored.windows(block.sent.len()).position(|octets| octets == block.sent).expect("there");
            stored.splice(at..at + block.sent.len(), block.cut.iter().copied());
            assert_eq!(left, known(&stored), "{number}");
        }
        assert!(cut > 100, "{cut}");
        assert!(corpus.size_max() > 3000 + 8192 && corpus.size_mean() == 3000);
    }
}

#[test]
fn all_texts_of_a_sender_are_the_same_but_for_their_ids() {
    let mix = "ed25519".parse().expect("a mix");
    let recipe = Recipe { size: Size::Fixed(2000), sign: Some((&mix, 3)), ..Recipe::for_tests() };
    let corpus = Corpus::new(&recipe).expect("large enough");
    let mut texts: HashMap<usize, Vec<u8>> = HashMap::new();
    let mut count = 0;
    for number in 0..9000 {
        let text = received(&corpus, number).split_off(Corpus::ids_bytes(&corpus.head));
        let sender = corpus.sender_of(number).expect("a sender");
        count += usize::from(texts.contains_key(&sender));
        assert_eq!(texts.entry(sender).or_insert_with(|| text.clone()), &text);
    }
    assert!(count > 7000, "they come again");
    let distinct: HashSet<&Vec<u8>> = texts.values().collect();
    assert!(distinct.len() > 31, "{}", distinct.len());
}
