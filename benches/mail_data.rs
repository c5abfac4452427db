//! Mail data of DATA to its end, as ranges: plain text, dots, short lines, bare line ends, and the same text
//! in small pieces.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmx::smtp::measured::receive_mail_data;
use ringmx::smtp::settings::BareLineEnd::{self, Normalize, Reject};

const BYTES: usize = 64 * 1024;

/// This line again and again, and the end of mail data.
fn body(line: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = line.repeat(BYTES / line.len());
    if !body.ends_with(b"\r\n") {
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b".\r\n");
    body
}

fn columns(count: usize) -> Vec<u8> {
    [b"x".repeat(count).as_slice(), b"\r\n"].concat()
}

fn kinds(criterion: &mut Criterion) {
    let one_dot_in_16 = [columns(76).repeat(15), b".".to_vec(), columns(76)].concat();
    let kinds: [(&str, BareLineEnd, Vec<u8>); 15] = [
        ("76 columns", Reject, body(&columns(76))),
        ("998 columns", Reject, body(&columns(998))),
        ("empty lines", Reject, body(b"\r\n")),
        ("76 columns, a dot before one line in 16", Reject, body(&one_dot_in_16)),
        ("76 columns, a dot before every line", Reject, body(&[b".".as_slice(), &columns(76)].concat())),
        ("nothing but dots", Reject, body(b"..\r\n")),
        (
            "dots inside of lines",
            Reject,
            body(b"1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0\r\n"),
        ),
        ("94 columns, a dot before every line", Reject, body(&[b".".as_slice(), &columns(92)].concat())),
        ("30 columns, a dot before every line", Reject, body(&[b".".as_slice(), &columns(28)].concat())),
        ("bare LF, refused", Reject, body(b"\n")),
        ("all but the end of mail data, refused", Reject, body(b"\n.\r\n..\r\n.\r\r\n.x\r\n")),
        ("bare LF, normalized", Normalize, body(b"\n")),
        ("bare CR, normalized", Normalize, body(b"\r")),
        ("bare LF behind each octet, normalized", Normalize, body(b"x\n")),
        ("all kinds at once, normalized", Normalize, body(b"\r\r\n..\n\n.x\r.\r\n.\ry\n")),
    ];
    let mut group = criterion.benchmark_group("mail data, 64 KiB");
    for (name, bare, body) in &kinds {
        assert!(receive_mail_data([body.as_slice()].into_iter(), *bare).is_some(), "{name} has an end");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(*name, |bench| {
            bench.iter(|| receive_mail_data([black_box(body.as_slice())].into_iter(), *bare));
        });
    }
    group.finish();
}

/// A receive gives what is there: a few segments of the network, or of a trickle a few octets.
fn pieces(criterion: &mut Criterion) {
    let body = body(&columns(76));
    let mut group = criterion.benchmark_group("mail data, 76 columns, in pieces");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for octets in [16 * 1024, 1448, 256, 64, 16] {
        let whole = receive_mail_data([body.as_slice()].into_iter(), Reject).map(|(_, octets)| octets);
        assert_eq!(receive_mail_data(body.chunks(octets), Reject).map(|(_, octets)| octets), whole);
        group.bench_function(format!("{octets} octets"), |bench| {
            bench.iter(|| receive_mail_data(black_box(&body).chunks(octets), Reject));
        });
    }
    group.finish();
}

criterion_group!(benches, kinds, pieces);
criterion_main!(benches);
