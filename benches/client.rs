//! What the client of the forwarder costs by itself: no socket, no store.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmx::client::transparency::Transparency;
use ringmx::client::{Client, Content, Protocol, Recipient, Settings, Step, Transaction};
use ringmx::mail::envelope::{BodyType, RecipientParameters};

fn ready(offer: &str) -> Client {
    let mut client = Client::new(Arc::new(Settings::of(Protocol::Smtp, "client.example")));
    let mut output = Vec::new();
    client.advance(&mut &b"220 mx.test\r\n"[..], &mut output);
    let hello =
        format!("250-mx.test\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 {offer}\r\n");
    assert_eq!(client.advance(&mut hello.as_bytes(), &mut output), Step::Ready);
    client
}

/// A transaction with one recipient: commands and steps, without the content's octets.
fn transaction(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("client, a transaction");
    group.throughput(Throughput::Elements(1));
    let end = "250 2.0.0 Ok: queued as 00dc1kbfcdtjs1p00000000001\r\n";
    let envelope = "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n";
    for (name, offer, before, replies) in [
        ("BDAT in one write", "CHUNKING", String::new(), format!("{envelope}{end}")),
        ("DATA in one write", "HELP", format!("{envelope}354 go\r\n"), end.to_owned()),
    ] {
        let mut client = ready(offer);
        let mut output = Vec::new();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                output.clear();
                let transaction = Transaction {
                    reverse_path: black_box(b"sender@example.com"),
                    body: BodyType::EightBitMime,
                    smtputf8: false,
                    requiretls: false,
                    ret: None,
                    envid: b"",
                    content: Content { bytes: 4096, bare_line_ends: false },
                    client: None,
                };
                let parameters = RecipientParameters::default();
                let recipient = Recipient { mailbox: black_box(b"recipient@example.org"), parameters };
                client.begin(&transaction, [recipient], &mut output).expect("it fits");
                let step = client.advance(&mut before.as_bytes(), &mut output);
                assert!(matches!(step, Step::SendContent(_)), "{step:?}");
                client.handle_content_sent();
                assert_eq!(client.advance(&mut black_box(replies.as_bytes()), &mut output), Step::Done);
                assert_eq!(client.advance(&mut &b""[..], &mut output), Step::Ready);
                client.results().count()
            });
        });
    }
    group.finish();
}

/// The slices of 64 KiB of content.
fn transparency(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("client, transparency");
    let line = [b"x".repeat(74).as_slice(), b"\r\n"].concat();
    for (name, line) in [("plain", line), ("dots", b".x\r\n".to_vec())] {
        let content = line.repeat(64 * 1024 / line.len());
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &content, |bench, content| {
            bench.iter(|| {
                let mut transparency = Transparency::new();
                let slices = transparency.slices(black_box(content));
                slices.map(|slice| slice.map_or(0, <[u8]>::len)).sum::<usize>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, transaction, transparency);
criterion_main!(benches);
