//! Any files: what the operator writes, the configuration and the file of recipients, and what is in a spool.
//! Each is read, or what is wrong with it is told; nothing good is lost because of something bad. A failure
//! prints its seed.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use ringmx::config::{Problem, recipients};
use ringmx::sink::spool::cursor::Cursor;
use ringmx::sink::spool::follow::Follower;
use ringmx::sink::spool::format::SegmentHeader;
use ringmx::sink::spool::prune::prune;
use ringmx::sink::spool::reader;

use support::operator_files::{changed_reference, check_configuration, check_recipients};
use support::spool_octets;

/// A text of such lines and anything else.
fn text(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        12 => (0..parts.len()).prop_map(|index| parts[index].to_owned()),
        2 => Just("\n".to_owned()),
        1 => any::<char>().prop_map(|c| c.to_string()),
        1 => "[ -~]{0,9}",
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

const TOML: &[&str] = &[
    "[[listener]]\n",
    "[[sink]]\n",
    "[limits]\n",
    "[tls]\n",
    "[[tls.certificate]]\n",
    "[[shard]]\n",
    "[log]\n",
    "[sink]\n",
    "address = \"127.0.0.1:0\"\n",
    "address = \"[::]:25\"\n",
    "kind = \"discard\"\n",
    "kind = \"spool\"\n",
    "path = \"x\"\n",
    "domains = [\"example.org\", \"*.b\u{fc}cher.test\"]\n",
    "hostname = \"mx.test\"\n",
    "postmaster = \"a@b.test\"\n",
    "proxy_from = [\"192.0.2.0/24\"]\n",
    "xclient_from = [\"::/0\"]\n",
    "message_size_max = \"1GiB\"\n",
    "errors_max = 1\n",
    "segment_size = \"18446744073709551615\"\n",
    "block_memory = \"16777216GiB\"\n",
    "buffers = 32768\n",
    "core = 0\n",
    "= ",
    "\"",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "\\u{7f}",
    "\r\n",
    "\u{feff}",
    "\t",
    "#",
    "a.b.c = 1\n",
    "1979-05-27\n",
];

const RECIPIENTS: &[&str] = &[
    "anna@example.org\n",
    "@example.org\n",
    "# us\n",
    "\r\n",
    "\n",
    "\"a b\"@example.org\n",
    "j\u{fc}rgen@b\u{fc}cher.test\n",
    "x@[192.0.2.1]\n",
    "*@example.org\n",
    "a+b@example.org",
    "mailto:",
    "<",
    ">",
    ",",
    ";",
    "@",
    ".",
    "\"",
    "\\",
    " ",
    "\t",
    "\u{feff}",
    "\u{200b}",
    "\u{130}",
    "i\u{307}",
    "\u{17f}",
    "\u{df}",
    "\u{212a}",
    "\u{ff41}",
    "e\u{301}",
    "xn--",
    "a",
    "B",
    "-",
    "_",
];

/// An operation that `spool_octets::files` knows.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    let octets = |count| prop::collection::vec(any::<u8>(), 0..count);
    let counted = |octets: Vec<u8>| [&[u8::try_from(octets.len()).unwrap_or(0)][..], &octets].concat();
    prop_oneof![
        8 => any::<u8>().prop_map(|count| vec![b'R', count]),
        3 => Just(b"B".to_vec()),
        2 => (0..26_u8, octets(20)).prop_map(move |(tag, value)| [&[b'F', tag][..], &counted(value)].concat()),
        1 => any::<u8>().prop_map(|count| vec![b'K', count]),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(what, by)| vec![b'L', what, by]),
        1 => any::<u8>().prop_map(|count| vec![b'G', count]),
        1 => any::<u8>().prop_map(|skip| vec![b'S', skip]),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(at, by)| vec![b'H', at, by]),
        1 => any::<u8>().prop_map(|count| vec![b'T', count]),
        2 => (0..96_u8, any::<u8>(), any::<u8>()).prop_map(|(high, low, by)| vec![b'X', high, low, by]),
        1 => octets(40).prop_map(move |text| [&b"C"[..], &counted(text)].concat()),
        1 => (0..12_u8).prop_map(|index| vec![b'c', index]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/tools/any_files.regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_is_a_configuration_or_told(text in text(TOML)) {
        check_configuration(&text);
    }

    #[test]
    fn the_reference_with_changes_is_a_configuration_or_told(changes in prop::collection::vec(any::<u8>(), 0..30)) {
        check_configuration(&changed_reference(&changes));
    }

    #[test]
    fn any_octets_are_recipients_or_told(text in text(RECIPIENTS), odd in prop::option::of((any::<u8>(), 0..60_usize))) {
        let mut octets = text.into_bytes();
        if let Some((odd, at)) = odd {
            octets.insert(at.min(octets.len()), odd);
        }
        check_recipients(&octets);
    }

    #[test]
    fn all_that_reads_a_spool_says_the_same(flags in 0..8_u8, operations in prop::collection::vec(operation(), 0..24)) {
        spool_octets::check(&[&[flags][..], &operations.concat()].concat());
    }
}

/// Without its quotes each is a comment, a pattern, or longer than a path.
#[test]
fn a_mailbox_in_quotes_is_what_it_says() {
    let long = |letters: usize| format!("{}@{}test", "a".repeat(letters), "\u{fc}.".repeat(30));
    for text in [
        "\"#\"@x.test",
        "\"#a\"@x.test",
        "\"$a\"@b\u{fc}cher.test",
        "\"*\"@x.test",
        "\"a%\"@x.test",
        "\"-\"@x.test",
        &long(9),
    ] {
        assert!(recipients::parse(Path::new("recipients.txt"), text.as_bytes()).is_ok(), "{text}");
        check_recipients(text.as_bytes());
    }
    let problems = recipients::parse(Path::new("recipients.txt"), long(10).as_bytes()).expect_err("too long");
    let [Problem(finding)] = &problems[..] else { panic!("{problems:?}") };
    assert!(finding.text.ends_with("is over 254 octets with its domain as A-labels"), "{finding:?}");
}

#[test]
fn a_cursor_behind_the_end_of_every_file_names_no_record() {
    let spool = tempfile::tempdir().expect("a directory");
    let segment = SegmentHeader { salt: 1, sequence: 1, bytes: 1 << 20, is_zeroed: true };
    std::fs::write(spool.path().join("0000000000000001.segment"), segment.encode()).expect("written");
    for offset in [1 << 62, i64::MAX.unsigned_abs() - 7, i64::MAX.unsigned_abs(), 1 << 63, u64::MAX] {
        let cursor = Cursor { sequence: 1, offset };
        std::fs::write(spool.path().join("consumed"), cursor.to_string()).expect("written");
        assert_eq!(reader::last_consumed(spool.path()).expect("no record"), None, "{cursor}");
        reader::list(spool.path(), Some(cursor), &mut Vec::new()).expect("nothing behind it");
        let mut follower = Follower::new(spool.path(), Some(cursor), true, &mut |_| {}).expect("a spool");
        assert!(!follower.advance(&mut |_| {}, &mut |_| Ok(())).expect("nothing behind it"), "{cursor}");
        let refused = prune(spool.path(), cursor).expect_err("no record");
        assert!(refused.to_string().starts_with("no record begins at"), "{refused}");
    }
}

#[test]
fn a_follower_passes_the_segment_of_the_highest_number() {
    let spool = tempfile::tempdir().expect("a directory");
    let name = format!("{:016x}.segment", u64::MAX);
    for is_damaged in [false, true] {
        let header = SegmentHeader { salt: 1, sequence: u64::MAX, bytes: 1 << 20, is_zeroed: true };
        let octets = if is_damaged { vec![0; 48] } else { header.encode() };
        std::fs::write(spool.path().join(&name), octets).expect("written");
        let mut follower = Follower::new(spool.path(), None, true, &mut |_| {}).expect("a spool");
        assert!(!follower.advance(&mut |_| {}, &mut |_| Ok(())).expect("nothing in it"));
    }
}
