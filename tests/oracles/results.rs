//! Authentication-Results beside authres: whatever stands in them, each field that we write is read, and
//! gives back methods, results and properties.
//!
//! What authres 1.2 reads otherwise, and what is compared instead: it loses a quoted value that is not the
//! last of its result (compared: the others); it leaves the backslashes of quoted pairs (compared without
//! them); it reads no UTF-8, which RFC 8601 §2.2 has by RFC 6532 (each letter is replaced before by `u`).

use data_encoding::BASE64;
use ringmx::auth::results::{MethodResult, write};
use serde_json::json;
use support::load::Random;

use crate::python::Python;
use crate::seeds;

const METHODS: &[(&str, &[&str])] = &[
    ("spf", &["smtp.mailfrom", "smtp.helo"]),
    ("dkim", &["header.d", "header.s", "header.a", "header.b"]),
    ("dmarc", &["header.from", "policy.dmarc"]),
    ("iprev", &["policy.iprev"]),
    ("arc", &["header.oldest-pass"]),
];

const RESULTS: &[&str] = &["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"];

/// What strangers may say.
const PARTS: &[&str] = &[
    "a",
    "x.test",
    "@",
    ".",
    "..",
    ";",
    "(",
    ")",
    "\"",
    "\\",
    "'",
    " ",
    "\t",
    "=",
    ",",
    "<",
    ">",
    "[",
    "]",
    "?",
    "/",
    ":",
    "%",
    "*",
    "!",
    "{",
    "|",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{7f}",
    "\u{e9}",
    "\u{1F600}",
    "dkim=pass",
    "; dkim=pass ",
    "header.d=bank.test",
    "none",
    "2001:db8::1",
    "mx1.example.org",
    "-",
    "_",
    "+",
    "~",
    "`",
    "reason=x",
];

fn pick<'a, T: ?Sized>(random: &mut Random, all: &[&'a T]) -> &'a T {
    all[usize::try_from(random.below(all.len() as u64)).expect("an index")]
}

fn value(random: &mut Random) -> Vec<u8> {
    if random.below(40) == 0 {
        return vec![b'x'; usize::try_from(300 + random.below(40)).expect("small")];
    }
    let mut value: Vec<u8> = (0..random.below(6)).flat_map(|_| pick(random, PARTS).bytes()).collect();
    if random.below(30) == 0 {
        value.push(0xff);
    }
    value
}

/// Whether a field can hold it: RFC 8601 §2.2 in the limits of our own.
fn can_stand(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    (1..=320).contains(&text.len()) && !text.bytes().any(|octet| octet.is_ascii_control())
}

/// The quotes that it needs cost authres what comes after it.
fn is_quoted(field: &str, property: &str, value: &str) -> bool {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    field.contains(&format!(" {property}=\"{escaped}\""))
        || field.contains(&format!("\t{property}=\"{escaped}\""))
}

fn without_utf8(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii() { letter } else { 'u' }).collect()
}

#[test]
fn authres_reads_every_field_that_we_write() {
    let Some(mut authres) = Python::start("results") else { return };
    let (mut fields, mut properties, mut lost) = (0_u32, 0_u32, 0_u32);
    for seed in seeds(1000) {
        let mut random = Random::new(seed);
        let count = random.below(5);
        let given: Vec<(&str, &str, Option<String>, Vec<(&str, Vec<u8>)>)> = (0..count)
            .map(|_| {
                let index = usize::try_from(random.below(METHODS.len() as u64)).expect("an index");
                let (method, names) = METHODS[index];
                let comment =
                    (random.below(3) == 0).then(|| String::from_utf8_lossy(&value(&mut random)).into_owned());
                let values = names.iter().map(|name| (*name, value(&mut random))).collect();
                (method, pick(&mut random, RESULTS), comment, values)
            })
            .collect();
        let results: Vec<MethodResult<'_>> = given
            .iter()
            .map(|(method, result, comment, values)| MethodResult {
                method,
                result,
                comment: comment.clone(),
                properties: values.iter().map(|(name, value)| (*name, &value[..])).collect(),
            })
            .collect();
        let field = write("mx1.example.org", &results);
        let text = without_utf8(std::str::from_utf8(&field).expect("UTF-8"));
        let read = authres.ask(&json!({"field": BASE64.encode(text.as_bytes())}));
        let shown = format!("ORACLE_SEED={seed} cargo test --test oracles results\n{text}\n{read}");
        assert_eq!(read["id"], "mx1.example.org", "{shown}");
        let read = read["results"].as_array().expect("results");
        let is_cut = field.len() > 1000;
        assert!(read.len() == results.len() || is_cut && read.len() < results.len(), "{shown}");
        for (read, (method, result, _, values)) in read.iter().zip(&given) {
            assert_eq!((&read["method"], &read["result"]), (&json!(method), &json!(result)), "{shown}");
            let standing: Vec<(&str, String)> = values
                .iter()
                .filter(|(_, value)| can_stand(value))
                .map(|(name, value)| (*name, without_utf8(&String::from_utf8_lossy(value))))
                .collect();
            let last = standing.len().saturating_sub(1);
            let expected: Vec<&(&str, String)> = standing
                .iter()
                .enumerate()
                .filter(|(at, (name, value))| *at == last || !is_quoted(&text, name, value))
                .map(|(_, one)| one)
                .collect();
            lost += u32::try_from(standing.len() - expected.len()).expect("few");
            let read: Vec<(&str, String)> = read["properties"]
                .as_array()
                .expect("properties")
                .iter()
                .map(|one| (one[0].as_str().expect("a name"), unescaped(one[1].as_str().expect("a value"))))
                .collect();
            assert!(read.iter().eq(expected.iter().copied()), "{read:?}\n{expected:?}\n{shown}");
            properties += u32::try_from(read.len()).expect("few");
        }
        fields += 1;
    }
    println!("{fields} fields, {properties} properties; {lost} were lost by authres, quoted before others");
}

fn unescaped(text: &str) -> String {
    let mut escaped = false;
    let mut is_text = |letter: &char| {
        escaped = *letter == '\\' && !escaped;
        !escaped
    };
    text.chars().filter(|letter| is_text(letter)).collect()
}
