//! A bare publisher of a JetStream stream, for `benches/nats.sh`: async-nats, so many messages on their way
//! at a time, and nothing else. A receiver that gives its mail to the stream is measured beside it.
//!
//!   cargo bench --bench bare_nats -- nats://HOST:PORT SUBJECT MESSAGES OCTETS WINDOW
#![allow(missing_docs)]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;

/// As long as what a receiver says of an envelope.
const ENVELOPE_BYTES: usize = 350;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [server, subject, messages, octets, window] = &arguments[..] else {
        println!("skipped: it is started by benches/nats.sh, with a server");
        return Ok(());
    };
    let (messages, octets, window) = (messages.parse()?, octets.parse()?, window.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (took, mut waits) = runtime.block_on(publish(server, subject, messages, octets, window))?;
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
    let rate = f64::from(messages) / took.as_secs_f64();
    println!("{rate:.0} a second; acknowledged within {:?} (median), {:?} (99 of 100)", at(50), at(99));
    Ok(())
}

async fn publish(
    server: &str,
    subject: &str,
    messages: u32,
    octets: usize,
    window: usize,
) -> Result<(Duration, Vec<Duration>), AnyError> {
    let client = async_nats::connect(server).await?;
    let inbox = format!("{}.", client.new_inbox());
    let mut answers = client.subscribe(format!("{inbox}*")).await?;
    let (run, payload) = (std::process::id(), bytes::Bytes::from(vec![b'x'; octets]));
    let envelope = "e".repeat(ENVELOPE_BYTES);
    let (mut out, mut waits) = (HashMap::new(), Vec::new());
    let (began, mut next) = (Instant::now(), 0);
    while waits.len() < messages as usize {
        while next < messages && out.len() < window {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{run}-{next}"));
            headers.insert("Ringmx-Envelope", envelope.as_str());
            let (to, reply) = (subject.to_owned(), format!("{inbox}{next}"));
            client.publish_with_reply_and_headers(to, reply, headers, payload.clone()).await?;
            out.insert(next, Instant::now());
            next += 1;
        }
        let answer = answers.next().await.ok_or("the connection is gone")?;
        let number = answer.subject.get(inbox.len()..).and_then(|number| number.parse().ok());
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        if text.contains("\"error\"") || !text.contains("\"seq\"") {
            return Err(format!("it is not stored: {text} {:?}", answer.status).into());
        }
        let since: Instant =
            number.and_then(|number: u32| out.remove(&number)).ok_or("an answer to nothing")?;
        waits.push(since.elapsed());
    }
    Ok((began.elapsed(), waits))
}
