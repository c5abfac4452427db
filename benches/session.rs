//! Transactions a second of the protocol core alone: no socket, no sink.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmx::config::Config;
use ringmx::mail::queue_id::QueueId;
use ringmx::smtp::policy::Recipients;
use ringmx::smtp::question::{Delivered, Question, Storing};
use ringmx::smtp::reply::ReplyBuffer;
use ringmx::smtp::session::{Input, Session, Step};
use ringmx::smtp::settings::Settings;
use ringmx::smtp::supplies::Supplies;

fn settings() -> Settings {
    let config = Config::embedded_default();
    let policy = Arc::new(Recipients::new(&config.recipient_rules(), None));
    Settings { hostname: "mx.test".into(), ..config.session_settings(&config.listeners[0], policy) }
}

/// Feeds octets; gives the number of mail data octets seen. The envelope goes round, as on a shard.
fn feed(
    session: &mut Session,
    supplies: &mut Supplies,
    octets: &[u8],
    replies: &mut ReplyBuffer,
    now: Instant,
) -> usize {
    let mut input = Input::new(octets, supplies);
    let mut seen = 0;
    loop {
        match session.advance(&mut input, replies, now) {
            Step::NeedInput => {
                session.handle_sending();
                return seen;
            }
            Step::Data(range) => seen += range.len(),
            Step::Ask(Question::Beginning { asked, .. }) => {
                session.resolve(asked, Ok(()), replies, now).expect("it is awaited");
            }
            Step::Deliver(envelope) => {
                input.supplies.keep_envelope(envelope);
                let asked = session.asked::<Storing>().expect("it is awaited");
                let answer = Delivered::Accepted(QueueId::default());
                session.resolve(asked, answer, replies, now).expect("it is awaited");
            }
            Step::Flush => replies.clear(),
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn session(criterion: &mut Criterion) {
    let now = Instant::now();
    let client = "192.0.2.1:25".parse().expect("an address");
    let mut group = criterion.benchmark_group("session, a transaction");
    for bytes in [0, 4096, 65536] {
        let body = [b"x".repeat(74).as_slice(), b"\r\n"].concat().repeat(bytes / 76);
        let commands =
            b"MAIL FROM:<sender@example.com> SIZE=4096\r\nRCPT TO:<recipient@example.org>\r\nDATA\r\n";
        let data = [body.as_slice(), b".\r\n"].concat();
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{bytes} octets of mail data"), |bench| {
            let mut session = Session::new(Arc::new(settings()), client, now);
            let (mut replies, mut supplies) = (ReplyBuffer::new(), Supplies::default());
            session.greet(&mut replies, now);
            session.handle_sent();
            feed(&mut session, &mut supplies, b"EHLO client.example\r\n", &mut replies, now);
            bench.iter(|| {
                feed(&mut session, &mut supplies, black_box(commands), &mut replies, now);
                let seen = feed(&mut session, &mut supplies, black_box(&data), &mut replies, now);
                replies.clear();
                seen
            });
        });
    }
    group.finish();
}

criterion_group!(benches, session);
criterion_main!(benches);
