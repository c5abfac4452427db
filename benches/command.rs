//! What it costs to read a command line, each verb for itself, with its path and parameters. No session, no
//! reply.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmx::smtp::extension::ExtensionSet;
use ringmx::smtp::measured::read_command;

/// Lines as they come, without their CRLF.
const LINES: &[(&str, &[u8])] = &[
    ("EHLO", b"EHLO mail-ej1-f41.client.example"),
    ("MAIL", b"MAIL FROM:<bounces+12345-abcd=example.org@mail.client.example>"),
    ("MAIL with SIZE and BODY", b"MAIL FROM:<sender@client.example> SIZE=12345 BODY=8BITMIME"),
    ("MAIL, null reverse-path", b"MAIL FROM:<>"),
    ("RCPT", b"RCPT TO:<first.last@example.org>"),
    ("RCPT, quoted local-part", b"RCPT TO:<\"first last\"@example.org>"),
    ("RCPT, address literal", b"RCPT TO:<postmaster@[192.0.2.1]>"),
    (
        "RCPT with DSN",
        b"RCPT TO:<first.last@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first.last@example.org",
    ),
    ("DATA", b"DATA"),
    ("BDAT", b"BDAT 65536 LAST"),
    ("RSET", b"RSET"),
    ("NOOP", b"NOOP"),
    ("QUIT", b"QUIT"),
    ("VRFY", b"VRFY first.last"),
    ("HELP", b"HELP"),
    ("STARTTLS", b"STARTTLS"),
];

fn command(criterion: &mut Criterion) {
    let offered = ExtensionSet::all();
    let mut group = criterion.benchmark_group("command");
    group.throughput(Throughput::Elements(1));
    for (name, line) in LINES {
        assert!(read_command(line, offered), "{name} is a good command");
        group.bench_function(*name, |bench| bench.iter(|| read_command(black_box(line), offered)));
    }
    for (name, line) in
        [("unknown verb", &b"XYZZY something"[..]), ("control octet", b"RCPT TO:<a\x07@example.org>")]
    {
        assert!(!read_command(line, offered), "{name} is refused");
        group.bench_function(name, |bench| bench.iter(|| read_command(black_box(line), offered)));
    }
    group.finish();
}

criterion_group!(benches, command);
criterion_main!(benches);
