//! Authentication-Results beside authres: whatever stands in them, each field that we write is read, and
//! gives back methods, results and properties.
//!
//! What authres 1.2 reads otherwise, and what is compared instead: it loses a quoted value that is not the
//! last of its result (compared: the others, and each alone in a field); it leaves the backslashes of quoted
//! pairs (compared without them).

use data_encoding::BASE64;
use ringmx::auth::results::{MethodResult, write};
use serde_json::{Value, json};
use support::load::Random;

use crate::python::Python;
use crate::{Again, seeds};

const OURS: &str = "mx1.example.org";

const METHODS: &[(&str, &[&str])] = &[
    ("spf", &["smtp.mailfrom", "smtp.helo"]),
    ("dkim", &["header.d", "header.s", "header.a"]),
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

/// Whether a field can hold it: RFC 8601 §2.2 in the limits of our own, which are ASCII and nothing that
/// reads like a result.
fn can_stand(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let is_printable =
        (1..=320).contains(&text.len()) && text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    let reads_like_a_result =
        ["spf=", "dkim=", "dmarc=", "arc=", "iprev=", "auth="].iter().any(|method| text.contains(method));
    is_printable && !reads_like_a_result
}

/// A result with what strangers said.
struct Given {
    method: &'static str,
    result: &'static str,
    comment: Option<String>,
    values: Vec<(&'static str, Vec<u8>)>,
}

impl Given {
    fn random(random: &mut Random) -> Self {
        let index = usize::try_from(random.below(METHODS.len() as u64)).expect("an index");
        let (method, names) = METHODS[index];
        let has_comment = random.below(3) == 0;
        let comment = has_comment.then(|| String::from_utf8_lossy(&value(random)).into_owned());
        let values = names.iter().map(|name| (*name, value(random))).collect();
        Self { method, result: pick(random, RESULTS), comment, values }
    }

    fn with(&self, values: &[(&'static str, Vec<u8>)]) -> Self {
        Self { method: self.method, result: self.result, comment: None, values: values.to_vec() }
    }

    fn to_result(&self) -> MethodResult<'_> {
        MethodResult {
            method: self.method,
            result: self.result,
            comment: self.comment.clone(),
            properties: std::array::from_fn(|index| {
                self.values.get(index).map(|(name, value)| (*name, &value[..]))
            }),
        }
    }

    /// What a field can hold of it.
    fn standing(&self) -> Vec<(&'static str, Vec<u8>)> {
        self.values.iter().filter(|(_, value)| can_stand(value)).cloned().collect()
    }
}

/// A field as authres reads it.
struct Read {
    text: String,
    results: Vec<ReadResult>,
}

#[derive(Debug, PartialEq, Eq)]
struct ReadResult {
    method: String,
    result: String,
    properties: Vec<(String, String)>,
}

fn read(authres: &mut Python, given: &[Given]) -> Read {
    let results: Vec<MethodResult<'_>> = given.iter().map(Given::to_result).collect();
    let mut field = Vec::new();
    write(OURS, &results, &mut field);
    let text = String::from_utf8(field).expect("UTF-8");
    let answer = authres.ask(&json!({"field": BASE64.encode(text.as_bytes())}));
    assert_eq!(answer["id"], OURS, "{text}\n{answer}");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let property = |one: &Value| (word(&one[0]), unescaped(&word(&one[1])));
    let result = |one: &Value| ReadResult {
        method: word(&one["method"]),
        result: word(&one["result"]),
        properties: list(&one["properties"]).iter().map(property).collect(),
    };
    Read { results: list(&answer["results"]).iter().map(result).collect(), text }
}

/// Whether a value stands in quotes there.
fn is_quoted(field: &str, property: &str, value: &str) -> bool {
    let quoted = format!("{property}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    field.contains(&quoted)
}

fn unescaped(text: &str) -> String {
    let mut escaped = false;
    let mut is_text = |letter: &char| {
        escaped = *letter == '\\' && !escaped;
        !escaped
    };
    text.chars().filter(|letter| is_text(letter)).collect()
}

#[test]
fn authres_reads_every_field_that_we_write() {
    let Some(mut authres) = Python::start("results") else { return };
    let (mut fields, mut properties) = (0_u32, 0);
    for seed in seeds(1000) {
        let _again = Again("results", seed);
        let mut random = Random::new(seed);
        let given: Vec<Given> = (0..random.below(5)).map(|_| Given::random(&mut random)).collect();
        let Read { text, results } = read(&mut authres, &given);
        let is_cut = text.len() > 1000;
        assert!(results.len() == given.len() || is_cut && results.len() < given.len(), "{text}");
        // Of those that do not fit the last stays.
        let stay = given.iter().take(results.len().saturating_sub(1)).chain(given.last());
        for (read_result, given) in results.iter().zip(stay) {
            let standing = given.standing();
            let as_read = |(name, value): &(&'static str, Vec<u8>)| {
                ((*name).to_owned(), String::from_utf8_lossy(value).into_owned())
            };
            let is_kept = |at: usize, (name, value): &(String, String)| {
                at + 1 == standing.len() || !is_quoted(&text, name, value)
            };
            let all = standing.iter().map(as_read).enumerate();
            let kept = all.filter(|(at, one)| is_kept(*at, one)).map(|(_, one)| one).collect();
            let (method, result) = (given.method.to_owned(), given.result.to_owned());
            assert_eq!(*read_result, ReadResult { method, result, properties: kept }, "{text}");
            // Alone in a field each has to come back.
            for one in &standing {
                let Read { text, results } = read(&mut authres, &[given.with(std::slice::from_ref(one))]);
                assert_eq!(results[0].properties, [as_read(one)], "{text}");
                properties += 1;
            }
        }
        fields += 1;
    }
    println!("{fields} fields, {properties} properties");
}
