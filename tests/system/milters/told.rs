//! What a milter is told of messages of all sorts is what was sent, and that is what is stored.

use std::fs;

use support::client::{Client, stuffed};
use support::fake_milter::{ACTIONS, FakeMilter, agrees};
use support::py_milter::PyMilter;
use support::server::{Server, without_trace};

use super::{HOSTNAME, milter, receiver, send_to, stored};

/// Little memory, so that large messages go into files.
const SMALL: &str = "buffers = 64\nbuffer_size = \"16KiB\"\nblock_memory = \"33MiB\"\n[limits]\nmessage_size_max = \"32MiB\"\n";

/// It answers nothing but the end (`SMFIP_NR_…`).
const SILENT: u32 = 0x000F_F080;
/// Chunks of 256 KiB (`SMFIP_MDS_256K`).
const LARGE_CHUNKS: u32 = 1 << 28;
const LARGE_CHUNK_BYTES: usize = (256 << 10) - 1;
const LEADING_SPACE: u32 = 1 << 20;

fn fake(protocol: u32) -> FakeMilter {
    FakeMilter::new(move |command, _| match command {
        b'O' => Some(vec![agrees(ACTIONS, protocol)]),
        b'E' => None,
        _ => (protocol & SILENT != 0).then(Vec::new),
    })
}

/// Data of a command: texts, each with its NUL.
fn texts(data: &[u8]) -> Vec<String> {
    let data = data.strip_suffix(b"\0").expect("a NUL at the end");
    data.split(|octet| *octet == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// What it was told by one of these commands, in order.
fn of(milter: &FakeMilter, command: u8) -> Vec<Vec<u8>> {
    milter.told().into_iter().filter(|(told, _)| *told == command).map(|(_, data)| data).collect()
}

fn fields(milter: &FakeMilter) -> Vec<(String, String)> {
    let told = of(milter, b'L').into_iter().map(|data| match &texts(&data)[..] {
        [name, value] => (name.clone(), value.clone()),
        other => panic!("{other:?}"),
    });
    told.collect()
}

fn long_body(bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes + 64);
    while body.len() < bytes {
        body.extend_from_slice(
            format!(".{} line {} \u{e9}\0\r\n", ".".repeat(body.len() % 3), body.len()).as_bytes(),
        );
    }
    body
}

/// Mail data, its fields, its body.
type Case = (Vec<u8>, Vec<(String, String)>, Vec<u8>);

fn case(header: &str, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Case {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ([header.as_bytes(), body.as_ref()].concat(), fields, body.as_ref().to_vec())
}

fn cases() -> Vec<Case> {
    let many: Vec<(String, String)> = (0..1000).map(|at| (format!("X-{at}"), "y".repeat(200))).collect();
    let header = many.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect::<String>();
    let long = "z".repeat(900);
    let folded = format!("A: {long}\r\n");
    vec![
        case("A:b\r\n\r\n", &[("A", "b")], "c\r\n"),
        case("", &[], ""),
        case("\r\n", &[], ""),
        case("\r\n", &[], "A: b\r\n"),
        case("A: b\r\n", &[("A", "b")], ""),
        case("A: b\r\n\r\n", &[("A", "b")], ""),
        case("A: b\r\n c\r\n\td\r\nB:  e \r\n\r\n", &[("A", "b\n c\n\td"), ("B", " e ")], "x\r\n\r\ny\r\n"),
        case("A:\r\nB: \r\n\r\n", &[("A", ""), ("B", "")], "\r\n"),
        case("", &[], "hello\r\nworld\r\n"),
        case("", &[], "hello\r\n\r\nworld\r\n"),
        case("", &[], " A: b\r\nB: c\r\n\r\nworld\r\n"),
        case("A: b\r\n", &[("A", "b")], "hello\r\nB: c\r\n\r\nworld\r\n"),
        case("A: \u{f6}\r\nB: c\r\n\r\n", &[("A", "\u{f6}"), ("B", "c")], b"\xf6\xff\r\n"),
        case("A: b\0c\r\n\r\n", &[("A", "b?c")], "x\0y\r\n"),
        case("A: b\r\n\r\n", &[("A", "b")], long_body(200 << 10)),
        case(&folded, &[("A", &long)], ""),
        (format!("{header}\r\nx\r\n").into_bytes(), many, b"x\r\n".to_vec()),
        // No empty line where it is looked for.
        case("A: b\r\n", &[("A", "b")], "text without an end\r\n".repeat(100_000)),
    ]
}

#[test]
fn a_milter_is_told_every_octet() {
    for protocol in [0, SILENT, SILENT | LARGE_CHUNKS] {
        let milter_at = fake(protocol);
        let chunk_max = if protocol & LARGE_CHUNKS != 0 { LARGE_CHUNK_BYTES } else { 65_535 };
        let server = Server::start_whole(&format!(
            "hostname = \"{HOSTNAME}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{}[[sink]]\nkind = \
             \"maildir\"\npath = \"mail\"\nline_endings = \"crlf\"\n[shards]\ncpus = [0]\n{SMALL}",
            milter(&milter_at.socket(), "")
        ));
        for (data, expected, body) in cases() {
            milter_at.forget();
            let shown = String::from_utf8_lossy(&data).chars().take(60).collect::<String>();
            let reply = send_to(&server, &["b@y.test"], &data);
            assert!(reply.starts_with("250"), "{protocol:#x} {shown:?}: {reply} {:?}", server.log().last());
            assert!(fields(&milter_at) == expected, "{protocol:#x} {shown:?}");
            let chunks = of(&milter_at, b'B');
            assert!(chunks.concat() == body, "{protocol:#x} {shown:?}");
            let longest = chunks.iter().map(Vec::len).max().unwrap_or(0);
            let enough = body.len().div_ceil(chunk_max) + 1;
            assert!(longest <= chunk_max && chunks.len() <= enough, "{longest} {} {shown:?}", chunks.len());
            let all = server.maildir("mail").pop().expect("stored");
            let below = without_trace(&all);
            // What is no header section must not go on with ours.
            assert!(below.strip_prefix(b"\r\n") == Some(&data) || below == data, "{shown:?}");
            for entry in fs::read_dir(server.folder().join("mail/new")).expect("a maildir") {
                fs::remove_file(entry.expect("an entry").path()).expect("removed");
            }
        }
    }
}

#[test]
fn a_milter_is_told_all_of_a_message_in_a_file() {
    const BYTES: usize = 20 << 20;
    let (data, _, body) = case("Subject: x\r\n\r\n", &[], long_body(BYTES));
    let (each, silent) = (fake(0), fake(SILENT | LARGE_CHUNKS));
    let Some(pymilter) = PyMilter::start(&["add=X-A: 1"]) else { return };
    let tables = [
        milter(&each.socket(), "name = \"each\""),
        milter(&silent.socket(), "name = \"silent\""),
        milter(&pymilter.socket(), ""),
    ];
    let server = receiver(&tables.concat(), SMALL);
    let start = std::time::Instant::now();
    let reply = send_to(&server, &["b@y.test"], &data);
    println!("20 MiB past three milters in {:?}", start.elapsed());
    let (front, below, _) = stored(&server, &reply).unwrap_or_else(|| panic!("{reply}"));
    assert!(front == "X-A: 1\r\n" && below == data);
    for (fake, chunk_max) in [(each, 65_535), (silent, LARGE_CHUNK_BYTES)] {
        let chunks = of(&fake, b'B');
        assert!(chunks.concat() == body);
        assert!(chunks.len() <= body.len() / chunk_max + 2, "{} chunks", chunks.len());
    }
    let told = pymilter.told();
    let chunks = told.iter().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        (line[0] == "body").then(|| line[1].as_u64().expect("a length"))
    });
    assert_eq!(chunks.sum::<u64>(), body.len() as u64);
}

#[test]
fn a_milter_is_told_lines_as_they_are_stored() {
    let fake = fake(LEADING_SPACE);
    let listener = "bare_lf = \"normalize\"\nbare_cr = \"normalize\"\n";
    let server = receiver(&format!("{listener}{}", milter(&fake.socket(), "")), "");
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@y.test>", "250");
    client.command("DATA", "354");
    client.send(b"A: b\nC: d\n\nx\ry\r\n..z\n\r\n.\r\n");
    let reply = client.reply().trim_end().to_owned();
    let (_, below, _) = stored(&server, &reply).unwrap_or_else(|| panic!("{reply}"));
    let told =
        of(&fake, b'L').iter().map(|data| [&texts(data).join(":")[..], "\r\n"].concat()).collect::<String>();
    let body = of(&fake, b'B').concat();
    assert_eq!([told.as_bytes(), b"\r\n", &body].concat(), below, "{}", below.escape_ascii());
    // Chunks keep theirs. A milter has LF between lines of a value, and cannot tell.
    fake.forget();
    let chunk = b"A: b\nC: d\r\n\r\nx\ny\rz";
    client.command("MAIL FROM:<a@x.test>", "250");
    client.command("RCPT TO:<b@y.test>", "250");
    client.send(&[format!("BDAT {} LAST\r\n", chunk.len()).as_bytes(), chunk].concat());
    let reply = client.reply().trim_end().to_owned();
    let (_, below, _) = stored(&server, &reply).unwrap_or_else(|| panic!("{reply}"));
    let body = of(&fake, b'B').concat();
    assert_eq!(of(&fake, b'L'), [b"A\0 b\nC: d\0".to_vec()]);
    assert!(below.ends_with(&body) && body.starts_with(b"x\n"), "{}", body.escape_ascii());
}

#[test]
fn a_milter_is_told_who_sends_and_who_receives() {
    let fake = fake(0);
    let server = receiver(&milter(&fake.socket(), ""), "");
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<> SIZE=10 BODY=8BITMIME", "250");
    let recipients: Vec<String> = (0..100).map(|at| format!("<b{at}@y.test>")).collect();
    for recipient in &recipients {
        client.command(&format!("RCPT TO:{recipient}"), "250");
    }
    client.command("DATA", "354");
    client.send(&stuffed(b"A: b\r\n"));
    client.expect("250");
    let commands = |command| of(&fake, command).iter().map(|data| texts(data)).collect::<Vec<_>>();
    assert_eq!(commands(b'M'), [["<>", "SIZE=10", "BODY=8BITMIME"]]);
    assert_eq!(commands(b'R').concat(), recipients);
    assert_eq!(commands(b'H'), [["client.example"]]);
    let port = client.stream().local_addr().expect("an address").port().to_be_bytes();
    assert_eq!(of(&fake, b'C'), [[b"[127.0.0.1]\x004", &port[..], b"127.0.0.1\0"].concat()]);
    let macros = of(&fake, b'D').concat();
    for value in ["{rcpt_addr}\0b99@y.test\0", "j\0mx.example.test\0", "{mail_addr}\0\0"] {
        assert!(
            memchr::memmem::find(&macros, value.as_bytes()).is_some(),
            "{value}: {}",
            macros.escape_ascii()
        );
    }
    // Each session is told anew, and so is each message of one.
    fake.forget();
    client.command("EHLO other.example", "250");
    client.command("MAIL FROM:<j\u{f6}rg@x.test> SMTPUTF8 BODY=8BITMIME", "250");
    client.command("RCPT TO:<\"b c\"@y.test>", "250");
    client.command("DATA", "354");
    client.send(&stuffed(b"A: b\r\n"));
    client.expect("250");
    assert_eq!(commands(b'M'), [["<j\u{f6}rg@x.test>", "BODY=8BITMIME", "SMTPUTF8"]]);
    assert_eq!(commands(b'R'), [["<\"b c\"@y.test>"]]);
    assert_eq!(commands(b'H'), [["other.example"]]);
    assert_eq!(fake.commands(), "CHMRTLNEK");
}
